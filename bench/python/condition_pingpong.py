# A condition by which two processes take turns: microseconds a round trip.

import sys
import time
from multiprocessing import get_context


def take_turn(condition, turn, mine, others):
    condition.acquire()
    while turn.value != mine:
        condition.wait()
    turn.value = others
    condition.notify()
    condition.release()


def answer(n, condition, turn):
    for _ in range(n + 2):
        take_turn(condition, turn, 1, 0)


def measure(n):
    context = get_context("fork")
    condition, turn = context.Condition(), context.RawValue("i", 0)
    process = context.Process(target=answer, args=(n, condition, turn))
    process.start()
    take_turn(condition, turn, 0, 1)
    take_turn(condition, turn, 0, 1)  # the child is there
    start = time.perf_counter()
    for _ in range(n):
        take_turn(condition, turn, 0, 1)
    result = (time.perf_counter() - start) / n * 1e6
    process.join()
    return result


print(measure(int(sys.argv[1])))
