# Small integers through one queue, from several processes to as many, the second argument:
# messages a second.

import sys
import time
from multiprocessing import get_context


def produce(queue, start, each):
    start.wait()
    for i in range(each):
        queue.put(i)


def consume(queue, start, each):
    start.wait()
    for _ in range(each):
        queue.get()


def measure(n, pairs):
    context = get_context("fork")
    each = n // pairs
    queue, start = context.Queue(), context.Barrier(2 * pairs + 1)
    processes = [
        context.Process(target=target, args=(queue, start, each))
        for target in (produce, consume)
        for _ in range(pairs)
    ]
    for process in processes:
        process.start()
    start.wait()
    begin = time.perf_counter()
    for process in processes:
        process.join()
    return each * pairs / (time.perf_counter() - begin)


print(measure(int(sys.argv[1]), int(sys.argv[2])))
