# Two events between two processes: microseconds a round trip.

import sys
import time
from multiprocessing import get_context


def answer(n, ping, pong):
    for _ in range(n + 1):
        ping.wait()
        ping.clear()
        pong.set()


def round_trip(ping, pong):
    ping.set()
    pong.wait()
    pong.clear()


def measure(n):
    context = get_context("fork")
    ping, pong = context.Event(), context.Event()
    process = context.Process(target=answer, args=(n, ping, pong))
    process.start()
    round_trip(ping, pong)  # the child is there
    start = time.perf_counter()
    for _ in range(n):
        round_trip(ping, pong)
    result = (time.perf_counter() - start) / n * 1e6
    process.join()
    return result


print(measure(int(sys.argv[1])))
