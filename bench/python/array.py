# An array of 1,000 numbers in shared memory. The second argument is what is measured: `read` and
# `write`, of one element after the other; `bulk`, all of them written from a list and read into
# one. Nanoseconds for each element.

import sys
import time
from multiprocessing import get_context

SIZE = 1000


def read(array, _):
    for i in range(SIZE):
        x = array[i]
    assert x == SIZE - 1


def write(array, _):
    for i in range(SIZE):
        array[i] = i


def bulk(array, items):
    array[:] = items
    assert len(array[:]) == SIZE


def measure(n, run):
    items = list(range(SIZE))
    array = get_context("fork").Array("q", items)
    rounds = max(n // SIZE, 1)
    start = time.perf_counter()
    for _ in range(rounds):
        run(array, items)
    return (time.perf_counter() - start) / (rounds * SIZE) * 1e9


print(measure(int(sys.argv[1]), {"read": read, "write": write, "bulk": bulk}[sys.argv[2]]))
