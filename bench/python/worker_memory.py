# The memory that the worker of a pool has for itself after its first task: KiB.

import os
import sys
import time
from multiprocessing import get_context


def private_memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


def who(_):
    time.sleep(0.05)  # so that each worker gets one
    return os.getpid()


def measure(n):
    pool = get_context("fork").Pool(n)
    workers = set(pool.map(who, range(n), 1))
    result = sum(private_memory(pid) for pid in workers) / len(workers)
    pool.close()
    pool.join()
    return result


print(measure(int(sys.argv[1])))
