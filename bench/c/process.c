/*
 * Children that do nothing, started and waited for: process N [AT_ONCE [MIB]] prints the
 * microseconds for one. AT_ONCE are started before they are waited for; the parent has MIB in small
 * blocks, as an interpreter has, and as much of them as luamp has private memory while it does the same.
 */
#include "floor.h"

#define BLOCK 64
#define LUAMPS_OWN 208 /* KiB that luamp has written to while it does this, beside what this program has */

static void
fill_heap(long kib)
{
    for (long i = 0; i < kib * 1024 / BLOCK; i++) {
        void *block = malloc(BLOCK - sizeof(size_t)); /* the C library's own word is with it */
        if (block == NULL)
            fail("malloc");
        memset(block, 1, BLOCK - sizeof(size_t));
    }
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000);
    long at_once = count_argument(argc, argv, 2, 1);
    fill_heap(count_argument(argc, argv, 3, 0) * 1024 + LUAMPS_OWN);
    pid_t *pids = calloc((size_t) at_once, sizeof *pids);
    if (pids == NULL)
        fail("calloc");
    double from = seconds_now();
    for (long left = n; left > 0; left -= at_once) {
        long batch = left < at_once ? left : at_once;
        for (long i = 0; i < batch; i++) {
            pids[i] = fork_or_fail();
            if (pids[i] == 0)
                _exit(0);
        }
        for (long i = 0; i < batch; i++)
            join_child(pids[i]);
    }
    print_microseconds(from, n);
    return 0;
}
