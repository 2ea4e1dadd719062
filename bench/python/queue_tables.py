# Small tables through a queue, from one process to another: messages a second.

import sys
import time
from multiprocessing import get_context


def produce(queue, n):
    for i in range(n + 1):
        queue.put({"id": i, "name": "job", "done": False})


def measure(n):
    context = get_context("fork")
    queue = context.Queue()
    process = context.Process(target=produce, args=(queue, n))
    process.start()
    queue.get()  # the child is there
    start = time.perf_counter()
    for _ in range(n):
        queue.get()
    result = n / (time.perf_counter() - start)
    process.join()
    return result


print(measure(int(sys.argv[1])))
