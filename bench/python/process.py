# Processes that do nothing, started and joined: microseconds for one. The arguments after the
# count: how many are started before they are joined (1), and how many MiB of lists their parent has
# (none).

import gc
import sys
import time
from multiprocessing import get_context


def nothing():
    pass


def resident_pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def fill(pages):
    heap = []
    while resident_pages() < pages:
        for _ in range(10000):
            heap.append([len(heap), len(heap)])
    gc.collect()
    return heap


def measure(n, at_once, pages):
    heap = fill(pages)
    context = get_context("fork")
    start = time.perf_counter()
    for first in range(0, n, at_once):
        started = []
        for _ in range(min(at_once, n - first)):
            started.append(context.Process(target=nothing))
            started[-1].start()
        for process in started:
            process.join()
    result = (time.perf_counter() - start) / n * 1e6
    del heap
    return result


arguments = [int(argument) for argument in sys.argv[1:]]
at_once, mib = (arguments[1:] + [1, 0][len(arguments) - 1 :])
print(measure(arguments[0], at_once, mib * 256))
