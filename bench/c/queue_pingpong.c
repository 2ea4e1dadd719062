/* A small message through one ring and back through another: microseconds a round trip. */
#include "ring.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 10000);
    struct ring *there = make_ring(), *back = make_ring();
    int64_t message = 0;
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        for (long i = 0; i <= n; i++) {
            ring_get(there, &message);
            ring_put(back, &message, sizeof message);
        }
        _exit(0);
    }
    double from = 0;
    for (long i = 0; i <= n; i++) {
        ring_put(there, &message, sizeof message);
        ring_get(back, &message);
        if (i == 0)
            from = seconds_now(); /* the child is there */
    }
    print_microseconds(from, n);
    join_child(pid);
    return 0;
}
