# A function that computes for 1 ms, mapped over a list by a pool of two workers: the share that the
# perfect time is of the time that it took.

import sys
import time
from multiprocessing import get_context

TASK, WORKERS = 0.001, 2


def compute(x):
    till = time.perf_counter() + TASK
    while time.perf_counter() < till:
        pass
    return x


def measure(n):
    pool = get_context("fork").Pool(WORKERS)
    pool.map(compute, [1, 2, 3, 4], 1)  # the workers are there
    start = time.perf_counter()
    pool.map(compute, range(n))
    result = n * TASK / WORKERS / (time.perf_counter() - start)
    pool.close()
    pool.join()
    return result


print(measure(int(sys.argv[1])))
