/*
 * The door to sleep, and what it stands on: the system call's operations, the commit word, signals.
 * A kernel of our own is put in the place of the real one where a moment has to be hit exactly.
 */
#include "tap.h"

#include <signal.h>
#include <sys/time.h>

static struct amp_futex_operations kernel;

static void
real_kernel(void)
{
    amp_futex = kernel;
}

/*
 * The operations.
 */

static struct {
    amp_word word;
    _Atomic int asleep[8], woken[8];
} *board;

static int
sleep_on_word(void *argument)
{
    int i = *(int *) argument;
    struct timespec limit = {.tv_sec = TAP_PATIENCE / AMP_SECOND};
    atomic_store(&board->asleep[i], 1);
    int result = kernel.wait(&board->word, 0, &limit);
    atomic_store(&board->woken[i], 1);
    return result == 0 ? 0 : 1;
}

static int
woken(int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += atomic_load(&board->woken[i]);
    return count;
}

static void
test_waking_operations(void)
{
    struct amp_child child[6];
    memset(board, 0, sizeof *board);
    for (int i = 0; i < 6; i++) {
        child[i] = tap_child(sleep_on_word, &i);
        tap_sleeps(&child[i], &board->asleep[i]);
    }
    is(kernel.wake(&board->word, 1), 1, "wake says how many it woke");
    ok(tap_until(woken(6) == 1), "and wakes no more than it was asked to");
    is(kernel.add_and_wake(&board->word, 5, 2), 2, "add and wake wakes two");
    is(atomic_load(&board->word), 5, "and has added");
    is(kernel.set_and_wake(&board->word, 0x80000000u, 1), 1, "set and wake wakes one");
    is(atomic_load(&board->word), 0x80000000u, "and has set the highest bit");
    atomic_store(&board->word, 7);
    is(kernel.clear_flag_and_wake(&board->word, AMP_WAKE_ALL), 2, "clear and wake wakes the rest");
    is(atomic_load(&board->word), 6, "and has cleared the lowest bit");
    is(kernel.wake(&board->word, AMP_WAKE_ALL), 0, "nobody is left to wake");
    int failed = 0;
    for (int i = 0; i < 6; i++)
        failed += tap_join(&child[i]) != 0;
    is(failed, 0, "each sleeper was told that it was woken");
}

static void
test_operations(void)
{
    struct timespec soon = {.tv_nsec = 1000000};
    amp_word word = 3;
    is(kernel.wait(&word, 2, &soon), -EAGAIN, "no sleep on a word that is not as expected");
    is(kernel.wait(&word, 3, &soon), -ETIMEDOUT, "a sleep ends with its limit");

    bool added = true;
    for (int addend = 1; addend <= AMP_ADD_MAX; addend++) {
        atomic_store(&word, 1000000);
        kernel.add_and_wake(&word, addend, 1);
        added = added && atomic_load(&word) == 1000000u + (unsigned) addend;
    }
    ok(added, "every addend up to the largest is added");
    atomic_store(&word, UINT32_MAX);
    kernel.add_and_wake(&word, 1, 1);
    is(atomic_load(&word), 0, "adding goes round at the end");

    bool set = true;
    for (int bit = 0; bit < 32; bit++) {
        atomic_store(&word, 0x55555555u);
        kernel.set_and_wake(&word, 1u << bit, 1);
        set = set && atomic_load(&word) == 1u << bit;
    }
    kernel.set_and_wake(&word, 0, 1);
    ok(set && atomic_load(&word) == 0, "every power of two is set, and zero");

    amp_word other = 9;
    amp_word *words[2] = {&word, &other};
    uint32_t expected[2] = {0, 9};
    amp_time end = amp_now() + AMP_MILLISECOND;
    struct timespec absolute = {end / AMP_SECOND, end % AMP_SECOND};
    int result = kernel.wait_many(words, expected, 2, &absolute);
    if (result == -ENOSYS) {
        tap_skip("a sleep on several words", "this kernel has none");
        return;
    }
    is(result, -ETIMEDOUT, "a sleep on several words ends with its limit");
    expected[1] = 8;
    is(kernel.wait_many(words, expected, 2, &absolute), -EAGAIN,
       "no sleep on several words when one is not as expected");
}

/*
 * The commit word.
 */

static int calls;

