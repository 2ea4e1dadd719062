/* Four workers, started, told to stop, and waited for: microseconds. */
#include "ring.h"

#define WORKERS 4

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 100);
    struct ring *tasks = make_ring();
    int64_t task = 0;
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        pid_t workers[WORKERS];
        for (int k = 0; k < WORKERS; k++) {
            workers[k] = fork_or_fail();
            if (workers[k] == 0) {
                ring_get(tasks, &task);
                _exit(0);
            }
        }
        for (int k = 0; k < WORKERS; k++)
            ring_put(tasks, &task, sizeof task);
        for (int k = 0; k < WORKERS; k++)
            join_child(workers[k]);
    }
    print_microseconds(from, n);
    return 0;
}
