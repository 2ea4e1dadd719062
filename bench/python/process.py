# A process that does nothing, started and joined: microseconds.

import sys
import time
from multiprocessing import get_context


def nothing():
    pass


def measure(n):
    context = get_context("fork")
    start = time.perf_counter()
    for _ in range(n):
        process = context.Process(target=nothing)
        process.start()
        process.join()
    return (time.perf_counter() - start) / n * 1e6


print(measure(int(sys.argv[1])))
