/*
 * member: what all calls of the interface in C begin and end with: the calling thread as a member of the
 * family, points of time, and what results are called; and arrays that grow.
 */
#include "capi.h"

#include <errno.h>
#include <stdlib.h>

int
luampA_result(int result)
{
    switch (result) {
    case 0:
        return LUAMP_OK;
    case AMP_OWNER_DIED:
        return LUAMP_OWNER_DIED;
    case -EAGAIN:
    case -ETIMEDOUT:
        return LUAMP_TIMEOUT;
    case -EINTR:
        amp_self.signalled = 0; /* a script's handler that is to run has a hook as well */
        return LUAMP_INTERRUPTED;
    case -EPIPE:
        return LUAMP_CLOSED;
    case -EDEADLK:
        return LUAMP_DEADLOCK;
    case -ENOMEM:
        return LUAMP_NO_MEMORY;
    case -EMSGSIZE:
        return LUAMP_TOO_LONG;
    case -EUSERS:
        return LUAMP_TOO_MANY;
    case -EPERM:
        return LUAMP_NOT_OWNER;
    case -EOVERFLOW:
        return LUAMP_OUT_OF_RANGE;
    case -ENOTSUP:
        return LUAMP_UNSUPPORTED;
    default:
        errno = -result;
        return LUAMP_SYSTEM;
    }
}

const char *
luamp_strerror(int result)
{
    switch (result) {
    case LUAMP_OK:
        return "success";
    case LUAMP_OWNER_DIED:
        return "the lock's last owner died";
    case LUAMP_IN_CHILD:
        return "in the child";
    case LUAMP_TIMEOUT:
        return "timeout";
    case LUAMP_CLOSED:
        return "closed";
    case LUAMP_INTERRUPTED:
        return "interrupted";
    case LUAMP_DEADLOCK:
        return "deadlock";
    case LUAMP_NO_MEMORY:
        return "out of memory";
    case LUAMP_TOO_LONG:
        return "the message is longer than 4 GiB";
    case LUAMP_TOO_MANY:
        return "too many processes, threads or locks";
    case LUAMP_NOT_OWNER:
        return "not held by this thread";
    case LUAMP_OUT_OF_RANGE:
        return "out of range";
    case LUAMP_WRONG_KIND:
        return "an object of the wrong kind";
    case LUAMP_WRONG_TYPE:
        return "a value of another type";
    case LUAMP_MALFORMED:
        return "malformed message";
    case LUAMP_MISUSE:
        return "a wrong argument, or calls in a wrong order";
    case LUAMP_GONE:
        return "it is gone";
    case LUAMP_UNSUPPORTED:
        return "this kernel does not do what luamp relies on";
    case LUAMP_SYSTEM:
        return "a system call failed (see errno)";
    default:
        return "unknown result";
    }
}

luamp_Time
luamp_after(double seconds)
{
    return amp_deadline(seconds);
}

void
luamp_interrupt(void)
{
    amp_signal_arrived();
}

int
luampA_join(const char *name)
{
    if (__builtin_expect(amp_self.member != AMP_NOBODY, 1))
        return LUAMP_OK;
    if (name == NULL)
        name = amp_arena.base ? "Thread" : "MainProcess";
    return luampA_result(amp_family_join(name));
}

int
luamp_join(const char *name)
{
    return luampA_join(name);
}

void
luamp_leave(void)
{
    amp_family_leave(0);
}

void *
luampA_grow(void *array, size_t *room, size_t need, size_t size)
{
    if (array != NULL && need <= *room)
        return array;
    size_t more = *room > need / 2 ? 2 * *room : need;
    if (more < 16)
        more = 16;
    void *larger = more <= SIZE_MAX / size ? realloc(array, more * size) : NULL;
    if (larger != NULL)
        *room = more;
    return larger;
}
