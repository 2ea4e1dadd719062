/*
 * A ring of messages in shared memory, for the floors of queues and pools: a robust mutex a side,
 * and two words, the positions of both sides in bytes. A side's word is written under its mutex
 * only, and it is what the other side sleeps on. Who has to wait keeps its side's mutex: the next
 * ones then wait for the mutex, so there is one sleeper a word.
 *
 * Positions grow without end and wrap at 2^32; a message is its length and its bytes, padded to 8,
 * so the lowest bit of a position is free for SLEEPER.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include "floor.h"

#define RING_CAPACITY (1u << 18) /* a power of two */
#define RING_MESSAGE_MAX (RING_CAPACITY / 4)

struct ring {
    _Alignas(CACHE_LINE) pthread_mutex_t producers;
    _Atomic uint32_t written;
    _Alignas(CACHE_LINE) pthread_mutex_t consumers;
    _Atomic uint32_t taken;
    _Alignas(CACHE_LINE) unsigned char bytes[RING_CAPACITY];
};

static inline struct ring *
make_ring(void)
{
    struct ring *ring = shared_memory(sizeof *ring);
    make_robust_mutex(&ring->producers, PTHREAD_MUTEX_NORMAL);
    make_robust_mutex(&ring->consumers, PTHREAD_MUTEX_NORMAL);
    return ring;
}

/* How much of the ring a message takes. */
static inline uint32_t
ring_message_size(uint32_t length)
{
    return 8 + ((length + 7) & ~7u);
}

static inline void
ring_lock(pthread_mutex_t *mutex)
{
    if (pthread_mutex_lock(mutex) != 0)
        fail("pthread_mutex_lock"); /* an owner that died too: in a floor, nobody should */
}

static inline void
ring_copy_in(struct ring *ring, uint32_t position, const void *from, uint32_t length)
{
    uint32_t offset = position % RING_CAPACITY;
    uint32_t first = length < RING_CAPACITY - offset ? length : RING_CAPACITY - offset;
    memcpy(ring->bytes + offset, from, first);
    memcpy(ring->bytes, (const char *) from + first, length - first);
}

static inline void
ring_copy_out(struct ring *ring, uint32_t position, void *to, uint32_t length)
{
    uint32_t offset = position % RING_CAPACITY;
    uint32_t first = length < RING_CAPACITY - offset ? length : RING_CAPACITY - offset;
    memcpy(to, ring->bytes + offset, first);
    memcpy((char *) to + first, ring->bytes, length - first);
}

static inline void
ring_put(struct ring *ring, const void *message, uint32_t length)
{
    uint32_t size = ring_message_size(length);
    ring_lock(&ring->producers);
    uint32_t position = atomic_load_explicit(&ring->written, memory_order_relaxed) & ~SLEEPER;
    for (;;) {
        uint32_t taken = atomic_load_explicit(&ring->taken, memory_order_acquire);
        if (position + size - (taken & ~SLEEPER) <= RING_CAPACITY)
            break;
        word_wait(&ring->taken, taken);
    }
    ring_copy_in(ring, position, &length, sizeof length);
    ring_copy_in(ring, position + 8, message, length);
    word_set(&ring->written, position + size);
    pthread_mutex_unlock(&ring->producers);
}

/* The message's length; `message` has room for the longest that is put. */
static inline uint32_t
ring_get(struct ring *ring, void *message)
{
    ring_lock(&ring->consumers);
    uint32_t position = atomic_load_explicit(&ring->taken, memory_order_relaxed) & ~SLEEPER;
    for (;;) {
        uint32_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
        if ((written & ~SLEEPER) != position)
            break;
        word_wait(&ring->written, written);
    }
    uint32_t length;
    ring_copy_out(ring, position, &length, sizeof length);
    ring_copy_out(ring, position + 8, message, length);
    word_set(&ring->taken, position + ring_message_size(length));
    pthread_mutex_unlock(&ring->consumers);
    return length;
}

#endif