static int
counted_add(amp_word *word, int addend, int count)
{
    calls++;
    return kernel.add_and_wake(word, addend, count);
}

static void
test_commit_word(void)
{
    is(amp_count(7), 3, "the count is beside the flag");
    is(amp_count_difference(2, 0x7fffffffu), 3, "a difference of counts goes round");

    amp_futex.add_and_wake = counted_add;
    amp_word word = 0;
    calls = 0;
    amp_commit(&word, 1, 1);
    amp_commit(&word, AMP_COMMIT_MAX, AMP_WAKE_ALL);
    is(atomic_load(&word), 2 * (1 + AMP_COMMIT_MAX), "a commit adds its step to the count");
    is(calls, 0, "and needs no system call where nobody sleeps");

    bool right = true;
    for (uint32_t step = 1; step <= AMP_COMMIT_MAX; step++) {
        atomic_store(&word, 2 * 100 + AMP_SLEEPER);
        amp_commit(&word, step, 1);
        right = right && atomic_load(&word) == 2 * (100 + step);
    }
    ok(right, "where somebody sleeps, every step is added and the flag is cleared");
    is(calls, AMP_COMMIT_MAX, "by one system call each");

    atomic_store(&word, 0xfffffffeu);
    amp_commit(&word, 1, 1);
    is(atomic_load(&word), 0, "the count goes round at 2^31");
    atomic_store(&word, 0xfffffffeu | AMP_SLEEPER);
    amp_commit(&word, 1, 1);
    is(atomic_load(&word), 0, "with a sleeper as well");
    real_kernel();
}

/*
 * amp_wait. What the kernel is asked, and in what state the thread is then, is noted.
 */

static struct {
    int calls;
    uint32_t expected, word;
    amp_time limit;
    struct amp_what what;
    bool published;
    int result;
} asked;

static int
noting_wait(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    asked.calls++;
    asked.expected = expected;
    asked.word = atomic_load(word);
    asked.limit = relative->tv_sec * AMP_SECOND + relative->tv_nsec;
    asked.published = amp_member_waiting(amp_self.member, &asked.what, NULL);
    return asked.result;
}

static void
note(int result)
{
    memset(&asked, 0, sizeof asked);
    asked.result = result;
    amp_futex.wait = noting_wait;
}

static void
test_wait(void)
{
    struct amp_what what = {.kind = AMP_EVENT, .cell = 77, .lock = 0};
    amp_word word = 4;
    note(0);
    is(amp_wait(&word, 4, 1, AMP_AT_ONCE, &what), -ETIMEDOUT, "a deadline at once does not wait");
    is(atomic_load(&word), 4, "and leaves no flag");
    is(amp_wait(&word, 6, 1, AMP_FOREVER, &what), 0, "a word that has changed: look again");
    is(amp_wait(&word, 5, 1, AMP_FOREVER, &what), 0, "the same when it is said to have the flag");
    is(asked.calls, 0, "and no sleep");

    amp_time before = amp_now();
    is(amp_wait(&word, 4, 1, AMP_FOREVER, &what), 0, "woken: look again");
    is(asked.calls, 1, "after one sleep");
    is(asked.expected, 5, "that expects the word with the flag");
    is(asked.word, 5, "which has been set");
    is(asked.limit, AMP_SLICE, "and that is no longer than a slice");
    ok(asked.published && asked.what.kind == AMP_EVENT && asked.what.cell == 77,
       "meanwhile others see what is waited for");
    ok(what.since >= before && what.since <= amp_now() && asked.what.since == what.since,
       "and since when");
    ok(!amp_member_waiting(amp_self.member, &asked.what, NULL), "afterwards they see no wait");

    amp_time since = what.since;
    is(amp_wait(&word, 5, 1, amp_now() + 20 * AMP_MILLISECOND, &what), 0,
       "a flag that is set stays");
    ok(asked.limit > 0 && asked.limit <= 20 * AMP_MILLISECOND,
       "a near deadline shortens the sleep");
    is(what.since, since, "a wait that goes on began when it began");
    is(amp_wait(&word, 5, 1, amp_now() - 1, &what), -ETIMEDOUT, "a deadline that has passed");
    is(asked.calls, 2, "needs no sleep");

    note(-ETIMEDOUT);
    is(amp_wait(&word, 5, 1, AMP_FOREVER, &what), 0, "the end of a slice is no time-out");
    real_kernel();
    amp_time deadline = amp_now() + 5 * AMP_MILLISECOND;
    int result;
    while ((result = amp_wait(&word, 5, 1, deadline, &what)) == 0)
        ;
    is(result, -ETIMEDOUT, "a wait ends with its deadline");
    ok(amp_now() >= deadline, "and not before");
}

