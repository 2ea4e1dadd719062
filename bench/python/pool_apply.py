# One task after the other to a pool of two workers, each waited for: microseconds a task.

import sys
import time
from multiprocessing import get_context


def square(x):
    return x * x


def measure(n):
    pool = get_context("fork").Pool(2)
    pool.map(square, [1, 2, 3, 4], 1)  # the workers are there
    start = time.perf_counter()
    for i in range(n):
        assert pool.apply(square, (i,)) == i * i
    result = (time.perf_counter() - start) / n * 1e6
    pool.close()
    pool.join()
    return result


print(measure(int(sys.argv[1])))
