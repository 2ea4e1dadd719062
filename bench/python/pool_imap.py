# The squares of a list by a pool of two workers, one item a task, given back in order as they come:
# items a second.

import sys
import time
from multiprocessing import get_context


def square(x):
    return x * x


def measure(n):
    pool = get_context("fork").Pool(2)
    pool.map(square, [1, 2, 3, 4], 1)  # the workers are there
    start = time.perf_counter()
    for y in pool.imap(square, range(n)):
        last = y
    result = n / (time.perf_counter() - start)
    assert last == (n - 1) ** 2
    pool.close()
    pool.join()
    return result


print(measure(int(sys.argv[1])))
