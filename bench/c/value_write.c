/* A shared 64-bit number, written so that the next read of any process sees it: nanoseconds. */
#include "floor.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    _Atomic int64_t *value = shared_memory(sizeof *value);
    double from = seconds_now();
    for (long i = 0; i < n; i++)
        atomic_store_explicit(value, i, memory_order_release);
    print_nanoseconds(from, n);
    return 0;
}
