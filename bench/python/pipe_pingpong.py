# A small integer through a pipe and back: microseconds a round trip.

import sys
import time
from multiprocessing import get_context


def answer(n, connection):
    for _ in range(n + 1):
        connection.send(connection.recv())


def round_trip(connection, i):
    connection.send(i)
    assert connection.recv() == i


def measure(n):
    context = get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=answer, args=(n, theirs))
    process.start()
    round_trip(mine, 0)  # the child is there
    start = time.perf_counter()
    for i in range(n):
        round_trip(mine, i)
    result = (time.perf_counter() - start) / n * 1e6
    process.join()
    return result


print(measure(int(sys.argv[1])))
