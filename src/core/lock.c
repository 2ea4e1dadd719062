/*
 * lock: the contended half of the robust lock, and the proof that the kernel keeps its part. See
 * lock.h for the protocol and the rules.
 *
 * Death at any instruction (the word decides; the lists are the kernel's way to find it):
 *  - waiting, before the word is ours: the kernel finds nothing of ours. If the dying thread was
 *    the one that a release had woken, the word is pending and free: the kernel wakes another.
 *  - after the compare-and-swap: the word carries our id and is pending or linked: marked, and one
 *    sleeper woken.
 *  - in a release, before the word is freed: as above. The uncontended release is one instruction;
 *    the contended one is one step of the kernel: nothing lies between "free" and "woken".
 */
#include "lock.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int
amp_lock_wait(struct amp_lock *lock, amp_time deadline, struct amp_what *what)
{
    uint32_t keep = 0; /* once we slept, others may sleep too: keep telling */
    for (;;) {
        amp_lock_pending(lock); /* again each time: what a slice looks at takes locks too */
        uint32_t word = atomic_load_explicit(&lock->l_word, memory_order_relaxed);
        if (!(word & FUTEX_TID_MASK)) {
            uint32_t mine = amp_self.tid | (word & FUTEX_WAITERS) | keep;
            if (!atomic_compare_exchange_strong_explicit(&lock->l_word, &word, mine,
                                                         memory_order_acquire,
                                                         memory_order_relaxed))
                continue;
            amp_lock_link(lock);
            amp_lock_settled();
            return word & FUTEX_OWNER_DIED ? AMP_OWNER_DIED : 0;
        }
        /* a race on a hint: at worst one wake-up of nobody more, or less */
        atomic_store_explicit(&lock->l_hint, 0, memory_order_relaxed);
        int result = amp_wait(&lock->l_word, word, FUTEX_WAITERS, deadline, what);
        if (result != 0) {
            /* We leave, and may be the one that a release has woken: pass it on. */
            word = atomic_load_explicit(&lock->l_word, memory_order_relaxed);
            if ((word & FUTEX_WAITERS) && !(word & FUTEX_TID_MASK))
                amp_futex.wake(&lock->l_word, 1);
            amp_lock_settled();
            return result;
        }
        /* A sleeper that is woken and finds the lock taken again sleeps again; its bit was kept by
           whoever took it. Only the flag for "I slept" is ours to add. */
        if (what->since != 0)
            keep = FUTEX_WAITERS;
    }
}

/* The word was not plainly ours when we released: it has the waiters' bit. Called with the lock
   pending and unlinked. */
void
amp_lock_wake(struct amp_lock *lock)
{
    /* What we wrote under the lock, before the kernel frees it. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&lock->l_hint, memory_order_relaxed)) {
        atomic_store_explicit(&lock->l_hint, 0, memory_order_relaxed);
        amp_futex.set_and_wake(&lock->l_word, 0, AMP_WAKE_ALL);
    } else if (amp_futex.set_and_wake(&lock->l_word, FUTEX_WAITERS, 1) == 0) {
        atomic_store_explicit(&lock->l_hint, 1, memory_order_relaxed);
    }
}

#if defined(__SANITIZE_THREAD__)
/* The next owners may rely on what this one wrote: a release, which the kernel does for the dead. */
void
amp_lock_thread_leave(void)
{
    struct robust_list_head *head = amp_self.robust;
    struct robust_list *next = head ? head->list.next : NULL;
    while (next != NULL && next != &head->list) {
        struct robust_list *link = (struct robust_list *) ((uintptr_t) next & ~(uintptr_t) 1);
        next = link->next;
        AMP_RELEASED((char *) link + head->futex_offset);
    }
}
#else
void
amp_lock_thread_leave(void)
{
}
#endif

/*
 * The trial. A task takes a lock by a robust list of its own and ends; its end must mark the word. The
 * task runs in our memory, so that a large heap costs nothing, and does nothing but system calls on
 * a small stack. What it shares with us lies in a shared mapping all the same: under valgrind, for
 * one, it is a fork.
 */
struct trial {
    struct amp_lock lock;
    struct robust_list_head head;
    char stack[8192] __attribute__((aligned(16)));
};

static int
die_with_lock(void *argument)
{
    struct trial *trial = argument;
    trial->head.list.next = (struct robust_list *) &trial->lock.l_next;
    trial->head.futex_offset = -32;
    trial->head.list_op_pending = NULL;
    trial->lock.l_next = &trial->head.list;
    if (syscall(SYS_set_robust_list, &trial->head, sizeof trial->head) != 0)
        syscall(SYS_exit, 1);
    atomic_store(&trial->lock.l_word, (uint32_t) syscall(SYS_gettid));
    syscall(SYS_exit, 0);
    return 0;
}

/* Starts the task: its id, or -1. The thread sanitizer takes every clone for a fork, and undoes twice, in
   the one memory that both have, what it did before; from then on it does not see what the calling
   thread does. So there it is a fork, and one that it does not see: in a child it would start a thread
   of its own, which outlives the task. */
static int
start_trial(struct trial *trial)
{
#if defined(__SANITIZE_THREAD__)
    int pid = (int) syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    return pid == 0 ? die_with_lock(trial) : pid;
#else
    return clone(die_with_lock, trial->stack + sizeof trial->stack, CLONE_VM | CLONE_VFORK, trial);
#endif
}

int
amp_lock_try_kernel(void)
{
    if (amp_self.robust == NULL || amp_self.robust->futex_offset != -32)
        return -ENOTSUP;
    struct trial *trial = mmap(NULL, sizeof *trial, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (trial == MAP_FAILED)
        return -errno;
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    int pid = start_trial(trial);
    int failure = pid < 0 ? -errno : 0;
    bool ended = pid > 0 && syscall(SYS_wait4, pid, NULL, __WALL, NULL) == pid;
    sigprocmask(SIG_SETMASK, &old, NULL);
    bool marked = ended && atomic_load(&trial->lock.l_word) == FUTEX_OWNER_DIED;
    munmap(trial, sizeof *trial);
    if (failure != 0)
        return failure;
    amp_word probe = 1;
    bool works = marked && amp_futex.add_and_wake(&probe, 1, 1) == 0 && atomic_load(&probe) == 2;
    return works ? 0 : -ENOTSUP;
}