/* Between the waiter's look and its flag the word was changed, and somebody else went to sleep on
   the new value. To sleep now would be to miss the change. */
static void
test_changed_with_flag(void)
{
    struct amp_what what = {.since = 1};
    amp_word word = 2 * 8 + AMP_SLEEPER;
    note(0);
    is(amp_wait(&word, 2 * 7, AMP_SLEEPER, AMP_FOREVER, &what), 0, "a change is seen");
    is(asked.calls, 0, "a changed word that has the flag again is not slept on");
    note(0);
    atomic_store(&word, FUTEX_WAITERS);
    amp_wait(&word, 4711, FUTEX_WAITERS, AMP_FOREVER, &what);
    is(asked.calls, 0, "a lock that has become free is not slept on");
    note(0);
    atomic_store(&word, 2 * 7 + AMP_SLEEPER);
    amp_wait(&word, 2 * 7, AMP_SLEEPER, AMP_FOREVER, &what);
    is(asked.calls, 1, "but one that only got the flag is");
    real_kernel();
}

static void
test_spin(void)
{
    struct amp_what what = {.kind = 0};
    amp_word word = 1;
    int spins = amp_spins;
    ok(amp_spin(&word, 0) == (spins > 0), "a spin sees at once what has changed");
    ok(!amp_spin(&word, 1), "and gives up when nothing does");
    amp_spins = 0;
    ok(!amp_spin(&word, 0), "no spins: no look");
    note(0);
    amp_wait(&word, 1, 1, AMP_FOREVER, &what);
    is(asked.calls, 1, "a wait sleeps without spinning");
    amp_spins = spins;
    real_kernel();
}

static int looks;
static int look_result;
static const struct amp_what *looked_for;

static int
counted_look(const struct amp_what *what)
{
    looks++;
    looked_for = what;
    return look_result;
}

static void
test_look_around(void)
{
    int (*usual)(const struct amp_what *) = amp_look_around;
    struct amp_what what = {.kind = AMP_LOCK, .since = 1};
    amp_word word = 1;
    amp_look_around = counted_look;
    note(0);
    amp_wait(&word, 1, 1, AMP_FOREVER, &what);
    is(looks, 0, "who is woken does not look around");
    asked.result = -ETIMEDOUT;
    amp_wait(&word, 1, 1, AMP_FOREVER, &what);
    ok(looks == 1 && looked_for == &what, "who was not looks around, knowing its wait");
    look_result = -EDEADLK;
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &what), -EDEADLK, "and tells of what it saw");
    struct amp_what inside = {.uninterruptible = true, .since = 1};
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &inside), 0, "a wait inside the core goes on");
    is(looks, 2, "without looking around");
    amp_look_around = usual;
    real_kernel();
}

/*
 * Signals.
 */

static void
handler(int signal)
{
    (void) signal;
    amp_signal_arrived();
}

static void
quiet_handler(int signal)
{
    (void) signal;
}

