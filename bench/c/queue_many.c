/* Messages of 8 bytes through one ring, from several processes to as many: queue_many N PROCESSES
   prints how many pass in a second. */
#include "ring.h"

static void
produce(struct ring *ring, pthread_barrier_t *start, long n)
{
    pthread_barrier_wait(start);
    for (int64_t i = 0; i < n; i++)
        ring_put(ring, &i, sizeof i);
    _exit(0);
}

static void
consume(struct ring *ring, pthread_barrier_t *start, long n)
{
    int64_t message;
    pthread_barrier_wait(start);
    for (long i = 0; i < n; i++)
        ring_get(ring, &message);
    _exit(0);
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 100000);
    long pairs = count_argument(argc, argv, 2, 4);
    long each = n / pairs;
    struct ring *ring = make_ring();
    pthread_barrier_t *start = shared_memory(sizeof *start);
    make_barrier(start, 2 * pairs + 1);
    pid_t *pids = calloc((size_t) (2 * pairs), sizeof *pids);
    if (pids == NULL)
        fail("calloc");
    for (long i = 0; i < 2 * pairs; i++) {
        pids[i] = fork_or_fail();
        if (pids[i] == 0) {
            if (i < pairs)
                produce(ring, start, each);
            else
                consume(ring, start, each);
        }
    }
    pthread_barrier_wait(start);
    double from = seconds_now();
    for (long i = 0; i < 2 * pairs; i++)
        join_child(pids[i]);
    print_per_second(from, each * pairs);
    return 0;
}
