/*
 * Messages of a size through the ring, from one process to another: queue N BYTES [ITEMS] prints
 * how many arrive in a second. What is larger than a ring takes at once is sent in pieces, and put
 * together again. With ITEMS, a message is so many things, and it is those that are counted.
 */
#include "ring.h"

#define PIECE_MAX (1u << 15)

static void
put(struct ring *ring, const unsigned char *message, uint32_t size)
{
    for (uint32_t at = 0; at < size; at += PIECE_MAX)
        ring_put(ring, message + at, size - at < PIECE_MAX ? size - at : PIECE_MAX);
}

static void
get(struct ring *ring, unsigned char *message, uint32_t size)
{
    for (uint32_t at = 0; at < size;)
        at += ring_get(ring, message + at);
}

int
main(int argc, char **argv)
{
    long items = count_argument(argc, argv, 3, 1);
    long n = count_argument(argc, argv, 1, 100000) / items;
    uint32_t size = (uint32_t) count_argument(argc, argv, 2, 8);
    unsigned char *message = malloc(size);
    if (message == NULL)
        fail("malloc");
    memset(message, 'x', size);
    struct ring *ring = make_ring();
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        for (long i = 0; i <= n; i++)
            put(ring, message, size);
        _exit(0);
    }
    get(ring, message, size); /* the child is there */
    double from = seconds_now();
    for (long i = 0; i < n; i++)
        get(ring, message, size);
    print_per_second(from, n * items);
    join_child(pid);
    return 0;
}
