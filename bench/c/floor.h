/*
 * What the floors have in common: the clock, shared memory, a child, and the wait and the wake of
 * one word. Each floor is a plain C program that does what the scripts of the same figure do, as
 * cheaply as a program can that also puts its locks between processes and lets them outlive their
 * owner. None of luamp's source is used: a floor that shared luamp's code would hide its cost.
 *
 * A program gets the repeat count as its first argument and prints one number, in the figure's
 * unit. What fails ends it: a floor has no other answer.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CACHE_LINE 64

static inline void
fail(const char *what)
{
    perror(what);
    _exit(1);
}

static inline long
count_argument(int argc, char **argv, int i, long otherwise)
{
    return argc > i ? strtol(argv[i], NULL, 10) : otherwise;
}

static inline double
seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static inline void
print_nanoseconds(double from, long n)
{
    printf("%.3f\n", (seconds_now() - from) / (double) n * 1e9);
}

static inline void
print_microseconds(double from, long n)
{
    printf("%.3f\n", (seconds_now() - from) / (double) n * 1e6);
}

static inline void
print_per_second(double from, long n)
{
    printf("%.1f\n", (double) n / (seconds_now() - from));
}

static inline void *
shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    return memory;
}

static inline void
make_robust_mutex(pthread_mutex_t *mutex, int type)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attributes, type);
    if (pthread_mutex_init(mutex, &attributes) != 0)
        fail("pthread_mutex_init");
}

static inline void
make_barrier(pthread_barrier_t *barrier, long parties)
{
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (pthread_barrier_init(barrier, &attributes, (unsigned) parties) != 0)
        fail("pthread_barrier_init");
}

static inline pid_t
fork_or_fail(void)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    return pid;
}

static inline void
join_child(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        fputs("a child failed\n", stderr);
        _exit(1);
    }
}

/*
 * A word that another process changes. Its lowest bit says that somebody sleeps on it; whoever
 * changes the word does so by word_set(), which clears that bit and wakes the sleeper.
 */
#define SLEEPER 1u

/* Some microseconds: longer than it takes to wake a sleeper, or two who answer each other would
   both go to sleep each time. */
#define SPINS 500

static inline void
word_wait(_Atomic uint32_t *word, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen)
            return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
    }
    uint32_t asleep = seen | SLEEPER;
    if (!atomic_compare_exchange_strong(word, &seen, asleep) && seen != asleep)
        return;
    syscall(SYS_futex, word, FUTEX_WAIT, asleep, NULL, NULL, 0);
}

static inline void
word_set(_Atomic uint32_t *word, uint32_t value)
{
    if (atomic_exchange(word, value) & SLEEPER)
        syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

#endif
