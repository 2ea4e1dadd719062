/* A shared 64-bit number, read: nanoseconds. */
#include "floor.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    _Atomic int64_t *value = shared_memory(sizeof *value);
    volatile int64_t sink;
    double from = seconds_now();
    for (long i = 0; i < n; i++)
        sink = atomic_load(value);
    (void) sink;
    print_nanoseconds(from, n);
    return 0;
}
