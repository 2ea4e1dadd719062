# A lock that several processes, the second argument, want all the time, and a shared number that
# is incremented under it: nanoseconds for each increment.

import sys
import time
from multiprocessing import get_context


def increment(each, start, lock, counter):
    start.wait()
    for _ in range(each):
        lock.acquire()
        counter.value += 1
        lock.release()


def measure(n, workers):
    context = get_context("fork")
    each = n // workers
    lock, counter = context.Lock(), context.RawValue("q", 0)
    start = context.Barrier(workers + 1)
    processes = [
        context.Process(target=increment, args=(each, start, lock, counter)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    start.wait()
    begin = time.perf_counter()
    for process in processes:
        process.join()
    result = (time.perf_counter() - begin) / (each * workers) * 1e9
    assert counter.value == each * workers
    return result


print(measure(int(sys.argv[1]), int(sys.argv[2])))
