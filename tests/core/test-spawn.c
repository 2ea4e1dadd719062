/*
 * Children: they are born members, their end is told, and nothing of them stays.
 */
#include "tap.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

static struct {
    _Atomic int started[TAP_WORKERS_MAX];
    _Atomic int prepared, blocked, unblocked, member_matches;
    _Atomic int stop;
    _Atomic pid_t grandchild;
    amp_handle handle;
} *board;

static int
return_number(void *argument)
{
    return *(int *) argument;
}

static int
stay(void *argument)
{
    (void) argument;
    atomic_store(&board->started[0], 1);
    tap_stay();
}

static struct amp_child
staying_child(void)
{
    atomic_store(&board->started[0], 0);
    struct amp_child child = tap_child(stay, NULL);
    tap_need(tap_until(atomic_load(&board->started[0])));
    return child;
}

static void
test_status(void)
{
    int descriptors = tap_descriptors();
    static const int codes[] = {0, 1, 42, 255};
    bool right = true;
    for (int i = 0; i < 4; i++) {
        int code = codes[i];
        struct amp_child child = tap_child(return_number, &code);
        right = right && amp_child_wait(&child, AMP_FOREVER) == 0 && child.reaped &&
                child.status == codes[i];
        right = right && amp_child_wait(&child, AMP_AT_ONCE) == 0 && child.status == codes[i];
    }
    ok(right, "a child's status is told, once and again");
    static const int signals[] = {SIGKILL, SIGTERM, SIGUSR1, SIGSEGV};
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer may have its own */
    for (int i = 0; i < 4; i++) {
        struct amp_child child = staying_child();
        right = right && amp_child_signal(&child, signals[i]) == 0;
        right = right && amp_child_wait(&child, AMP_FOREVER) == 0 && child.status == -signals[i];
    }
    ok(right, "and the signal that ended it");
    is(tap_descriptors(), descriptors, "no descriptor stays open");
    is(tap_account().members, 1, "no slot stays taken");
}

static void
test_wait(void)
{
    struct amp_child child = staying_child();
    is(amp_child_wait(&child, AMP_AT_ONCE), -ETIMEDOUT, "a child that runs is not waited for");
    amp_time deadline = amp_now() + 5 * AMP_MILLISECOND;
    is(amp_child_wait(&child, deadline), -ETIMEDOUT, "nor in a short time");
    ok(amp_now() >= deadline && !child.reaped, "which has gone by");
    is(amp_child_signal(&child, SIGSTOP), 0, "it is stopped");
    is(amp_child_wait(&child, amp_now() + 5 * AMP_MILLISECOND), -ETIMEDOUT, "which is no end");
    is(amp_child_signal(&child, 0), 0, "no signal can be sent to it");
    is(amp_child_signal(&child, 9999), -EINVAL, "but not any number");
    is(amp_child_signal(&child, SIGKILL), 0, "it is killed");
    ok(tap_until(tap_state(child.pid) == 'Z'), "and a zombie");
    is(amp_child_signal(&child, SIGTERM), -ESRCH, "to which no signal is sent");
    is(amp_child_wait(&child, AMP_AT_ONCE), 0, "it is waited for at once");
    is(amp_child_signal(&child, SIGTERM), -ESRCH, "no signal ever reaches a pid of later");
}

/*
 * Birth.
 */

static void
prepare(void *argument)
{
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    atomic_store(&board->prepared, *(int *) argument);
    atomic_store(&board->blocked, sigismember(&now, SIGTERM) && sigismember(&now, SIGUSR1));
    atomic_store(&board->member_matches, amp_self.tid == (uint32_t) getpid() &&
                                             amp_self.member != AMP_NOBODY &&
                                             amp_member_of_thread(amp_self.tid) == amp_self.member);
}

static void
test_birth(void)
{
    struct amp_child child;
    int number = 4711;
    fflush(stdout);
    int result = amp_spawn("prepared", 0, prepare, &number, &child);
    if (result == AMP_IN_CHILD) {
        sigset_t now;
        sigprocmask(SIG_SETMASK, NULL, &now);
        atomic_store(&board->unblocked, !sigismember(&now, SIGTERM));
        amp_member_leave(0);
        _exit(0);
    }
    is(result, 0, "a child is made");
    is(strcmp(amp_member_at(child.member)->m_name, "prepared"), 0, "with its name");
    is(tap_join(&child), 0, "it ends");
    is(board->prepared, 4711, "it was prepared");
    ok(board->blocked, "with all signals blocked");
    ok(board->unblocked, "which it was not afterwards");
    ok(board->member_matches, "as a member of its own");
}

