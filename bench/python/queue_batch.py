# Small integers through a queue, from one process to another, in lists of a hundred, since Python
# has no call that puts several: integers a second.

import sys
import time
from multiprocessing import get_context

BATCH = 100


def produce(queue, batches):
    for _ in range(batches + 1):
        queue.put(list(range(BATCH)))


def measure(n):
    context = get_context("fork")
    batches = n // BATCH
    queue = context.Queue()
    process = context.Process(target=produce, args=(queue, batches))
    process.start()
    queue.get()  # the child is there
    start = time.perf_counter()
    for _ in range(batches):
        queue.get()
    result = batches * BATCH / (time.perf_counter() - start)
    process.join()
    return result


print(measure(int(sys.argv[1])))
