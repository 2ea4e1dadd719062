/*
 * futex: the system call, and nothing else. See futex.h.
 */
#include "futex.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What FUTEX_WAKE_OP does to the word: four bits of operation, four of comparison, twelve each of
   their arguments (the kernel's own macro shifts a signed number too far). It compares the old
   value and may wake on a second word. That half is not wanted: the comparison is one that no word
   of ours can satisfy. */
#define OPERATION(operation, argument)                                       \
    ((uint32_t) (operation) << 28 | (uint32_t) FUTEX_OP_CMP_EQ << 24 |       \
     ((uint32_t) (argument) & 0xfff) << 12 | 0xfff)

static int
futex_call(amp_word *word, int operation, uint32_t value, const void *timeout, amp_word *word2,
           uint32_t value3)
{
    long result = syscall(SYS_futex, word, operation, value, timeout, word2, value3);
    return result < 0 ? -errno : (int) result;
}

static int
kernel_wait(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    return futex_call(word, FUTEX_WAIT, expected, relative, NULL, 0);
}

static int
kernel_wait_many(amp_word *const *words, const uint32_t *expected, unsigned n,
                 const struct timespec *absolute)
{
#ifdef SYS_futex_waitv
    struct futex_waitv waiters[AMP_WAIT_MANY_MAX];
    for (unsigned i = 0; i < n; i++) {
        waiters[i].val = expected[i];
        waiters[i].uaddr = (uintptr_t) words[i];
        waiters[i].flags = FUTEX_32;
        waiters[i].__reserved = 0;
    }
    long result = syscall(SYS_futex_waitv, waiters, n, 0, absolute, CLOCK_MONOTONIC);
    return result < 0 ? -errno : (int) result;
#else
    (void) words, (void) expected, (void) n, (void) absolute;
    return -ENOSYS;
#endif
}

static int
kernel_wake(amp_word *word, int count)
{
    return futex_call(word, FUTEX_WAKE, (uint32_t) count, NULL, NULL, 0);
}

static int
kernel_add_and_wake(amp_word *word, int addend, int count)
{
    AMP_RELEASED(word);
    return futex_call(word, FUTEX_WAKE_OP, (uint32_t) count, NULL, word,
                      OPERATION(FUTEX_OP_ADD, addend));
}

static int
kernel_set_and_wake(amp_word *word, uint32_t value, int count)
{
    uint32_t operation = OPERATION(FUTEX_OP_SET, 0);
    if (value != 0)
        operation = OPERATION((FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT), __builtin_ctz(value));
    AMP_RELEASED(word);
    return futex_call(word, FUTEX_WAKE_OP, (uint32_t) count, NULL, word, operation);
}

static int
kernel_clear_flag_and_wake(amp_word *word, int count)
{
    AMP_RELEASED(word);
    return futex_call(word, FUTEX_WAKE_OP, (uint32_t) count, NULL, word,
                      OPERATION(FUTEX_OP_ANDN, 1));
}

struct amp_futex_operations amp_futex = {
    .wait = kernel_wait,
    .wait_many = kernel_wait_many,
    .wake = kernel_wake,
    .add_and_wake = kernel_add_and_wake,
    .set_and_wake = kernel_set_and_wake,
    .clear_flag_and_wake = kernel_clear_flag_and_wake,
};
