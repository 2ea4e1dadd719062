# A shared number, added to under its lock, since Python has no atomic addition: nanoseconds.

import sys
import time
from multiprocessing import get_context


def measure(n):
    value = get_context("fork").Value("q", 0)
    lock = value.get_lock()
    start = time.perf_counter()
    for _ in range(n):
        with lock:
            value.value += 1
    return (time.perf_counter() - start) / n * 1e9


print(measure(int(sys.argv[1])))
