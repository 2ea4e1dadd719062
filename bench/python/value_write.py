# A shared number, written: nanoseconds.

import sys
import time
from multiprocessing import get_context


def measure(n):
    value = get_context("fork").Value("q", 0)
    start = time.perf_counter()
    for i in range(n):
        value.value = i
    return (time.perf_counter() - start) / n * 1e9


print(measure(int(sys.argv[1])))
