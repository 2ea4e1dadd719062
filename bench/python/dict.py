# A shared dictionary with 1,000 entries, in a manager's process. The second argument is what is
# measured: `get` or `set` of one entry after the other. Nanoseconds for each.

import sys
import time
from multiprocessing import get_context

SIZE = 1000


def measure(n, what):
    keys = [f"key{i}" for i in range(SIZE)]
    with get_context("fork").Manager() as manager:
        shared = manager.dict({key: i for i, key in enumerate(keys)})
        start = time.perf_counter()
        if what == "get":
            for i in range(n):
                x = shared[keys[i % SIZE]]
            assert x == (n - 1) % SIZE
        else:
            for i in range(n):
                shared[keys[i % SIZE]] = i
        return (time.perf_counter() - start) / n * 1e9


print(measure(int(sys.argv[1]), sys.argv[2]))