static void
handle(void (*function)(int))
{
    struct sigaction action = {.sa_handler = function, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    amp_self.signalled = 0;
}

static void
alarm_in(long microseconds)
{
    struct itimerval timer = {.it_value = {.tv_usec = microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static amp_time limit_after_signal;

static int
signalled_wait(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    raise(SIGALRM); /* after the look at the flag, before the kernel */
    limit_after_signal = relative->tv_sec * AMP_SECOND + relative->tv_nsec;
    return kernel.wait(word, expected, relative->tv_sec || relative->tv_nsec ? NULL : relative);
}

static int
signalled_wait_many(amp_word *const *words, const uint32_t *expected, unsigned n,
                    const struct timespec *absolute)
{
    raise(SIGALRM);
    limit_after_signal = absolute->tv_sec * AMP_SECOND + absolute->tv_nsec;
    return kernel.wait_many(words, expected, n, absolute);
}

static int
interrupted_wait(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    raise(SIGALRM);
    return -EINTR;
}

static int
woken_and_signalled_wait(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    (void) word, (void) expected, (void) relative;
    raise(SIGALRM);
    return 0;
}

static void
test_signals(void)
{
    struct amp_what what = {.kind = AMP_EVENT, .since = 1};
    amp_word word = 1;

    handle(handler);
    note(0);
    raise(SIGALRM);
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &what), -EINTR, "a signal before the wait ends it");
    is(asked.calls, 0, "without a sleep");
    ok(!amp_member_waiting(amp_self.member, &asked.what, NULL), "and others see no wait");

    handle(handler);
    amp_futex.wait = signalled_wait; /* for ever, if the limit is not zero */
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &what), -EINTR,
       "a signal that arrives between the look and the sleep ends the wait at once");
    is(limit_after_signal, 0, "because the kernel is told not to sleep");

    handle(handler);
    amp_futex.wait_many = signalled_wait_many;
    amp_word *words[1] = {&word};
    uint32_t expected[1] = {1};
    is(amp_wait_many(words, expected, 1, AMP_FOREVER, &what), -EINTR, "of several words as well");
    is(limit_after_signal, 0, "by the same means");

    handle(handler);
    amp_futex.wait = woken_and_signalled_wait;
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &what), -EINTR,
       "woken and signalled: the signal is told");

    handle(quiet_handler);
    amp_futex.wait = interrupted_wait;
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &what), 0, "a signal of no interest: look again");

    handle(handler);
    note(0);
    raise(SIGALRM);
    struct amp_what inside = {.uninterruptible = true, .since = 1};
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &inside), 0, "a wait inside the core is not ended");
    is(asked.calls, 1, "but sleeps");
    ok(!asked.published, "and is not shown");
    ok(amp_self.signalled, "and the signal is remembered");

    real_kernel();
    tap_without_slices();
    handle(handler);
    alarm_in(20000);
    is(amp_wait(&word, 1, 1, AMP_FOREVER, &what), -EINTR, "a signal wakes who sleeps");
    tap_with_slices();
    handle(handler);
    alarm_in(20000);
    is(amp_sleep(AMP_FOREVER), -EINTR, "also from a mere sleep");
    amp_self.signalled = 0;
}

