# A list of 1,000 small dictionaries, pickled and unpickled: microseconds. The second argument may
# name one of the two: `encode` or `decode`.

import pickle
import sys
import time


def measure(n, what):
    items = [{"id": i, "name": "item", "price": i / 2, "done": False} for i in range(1000)]
    message = pickle.dumps(items, pickle.HIGHEST_PROTOCOL)
    copy = pickle.loads(message)
    start = time.perf_counter()
    for _ in range(n):
        if what != "decode":
            message = pickle.dumps(items, pickle.HIGHEST_PROTOCOL)
        if what != "encode":
            copy = pickle.loads(message)
    result = (time.perf_counter() - start) / n * 1e6
    assert copy == items
    return result


print(measure(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
