/*
 * A robust mutex that several processes want all the time, and a shared number that is incremented
 * under it: lock_contended N PROCESSES prints the nanoseconds for each increment.
 */
#include "floor.h"

struct shared {
    _Alignas(CACHE_LINE) pthread_mutex_t mutex;
    int64_t counter;
    _Alignas(CACHE_LINE) pthread_barrier_t start;
};

static void
increment(struct shared *shared, long n)
{
    pthread_barrier_wait(&shared->start);
    for (long i = 0; i < n; i++) {
        pthread_mutex_lock(&shared->mutex);
        shared->counter++;
        pthread_mutex_unlock(&shared->mutex);
    }
    _exit(0);
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    long processes = count_argument(argc, argv, 2, 2);
    long each = n / processes;
    struct shared *shared = shared_memory(sizeof *shared);
    make_robust_mutex(&shared->mutex, PTHREAD_MUTEX_NORMAL);
    make_barrier(&shared->start, processes + 1);
    pid_t *pids = calloc((size_t) processes, sizeof *pids);
    if (pids == NULL)
        fail("calloc");
    for (long i = 0; i < processes; i++) {
        pids[i] = fork_or_fail();
        if (pids[i] == 0)
            increment(shared, each);
    }
    pthread_barrier_wait(&shared->start);
    double from = seconds_now();
    for (long i = 0; i < processes; i++)
        join_child(pids[i]);
    print_nanoseconds(from, each * processes);
    return shared->counter == each * processes ? 0 : 1;
}
