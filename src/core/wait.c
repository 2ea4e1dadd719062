/*
 * wait: the only door to sleep. See wait.h for what it promises.
 */
#include "wait.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* So many pauses last about as long as a sleep and a wake-up through the kernel, some 10
   microseconds. With fewer, two that answer each other fall asleep in turn, and stay in that
   rhythm. */
#define SPINS 400

__thread struct amp_self amp_self = {.member = AMP_NOBODY};
int (*amp_look_around)(const struct amp_what *what);
_Atomic int amp_spins = -1;
_Atomic int amp_outsiders = 1;

static inline void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

void
amp_thread_enter(void)
{
    size_t length;
    struct amp_self *self = &amp_self;
    memset(self, 0, sizeof *self);
    self->member = AMP_NOBODY;
    syscall(SYS_get_robust_list, 0, &self->robust, &length);
    self->tid = (uint32_t) syscall(SYS_gettid);
    if (amp_spins < 0) {
        cpu_set_t processors;
        bool several = sched_getaffinity(0, sizeof processors, &processors) == 0 &&
                       CPU_COUNT(&processors) > 1;
        amp_spins = several ? SPINS : 0;
    }
}

void
amp_signal_arrived(void)
{
    amp_self.signalled = 1;
    if (amp_self.waiting_now) {
        amp_self.limit.tv_sec = 0;
        amp_self.limit.tv_nsec = 0;
    }
}

bool
amp_spin(amp_word *word, uint32_t seen)
{
    for (int i = amp_spins; i > 0; i--) {
        if (atomic_load_explicit(word, memory_order_relaxed) != seen)
            return true;
        relax();
    }
    return false;
}

