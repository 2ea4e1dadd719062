/*
 * spawn: processes that are members. Fork, and the end of a child.
 *
 * The child's slot is reserved, and all that its parent holds noted for it, before the fork; its
 * first act is to take its life lock. Signals are blocked around the fork, and in the child until
 * it has put its own handlers in place. There is no handler of SIGCHLD and no wait for any child:
 * an embedding program keeps its own children, and a child of ours stays a zombie, its pid safe
 * from reuse, until it is waited for here.
 *
 * Any thread may fork. The child has that thread only. What other threads of the parent were in the
 * middle of stays theirs: their locks in the arena are released by them, or by the kernel, as ever;
 * private memory is the C library's business, which puts its own locks right. No lock of luamp's
 * own lies in private memory but those that say so, and they are made anew in the child.
 */
#ifndef AMP_SPAWN_H
#define AMP_SPAWN_H

#include "handle.h"

enum amp_spawn_flags {
    AMP_DIES_WITH_PARENT = 1, /* it is killed when its parent process dies */
};

struct amp_child {
    pid_t pid;
    uint32_t member;
    uint32_t generation;
    bool reaped;
    int status; /* once reaped: exit status, or -N for signal N */
};

#define AMP_IN_CHILD 1

/* Forks. 0 in the parent; AMP_IN_CHILD in the child, which is a member, after `prepare` has run
   in it with all signals blocked. A failure is that of what could not be had: -EAGAIN
   (processes), -EUSERS (members), -ENOMEM. */
int amp_spawn(const char *name, unsigned flags, void (*prepare)(void *), void *argument,
              struct amp_child *child);

/* Waits for the end of a child of the calling process: 0, and child->status is set; -ETIMEDOUT
   (at once with AMP_AT_ONCE), -EINTR; -ECHILD when somebody else has waited for it. */
int amp_child_wait(struct amp_child *child, amp_time deadline);

/* Sends a signal, unless it has ended: 0, -ESRCH when it has, -EPERM, -EINVAL. */
int amp_child_signal(struct amp_child *child, int signal);

#endif