static int
spawn_all_the_time(int index)
{
    int status = 0;
    for (int i = 0; i < 30; i++) {
        int number = (index + i) % 100;
        struct amp_child child = tap_child(return_number, &number);
        status |= tap_join(&child) != number;
    }
    return status;
}

static void
test_many(void)
{
    enum { N = 40 };
    struct amp_child child[N];
    int failed = 0;
    for (int i = 0; i < N; i++)
        child[i] = tap_child(return_number, &i);
    for (int i = N - 1; i >= 0; i--)
        failed += tap_join(&child[i]) != i;
    is(failed, 0, "many children at once, waited for in any order");
    is(tap_together(8, spawn_all_the_time), 0, "and children's children");
    amp_roster_sweep();
    is(tap_account().members, 1, "leave no slot taken");
}

static int
try_to_spawn(void *argument)
{
    (void) argument;
    struct rlimit none = {0, 0};
    struct amp_child child;
    setrlimit(RLIMIT_NPROC, &none);
    tap_need(setgid(65534) == 0 && setuid(65534) == 0); /* the limit is not the superuser's */
    int result = amp_spawn("impossible", 0, NULL, NULL, &child);
    if (result == AMP_IN_CHILD)
        _exit(0);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    return result == -EAGAIN && !sigismember(&now, SIGTERM) ? 0 : 1;
}

static void
test_no_processes(void)
{
    if (getuid() != 0) {
        tap_skip("a fork that fails", "it takes the superuser to become one with a limit");
        return;
    }
    struct tap_account before = tap_account();
    struct amp_child child = tap_child(try_to_spawn, NULL);
    is(tap_join(&child), 0, "a fork that fails is told, and signals are as before");
    tap_is_settled(before, "nothing of the child that was not born is left");
}

/*
 * Ends of parents, and others who wait.
 */

static int
be_parent(void *argument)
{
    unsigned flags = *(unsigned *) argument;
    struct amp_child child;
    int result = amp_spawn("grandchild", flags, NULL, NULL, &child);
    if (result == AMP_IN_CHILD) {
        atomic_store(&board->grandchild, getpid());
        while (!atomic_load(&board->stop))
            tap_nap();
        amp_member_leave(0);
        _exit(0);
    }
    tap_until(atomic_load(&board->grandchild) != 0);
    atomic_store(&board->started[0], 1);
    tap_stay();
}

static struct amp_child
parent_of(unsigned flags)
{
    memset(board, 0, sizeof *board);
    struct amp_child child = tap_child(be_parent, &flags);
    tap_need(tap_until(atomic_load(&board->started[0])));
    return child;
}

static void
test_parent_dies(void)
{
    struct amp_child parent = parent_of(AMP_DIES_WITH_PARENT);
    uint32_t grandchild = amp_member_of_thread((uint32_t) board->grandchild);
    ok(grandchild != AMP_NOBODY, "a child has a child");
    tap_kill(&parent);
    ok(tap_until(amp_member_of_thread((uint32_t) board->grandchild) == AMP_NOBODY),
       "one that dies with its parent does so");
    amp_roster_sweep();

    parent = parent_of(0);
    grandchild = amp_member_of_thread((uint32_t) board->grandchild);
    uint32_t generation = amp_member_generation(amp_member_at(grandchild));
    tap_kill(&parent);
    amp_roster_sweep();
    ok(amp_member_lives(grandchild, generation), "another lives on");
    atomic_store(&board->stop, 1);
    is(amp_member_join(grandchild, generation, amp_now() + TAP_PATIENCE), 0,
       "and can be joined by who is not its parent");
}

