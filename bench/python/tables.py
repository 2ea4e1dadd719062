# A tree of 32,767 small lists, made and dropped: nanoseconds for a list.

import sys
import time


def tree(depth):
    if depth == 0:
        return []
    return [tree(depth - 1), tree(depth - 1)]


def measure(n):
    start = time.process_time()
    for _ in range(n):
        tree(14)
    return (time.process_time() - start) / n / 32767 * 1e9


print(measure(int(sys.argv[1])))
