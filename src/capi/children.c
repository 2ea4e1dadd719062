/*
 * children: of programs in C.
 *
 * As amp_spawn makes them. The child goes on behind luamp_fork, with all that the calling thread had.
 */
#include "capi.h"

#include "core/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct luamp_Process {
    struct amp_child child;
};

int
luamp_fork(const char *name, unsigned flags, luamp_Process **process)
{
    if (process == NULL || (flags & ~(unsigned) LUAMP_DIES_WITH_PARENT) != 0)
        return LUAMP_MISUSE;
    int result = luampA_join(NULL);
    if (result != LUAMP_OK)
        return result;
    luamp_Process *made = calloc(1, sizeof *made);
    if (made == NULL)
        return LUAMP_NO_MEMORY;
    fflush(stdout);
    fflush(stderr);
    result = amp_spawn(name ? name : "Process",
                       flags & LUAMP_DIES_WITH_PARENT ? AMP_DIES_WITH_PARENT : 0, NULL, NULL,
                       &made->child);
    if (result == 0) {
        *process = made;
        return LUAMP_OK;
    }
    free(made);
    if (result == AMP_IN_CHILD) {
        *process = NULL;
        return LUAMP_IN_CHILD;
    }
    return result == -EAGAIN ? LUAMP_TOO_MANY : luampA_result(result);
}

void
luamp_exit(int status)
{
    fflush(stdout);
    fflush(stderr);
    amp_member_leave(status);
    _exit(status & 0xff);
}

int
luamp_process_wait(luamp_Process *process, luamp_Time deadline, int *status)
{
    if (process == NULL)
        return LUAMP_MISUSE;
    int result = luampA_join(NULL);
    if (result != LUAMP_OK)
        return result;
    result = amp_child_wait(&process->child, deadline);
    if (result == -ECHILD)
        return LUAMP_GONE;
    if (result == 0 && status != NULL)
        *status = process->child.status;
    return luampA_result(result);
}

int
luamp_process_kill(luamp_Process *process, int signal)
{
    if (process == NULL)
        return LUAMP_MISUSE;
    int result = amp_child_signal(&process->child, signal);
    if (result == -ESRCH)
        return LUAMP_GONE;
    if (result != 0) {
        errno = -result;
        return LUAMP_SYSTEM;
    }
    return LUAMP_OK;
}

int
luamp_process_pid(const luamp_Process *process)
{
    return process ? process->child.pid : -1;
}

void
luamp_process_free(luamp_Process *process)
{
    free(process);
}
