/* Two events, each one word, between two processes: microseconds a round trip. */
#include "floor.h"

struct event {
    _Alignas(CACHE_LINE) _Atomic uint32_t state;
};

#define SET 2u

static void
event_wait_and_clear(struct event *event)
{
    uint32_t state;
    while (!((state = atomic_load(&event->state)) & SET))
        word_wait(&event->state, state);
    atomic_store(&event->state, 0);
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 10000);
    struct event *ping = shared_memory(2 * sizeof *ping), *pong = ping + 1;
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        for (long i = 0; i <= n; i++) {
            event_wait_and_clear(ping);
            word_set(&pong->state, SET);
        }
        _exit(0);
    }
    double from = 0;
    for (long i = 0; i <= n; i++) {
        word_set(&ping->state, SET);
        event_wait_and_clear(pong);
        if (i == 0)
            from = seconds_now(); /* the child is there */
    }
    print_microseconds(from, n);
    join_child(pid);
    return 0;
}