/* Handlers that come by the hundred in the middle of waits of all lengths must not spoil one. */
static void
test_signal_storm(void)
{
    struct amp_what what = {.since = 1};
    amp_word word = 1;
    struct itimerval timer = {.it_value = {.tv_usec = 100}, .it_interval = {.tv_usec = 137}};
    handle(handler);
    tap_without_slices();
    setitimer(ITIMER_REAL, &timer, NULL);
    int interrupted = 0;
    for (int i = 0; i < 500; i++) {
        amp_self.signalled = 0;
        interrupted += amp_wait(&word, 1, 1, AMP_FOREVER, &what) == -EINTR;
    }
    timer = (struct itimerval) {.it_value = {.tv_usec = 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
    tap_with_slices();
    is(interrupted, 500, "no signal of many is lost between two waits");
    amp_self.signalled = 0;
}

/*
 * Several words, descriptors, sleep.
 */

static int
no_wait_many(amp_word *const *words, const uint32_t *expected, unsigned n,
             const struct timespec *absolute)
{
    (void) words, (void) expected, (void) n, (void) absolute;
    return -ENOSYS;
}

static void
test_many(const char *kernel_name)
{
    struct amp_what what = {.kind = AMP_SELECTING};
    amp_word words[AMP_WAIT_MANY_MAX] = {0};
    amp_word *addresses[AMP_WAIT_MANY_MAX];
    uint32_t expected[AMP_WAIT_MANY_MAX] = {0};
    for (int i = 0; i < AMP_WAIT_MANY_MAX; i++)
        addresses[i] = &words[i];
    amp_time deadline = amp_now() + 10 * AMP_MILLISECOND;
    int result;
    while ((result = amp_wait_many(addresses, expected, AMP_WAIT_MANY_MAX, deadline, &what)) == 0)
        ;
    is(result, -ETIMEDOUT, "%s: a wait for as many words as can be ends with its deadline",
       kernel_name);
    ok(amp_now() >= deadline, "%s: and not before", kernel_name);
    is(amp_wait_many(addresses, expected, AMP_WAIT_MANY_MAX, AMP_AT_ONCE, &what), -ETIMEDOUT,
       "%s: a deadline at once does not wait", kernel_name);
    words[AMP_WAIT_MANY_MAX - 1] = 2;
    is(amp_wait_many(addresses, expected, AMP_WAIT_MANY_MAX, AMP_FOREVER, &what), 0,
       "%s: the last word has changed: look again", kernel_name);
}

static int
change_last_word(void *argument)
{
    (void) argument;
    tap_until(atomic_load(&board->asleep[0]) && tap_state(getppid()) == 'S');
    atomic_store(&board->word, 1);
    kernel.wake(&board->word, AMP_WAKE_ALL);
    return 0;
}

static void
test_many_woken(void)
{
    struct amp_what what = {.kind = AMP_SELECTING};
    amp_word quiet = 0;
    amp_word *addresses[2] = {&quiet, &board->word};
    uint32_t expected[2] = {0, 0};
    memset(board, 0, sizeof *board);
    struct amp_child child = tap_child(change_last_word, NULL);
    atomic_store(&board->asleep[0], 1);
    int result = 0;
    while (result == 0 && atomic_load(&board->word) == 0)
        result = amp_wait_many(addresses, expected, 2, amp_now() + TAP_PATIENCE, &what);
    is(result, 0, "a change of one word among several ends the wait");
    is(tap_join(&child), 0, "that another process made");
}

static void
test_descriptors(void)
{
    struct amp_what what = {.kind = AMP_SELECTING};
    int ends[2];
    tap_need(pipe(ends) == 0);
    struct pollfd poll[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = ends[1], .events = POLLIN}};
    is(amp_wait_descriptors(poll, 2, AMP_AT_ONCE, &what), -ETIMEDOUT, "no descriptor is ready");
    amp_time deadline = amp_now() + 5 * AMP_MILLISECOND;
    int result;
    while ((result = amp_wait_descriptors(poll, 2, deadline, &what)) == 0)
        ;
    is(result, -ETIMEDOUT, "nor within a short time");
    ok(amp_now() >= deadline, "which has gone by");

    if (tap_signals_arrive()) {
        handle(handler);
        alarm_in(10000);
        while ((result = amp_wait_descriptors(poll, 2, AMP_FOREVER, &what)) == 0)
            ;
        is(result, -EINTR, "a signal ends the wait for descriptors");
        handle(handler);
        raise(SIGALRM);
        is(amp_wait_descriptors(poll, 2, AMP_FOREVER, &what), -EINTR, "also when it came before");
        amp_self.signalled = 0;
    }

    poll[1].events = POLLOUT;
    is(amp_wait_descriptors(poll, 2, AMP_FOREVER, &what), 1, "one descriptor is ready");
    ok(poll[0].revents == 0 && poll[1].revents == POLLOUT, "the right one");
    is(amp_wait_descriptors(poll, 2, AMP_AT_ONCE, &what), 1, "and is so without a wait");
    close(ends[1]);
    poll[1].fd = -1;
    is(amp_wait_descriptors(poll, 2, AMP_FOREVER, &what), 1, "a closed pipe is ready");
    ok(poll[0].revents & POLLHUP, "and says why");
    close(ends[0]);
}

static void
test_sleep(void)
{
    amp_self.signalled = 0;
    is(amp_sleep(AMP_AT_ONCE), -ETIMEDOUT, "no sleep");
    amp_time deadline = amp_now() + 300 * AMP_MILLISECOND; /* more than a slice */
    is(amp_sleep(deadline), -ETIMEDOUT, "a sleep of more than a slice");
    ok(amp_now() >= deadline, "is not too short");
}

int
main(void)
{
    tap_family(0);
    kernel = amp_futex;
    test_operations();
    test_commit_word();
    test_wait();
    test_changed_with_flag();
    test_spin();
    test_look_around();
    if (tap_forks()) {
        board = tap_shared(sizeof *board);
        test_waking_operations();
        test_many_woken();
    }
    if (tap_signals_arrive()) {
        test_signals();
        test_signal_storm();
    }
    test_many("this kernel");
    amp_futex.wait_many = no_wait_many;
    test_many("a kernel without");
    real_kernel();
    test_descriptors();
    test_sleep();
    return tap_done();
}
