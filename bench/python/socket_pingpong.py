# A small integer over a socket of this machine and back: microseconds a round trip. With `busy` behind the
# count, beside a process that computes.

import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Client, Listener


def answer(n, address):
    with Client(address) as connection:
        for _ in range(n + 1):
            connection.send(connection.recv())


def compute():
    while True:
        pass


def round_trip(connection, i):
    connection.send(i)
    assert connection.recv() == i


def measure(n, is_busy):
    busy = get_context("fork").Process(target=compute, daemon=True)
    if is_busy:
        busy.start()
    with Listener(family="AF_UNIX") as listener:
        process = get_context("fork").Process(target=answer, args=(n, listener.address))
        process.start()
        with listener.accept() as connection:
            round_trip(connection, 0)  # the child is there
            start = time.perf_counter()
            for i in range(n):
                round_trip(connection, i)
            result = (time.perf_counter() - start) / n * 1e6
        process.join()
    return result


print(measure(int(sys.argv[1]), sys.argv[2:] == ["busy"]))
