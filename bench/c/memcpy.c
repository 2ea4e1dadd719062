/* Copies of BYTES bytes within one process: memcpy N BYTES prints how many it makes in a second. */
#include "floor.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000);
    size_t size = (size_t) count_argument(argc, argv, 2, 1 << 20);
    char *from = malloc(size), *to = malloc(size);
    if (from == NULL || to == NULL)
        fail("malloc");
    memset(from, 1, size);
    memset(to, 2, size);
    double start = seconds_now();
    for (long i = 0; i < n; i++) {
        memcpy(to, from, size);
        __asm__ __volatile__("" : : "r"(to) : "memory"); /* each copy is made */
    }
    print_per_second(start, n);
    return to[size - 1] == 1 ? 0 : 1;
}
