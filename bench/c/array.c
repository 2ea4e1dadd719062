/*
 * An array of 1,000 numbers in shared memory: array N WHAT prints the nanoseconds for each element.
 * WHAT is `read` or `write`, of one element after the other, each atomic, or `bulk`: all of them
 * copied there and back.
 */
#include "floor.h"

#define SIZE 1000

static _Atomic int64_t *array;
static int64_t list[SIZE], copy[SIZE];

static void
read_each(void)
{
    volatile int64_t sink;
    for (long i = 0; i < SIZE; i++)
        sink = atomic_load(array + i);
    (void) sink;
}

static void
write_each(void)
{
    for (long i = 0; i < SIZE; i++)
        atomic_store_explicit(array + i, i, memory_order_release);
}

static void
copy_all(void)
{
    memcpy((void *) array, list, sizeof list);
    __asm__ __volatile__("" ::: "memory"); /* the second copy reads what the first wrote */
    memcpy(copy, (void *) array, sizeof copy);
    __asm__ __volatile__("" : : "r"(copy) : "memory");
}

int
main(int argc, char **argv)
{
    long rounds = count_argument(argc, argv, 1, 1000000) / SIZE;
    const char *what = argc > 2 ? argv[2] : "bulk";
    void (*run)(void) = strcmp(what, "read") == 0 ? read_each
        : strcmp(what, "write") == 0              ? write_each
                                                  : copy_all;
    rounds = rounds > 0 ? rounds : 1;
    array = shared_memory(sizeof list);
    double from = seconds_now();
    for (long i = 0; i < rounds; i++)
        run();
    print_nanoseconds(from, rounds * SIZE);
    return 0;
}
