/* A condition by which two processes take turns: microseconds a round trip. */
#include "floor.h"

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int turn;
};

static void
take_turn(struct shared *shared, int mine, int others)
{
    pthread_mutex_lock(&shared->mutex);
    while (shared->turn != mine)
        pthread_cond_wait(&shared->changed, &shared->mutex);
    shared->turn = others;
    pthread_cond_signal(&shared->changed);
    pthread_mutex_unlock(&shared->mutex);
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 10000);
    struct shared *shared = shared_memory(sizeof *shared);
    pthread_condattr_t attributes;
    make_robust_mutex(&shared->mutex, PTHREAD_MUTEX_NORMAL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (pthread_cond_init(&shared->changed, &attributes) != 0)
        fail("pthread_cond_init");
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        for (long i = -1; i <= n; i++)
            take_turn(shared, 1, 0);
        _exit(0);
    }
    take_turn(shared, 0, 1);
    take_turn(shared, 0, 1); /* the child is there */
    double from = seconds_now();
    for (long i = 0; i < n; i++)
        take_turn(shared, 0, 1);
    print_microseconds(from, n);
    join_child(pid);
    return 0;
}
