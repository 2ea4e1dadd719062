# A thread that does nothing, started and joined: microseconds. Python's has no state of its own.

import sys
import threading
import time


def nothing():
    pass


def measure(n):
    start = time.perf_counter()
    for _ in range(n):
        thread = threading.Thread(target=nothing)
        thread.start()
        thread.join()
    return (time.perf_counter() - start) / n * 1e6


print(measure(int(sys.argv[1])))