static void
test_waited_for_by_others(void)
{
    int zero = 0;
    struct amp_child child = tap_child(return_number, &zero);
    waitpid(child.pid, NULL, 0);
    is(amp_child_wait(&child, AMP_FOREVER), -ECHILD, "a child that another waited for is told so");
    is(amp_child_signal(&child, SIGTERM), -ESRCH, "and gets no signal");

    /* The program does not want to know of its children: the kernel waits for them. */
    signal(SIGCHLD, SIG_IGN);
    child = staying_child();
    is(amp_child_wait(&child, amp_now() + AMP_MILLISECOND), -ETIMEDOUT, "a child runs");
    struct amp_child helper = tap_child(return_number, &zero);
    kill(child.pid, SIGKILL);
    is(amp_child_wait(&child, amp_now() + TAP_PATIENCE), -ECHILD,
       "one that vanishes during the wait is told so, and not waited for without end");
    tap_until(amp_child_wait(&helper, AMP_AT_ONCE) == -ECHILD);
    signal(SIGCHLD, SIG_DFL);
    amp_roster_sweep();
    is(tap_account().members, 1, "and all are buried");
}

/* The same when the child ends while its parent sleeps in the wait. */
static int
kill_parents_child(void *argument)
{
    pid_t victim = *(pid_t *) argument;
    tap_until(tap_state(getppid()) == 'S');
    kill(victim, SIGKILL);
    return 0;
}

static int
wait_for_vanishing_child(void *argument)
{
    (void) argument;
    struct amp_child child = staying_child();
    struct amp_child killer = tap_child(kill_parents_child, &child.pid);
    signal(SIGCHLD, SIG_IGN);
    int result = amp_child_wait(&child, amp_now() + TAP_PATIENCE);
    signal(SIGCHLD, SIG_DFL);
    amp_child_wait(&killer, amp_now() + TAP_PATIENCE);
    return result == -ECHILD ? 0 : 1;
}

static void
test_vanishing(void)
{
    struct amp_child child = tap_child(wait_for_vanishing_child, NULL);
    is(tap_join(&child), 0, "also when it vanishes while its parent sleeps");
    amp_roster_sweep();
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
test_signal(void)
{
    struct sigaction action = {.sa_handler = handler};
    struct itimerval timer = {.it_value = {.tv_usec = 20000}};
    sigaction(SIGALRM, &action, NULL);
    struct amp_child child = staying_child();
    int descriptors = tap_descriptors();
    setitimer(ITIMER_REAL, &timer, NULL);
    is(amp_child_wait(&child, AMP_FOREVER), -EINTR, "a signal ends the wait for a child");
    is(tap_descriptors(), descriptors, "and no descriptor stays open");
    amp_self.signalled = 0;
    tap_kill(&child);
    amp_roster_sweep();
}

/*
 * Storm: children that are killed at any moment of their birth and life.
 */

static int
live_a_little(void *argument)
{
    (void) argument;
    struct amp_cell *cell = tap_object(AMP_EVENT, "mine");
    tap_unhold(cell);
    tap_object(AMP_EVENT, "left behind");
    return 0;
}

static void
test_storm(void)
{
    struct tap_account before = tap_account();
    amp_handle handle = amp_cell_handle(tap_object(AMP_EVENT, "inherited"));
    bool right = true;
    for (int i = 0; i < 300; i++) {
        struct amp_child child = tap_child(live_a_little, NULL);
        for (volatile int spin = 0; spin < i * 400; spin = spin + 1)
            ;
        kill(child.pid, SIGKILL);
        right = right && amp_child_wait(&child, AMP_FOREVER) == 0 &&
                (child.status == -SIGKILL || child.status == 0);
        right = right && amp_member_phase(amp_member_at(child.member)) == AMP_FREE;
    }
    ok(right, "a child may be killed at any moment of its life");
    amp_unhold(handle);
    tap_is_settled(before, "and leaves nothing");
}

int
main(void)
{
    if (!tap_forks())
        return tap_skip_all("it is about processes");
    tap_family(0);
    board = tap_shared(sizeof *board);
    struct tap_account before = tap_account();
    test_status();
    test_wait();
    test_birth();
    test_many();
    test_no_processes();
    test_parent_dies();
    test_waited_for_by_others();
    test_vanishing();
    test_signal();
    test_storm();
    tap_is_settled(before, "nothing is left behind");
    return tap_done();
}
