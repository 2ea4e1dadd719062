# A pool of four workers, started, closed and joined: microseconds.

import sys
import time
from multiprocessing import get_context


def measure(n):
    context = get_context("fork")
    start = time.perf_counter()
    for _ in range(n):
        pool = context.Pool(4)
        pool.close()
        pool.join()
    return (time.perf_counter() - start) / n * 1e6


print(measure(int(sys.argv[1])))
