/*
 * spawn: see spawn.h.
 */
#include "spawn.h"

#include "family.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOST_STATUS 127 /* of a child that must not go on */

/* A thread of the child's that waits for the end of the parent. */
static void *
follow_to_death(void *argument)
{
    struct pollfd poll = {.fd = (int) (intptr_t) argument, .events = POLLIN};
    struct amp_what what = {.uninterruptible = true};
    amp_thread_enter();
    while (amp_wait_descriptors(&poll, 1, AMP_FOREVER, &what) <= 0)
        continue;
    kill(getpid(), SIGKILL);
    return NULL;
}

/* The kernel's "death of the parent" is the death of the thread that forked. Where that is not the
   whole process's first, a thread watches the process. */
static void
bind_life(pid_t parent, bool by_thread)
{
    pthread_t thread;
    int descriptor = by_thread ? (int) syscall(SYS_pidfd_open, parent, 0) : -1;
    if (descriptor >= 0 &&
        pthread_create(&thread, NULL, follow_to_death, (void *) (intptr_t) descriptor) == 0) {
        pthread_detach(thread);
    } else {
        if (descriptor >= 0)
            close(descriptor);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    if (getppid() != parent)
        _exit(LOST_STATUS); /* it died before we asked */
}

/* As amp_thread_enter, and asks the system nothing: the child's only thread has its pid, and the C
   library's fork has told the kernel of the same list of locks at the same place. */
static void
enter_alone(void)
{
    amp_self = (struct amp_self) {
        .tid = (uint32_t) getpid(),
        .member = AMP_NOBODY,
        .robust = amp_self.robust,
    };
}

/* The child's half, with all signals blocked. */
static void
child_begin(uint32_t member, uint32_t generation, unsigned flags, pid_t parent, bool by_thread)
{
    enter_alone();
    if (flags & AMP_DIES_WITH_PARENT)
        bind_life(parent, by_thread);
    if (amp_member_enter(member, generation) != 0)
        _exit(LOST_STATUS); /* our slot was taken back: nobody knows of us */
}

int
amp_spawn(const char *name, unsigned flags, void (*prepare)(void *), void *argument,
          struct amp_child *child)
{
    uint32_t member, generation;
    int failure = amp_member_reserve(name, &member, &generation);
    if (failure == -EUSERS) {
        amp_roster_sweep();
        failure = amp_member_reserve(name, &member, &generation);
    }
    if (failure != 0)
        return failure;
    amp_holders_copy(amp_self.member, member);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t parent = getpid();
    bool by_thread = (pid_t) amp_self.tid != parent;
    sigset_t mask = by_thread && amp_self.process_mask ? *amp_self.process_mask : old;
    amp_family_forking(true);
    pid_t pid = fork();
    int error = pid < 0 ? errno : 0;
    amp_family_forking(false);
    if (pid == 0) {
        child_begin(member, generation, flags, parent, by_thread);
        if (prepare)
            prepare(argument);
        old = mask;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (pid == 0)
        return AMP_IN_CHILD;
    if (pid < 0) {
        amp_member_bury(member, generation, true);
        return -error;
    }
    *child = (struct amp_child) {.pid = pid, .member = member, .generation = generation};
    return 0;
}

static void
note_end(struct amp_child *child, const siginfo_t *info)
{
    child->status = info->si_code == CLD_EXITED ? info->si_status : -info->si_status;
    child->reaped = true;
    amp_member_bury(child->member, child->generation, true);
}

/* 0 when it has ended, -ETIMEDOUT when not, -ECHILD. */
static int
try_wait(struct amp_child *child)
{
    siginfo_t info = {.si_pid = 0};
    int result;
    do
        result = waitid(P_PID, (id_t) child->pid, &info, WEXITED | WNOHANG);
    while (result != 0 && errno == EINTR);
    if (result != 0) {
        int failure = -errno;
        if (failure == -ECHILD) /* it is gone all the same */
            amp_member_bury(child->member, child->generation, true);
        return failure;
    }
    if (info.si_pid == 0)
        return -ETIMEDOUT;
    note_end(child, &info);
    return 0;
}

int
amp_child_wait(struct amp_child *child, amp_time deadline)
{
    if (child->reaped)
        return 0;
    int result = try_wait(child);
    if (result != -ETIMEDOUT || deadline == AMP_AT_ONCE)
        return result;
    struct amp_what what = {
        .kind = AMP_JOINING,
        .follows = true,
        .cell = child->member,
        .generation = child->generation,
    };
    int descriptor = (int) syscall(SYS_pidfd_open, child->pid, 0);
    struct pollfd poll = {.fd = descriptor, .events = POLLIN};
    do {
        if (descriptor >= 0) {
            result = amp_wait_descriptors(&poll, 1, deadline, &what);
        } else {
            /* No descriptor to be had: the life lock tells as well, but for an exec. */
            amp_time soon = amp_now() + 10 * AMP_MILLISECOND;
            result = amp_member_join(child->member, child->generation,
                                     deadline < soon ? deadline : soon);
            if (result == 0)
                result = amp_sleep(amp_now() + AMP_MILLISECOND / 10);
            if (result == -ETIMEDOUT)
                result = deadline <= amp_now() ? -ETIMEDOUT : 0;
        }
        if (result >= 0) {
            result = try_wait(child);
            if (result == -ETIMEDOUT)
                result = 1;
        }
    } while (result > 0);
    if (descriptor >= 0)
        close(descriptor);
    if (result == -ETIMEDOUT && try_wait(child) == 0)
        return 0;
    return result;
}

int
amp_child_signal(struct amp_child *child, int signal)
{
    if (child->reaped)
        return -ESRCH;
    /* Not waited for, so the pid is still its own, be it a zombie's. */
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_PID, (id_t) child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != 0)
        return -ESRCH;
    return kill(child->pid, signal) == 0 ? 0 : -errno;
}
