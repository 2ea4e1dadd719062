# A small integer through one queue and back through another: microseconds a round trip.

import sys
import time
from multiprocessing import get_context


def answer(n, there, back):
    for _ in range(n + 1):
        back.put(there.get())


def round_trip(there, back, i):
    there.put(i)
    assert back.get() == i


def measure(n):
    context = get_context("fork")
    there, back = context.Queue(), context.Queue()
    process = context.Process(target=answer, args=(n, there, back))
    process.start()
    round_trip(there, back, 0)  # the child is there
    start = time.perf_counter()
    for i in range(n):
        round_trip(there, back, i)
    result = (time.perf_counter() - start) / n * 1e6
    process.join()
    return result


print(measure(int(sys.argv[1])))
