# The squares of a list by a pool of two workers; the second argument is the chunk size, without one
# the pool chooses it: items a second.

import sys
import time
from multiprocessing import get_context


def square(x):
    return x * x


def measure(n, chunk):
    numbers = list(range(n))
    pool = get_context("fork").Pool(2)
    pool.map(square, [1, 2, 3, 4], 1)  # the workers are there
    start = time.perf_counter()
    squares = pool.map(square, numbers, chunk)
    result = n / (time.perf_counter() - start)
    assert len(squares) == n and squares[-1] == (n - 1) ** 2
    pool.close()
    pool.join()
    return result


print(measure(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
