/* A shared 64-bit number, added to atomically: nanoseconds. */
#include "floor.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    _Atomic int64_t *value = shared_memory(sizeof *value);
    double from = seconds_now();
    for (long i = 0; i < n; i++)
        atomic_fetch_add(value, 1);
    print_nanoseconds(from, n);
    return *value == n ? 0 : 1;
}
