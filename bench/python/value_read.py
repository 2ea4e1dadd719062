# A shared number, read: nanoseconds.

import sys
import time
from multiprocessing import get_context


def measure(n):
    value = get_context("fork").Value("q", 7)
    start = time.perf_counter()
    for _ in range(n):
        value.value
    return (time.perf_counter() - start) / n * 1e9


print(measure(int(sys.argv[1])))