/* Publishes what the thread waits for, or with NULL that it waits no more. */
static void
publish(const struct amp_what *what)
{
    struct amp_waiting *record = amp_self.waiting;
    if (record == NULL)
        return;
    /* Pairs with amp_roster_waiting(): odd, change, even. */
    atomic_fetch_add_explicit(&record->w_serial, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&record->w_kind, what ? what->kind : 0, memory_order_relaxed);
    if (what) {
        const struct amp_sleep *sleep = &amp_self.sleep;
        atomic_store_explicit(&record->w_cell, what->cell, memory_order_relaxed);
        atomic_store_explicit(&record->w_generation, what->generation, memory_order_relaxed);
        atomic_store_explicit(&record->w_lock, what->lock, memory_order_relaxed);
        atomic_store_explicit(&record->w_since, what->since, memory_order_relaxed);
        atomic_store_explicit(&record->w_began, sleep->began, memory_order_relaxed);
        atomic_store_explicit(&record->w_deaths, sleep->deaths, memory_order_relaxed);
        atomic_store_explicit(&record->w_looked, sleep->looked, memory_order_relaxed);
        atomic_store_explicit(&record->w_is_closed, sleep->is_closed, memory_order_relaxed);
        atomic_store_explicit(&record->w_follows, what->follows, memory_order_relaxed);
        atomic_store_explicit(&record->w_is_idle, what->is_idle, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&record->w_serial, 1, memory_order_release);
}

static struct timespec
to_timespec(amp_time t)
{
    return (struct timespec) {.tv_sec = t / AMP_SECOND, .tv_nsec = t % AMP_SECOND};
}

/* Notes that the thread goes to sleep now, on a word that has this value. Where it has just slept on the
   same, in the same wait, it has done nothing in between: whatever it could have done changes the word first. */
static void
note_sleep(const amp_word *word, uint32_t value, bool is_closed, const struct amp_what *what, amp_time now)
{
    struct amp_self *self = &amp_self;
    if (self->slept_on != word || self->slept_value != value || self->slept_since != what->since) {
        self->slept_on = word;
        self->slept_value = value;
        self->slept_since = what->since;
        self->sleep.began = now;
    }
    self->sleep.looked = now;
    if (self->deaths != NULL) /* acquire: what the dead did is seen by whoever sees that they are */
        self->sleep.deaths = atomic_load_explicit(self->deaths, memory_order_acquire);
    self->sleep.is_closed = is_closed;
}

/*
 * What happens before every sleep: sets the limit that the kernel will read, publishes, and looks
 * for signals. `absolute` says which kind of limit the system call takes; `word` and `value`, what the
 * sleep is on, NULL for descriptors. Returns 0 to go to sleep.
 */
static int
before_sleep(const amp_word *word, uint32_t value, amp_time deadline, bool absolute,
             struct amp_what *what)
{
    amp_time now = amp_now();
    if (what->since == 0)
        what->since = now;
    if (deadline <= now)
        return -ETIMEDOUT;
    amp_time end = deadline - now > AMP_SLICE ? now + AMP_SLICE : deadline;
    amp_self.limit = to_timespec(absolute ? end : end - now);
    if (what->uninterruptible)
        return 0;
    bool is_closed = (deadline == AMP_FOREVER || what->is_endless) &&
                     (word != NULL ? what->kind != 0 : what->kind == AMP_JOINING) &&
                     atomic_load_explicit(&amp_outsiders, memory_order_relaxed) == 0;
    note_sleep(word, value, is_closed, what, now);
    publish(what);
    amp_self.waiting_now = 1;
    atomic_signal_fence(memory_order_seq_cst); /* first waiting_now, then the look at the flag */
    if (amp_self.signalled) {
        amp_self.waiting_now = 0;
        publish(NULL);
        return -EINTR;
    }
    return 0;
}

/* What happens after every sleep; `result` is the system call's. */
static int
after_sleep(int result, amp_time deadline, struct amp_what *what)
{
    if (!what->uninterruptible) {
        amp_self.waiting_now = 0;
        publish(NULL);
        if (amp_self.signalled)
            return -EINTR;
    }
    if (result == -ETIMEDOUT) {
        if (amp_look_around && !what->uninterruptible) {
            int failure = amp_look_around(what);
            if (failure)
                return failure;
        }
        if (deadline != AMP_FOREVER && amp_now() >= deadline)
            return -ETIMEDOUT;
    }
    return 0;
}

int
amp_wait(amp_word *word, uint32_t seen, uint32_t flag, amp_time deadline, struct amp_what *what)
{
    if (deadline == AMP_AT_ONCE)
        return -ETIMEDOUT;
    if (what->since == 0 && amp_spin(word, seen))
        return 0;
    /* Pairs with the release of whoever changes the word: it sees the flag, or we its change. */
    uint32_t asleep = seen | flag;
    if (seen != asleep && !atomic_compare_exchange_strong(word, &seen, asleep) && seen != asleep)
        return 0;
    int result = before_sleep(word, asleep, deadline, false, what);
    if (result != 0)
        return result;
    result = amp_futex.wait(word, asleep, &amp_self.limit);
    return after_sleep(result, deadline, what);
}

int
amp_wait_many(amp_word *const *words, const uint32_t *expected, unsigned n, amp_time deadline,
              struct amp_what *what)
{
    int result = before_sleep(words[0], expected[0], deadline, true, what);
    if (result != 0)
        return result;
    result = amp_futex.wait_many(words, expected, n, &amp_self.limit);
    if (result == -ENOSYS) { /* an old kernel: look at all of them every few milliseconds */
        amp_time soon = amp_now() + 2 * AMP_MILLISECOND;
        amp_self.limit = to_timespec(soon < deadline ? soon - amp_now() : deadline - amp_now());
        result = amp_futex.wait(words[0], expected[0], &amp_self.limit);
    }
    return after_sleep(result, deadline, what);
}

int
amp_wait_descriptors(struct pollfd *descriptors, unsigned n, amp_time deadline,
                     struct amp_what *what)
{
    static const struct timespec at_once;
    const struct timespec *limit = &at_once;
    if (deadline != AMP_AT_ONCE) {
        int failure = before_sleep(NULL, 0, deadline, false, what);
        if (failure != 0)
            return failure;
        limit = &amp_self.limit;
    }
    /* Not the C library's ppoll: that one copies the limit before it enters the kernel. */
    long ready = syscall(SYS_ppoll, descriptors, n, limit, NULL, 0);
    if (deadline == AMP_AT_ONCE)
        return ready < 0 ? -errno : ready == 0 ? -ETIMEDOUT : (int) ready;
    int result = ready > 0 ? 0 : ready == 0 ? -ETIMEDOUT : -errno;
    int failure = after_sleep(result, deadline, what);
    if (ready > 0)
        return (int) ready; /* what is ready is told even when a signal came as well */
    if (result < 0 && result != -ETIMEDOUT && result != -EINTR)
        return result;
    return failure;
}

int
amp_sleep(amp_time deadline)
{
    amp_word nothing = 0;
    struct amp_what what = {.kind = 0, .since = amp_now()};
    for (;;) {
        int result = amp_wait(&nothing, 0, 0, deadline, &what);
        if (result != 0)
            return result;
    }
}
