# A semaphore, taken and released while it has permits: nanoseconds a pair.

import sys
import time
from multiprocessing import get_context


def measure(n):
    semaphore = get_context("fork").Semaphore(1)
    start = time.perf_counter()
    for _ in range(n):
        semaphore.acquire()
        semaphore.release()
    return (time.perf_counter() - start) / n * 1e9


print(measure(int(sys.argv[1])))
