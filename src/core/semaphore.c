/*
 * semaphore: see semaphore.h for the protocol and its argument.
 */
#include "semaphore.h"

/* Sets the permits of a bounded semaphore to what is not held. The caller has the releasers' lock.
   More permits than before reach as many sleepers; there is one at most, the role's. */
static void
count_permits(const struct amp_semaphore *s)
{
    uint32_t free = s->limit;
    uint32_t members = atomic_load_explicit(s->members, memory_order_acquire);
    for (uint32_t i = 0; i < members; i++)
        free -= atomic_load_explicit(&s->held[i], memory_order_relaxed); /* under the lock */
    uint32_t value = atomic_load_explicit(s->permits, memory_order_relaxed);
    uint32_t now = amp_count(value);
    if (free > now) {
        while (free - now > AMP_COMMIT_MAX) {
            amp_commit(s->permits, AMP_COMMIT_MAX, AMP_WAKE_ALL);
            now += AMP_COMMIT_MAX;
        }
        amp_commit(s->permits, free - now, AMP_WAKE_ALL);
    } else if (free < now) {
        /* Nobody sleeps while there are permits. */
        atomic_store_explicit(s->permits, free << 1, memory_order_relaxed);
    }
}

static void
enter(const struct amp_semaphore *s)
{
    if (amp_lock_enter(s->releasers) == AMP_OWNER_DIED && s->held)
        count_permits(s);
}

/* A permit of a bounded semaphore, and the note that it is ours. */
static bool
take_owned_permit(const struct amp_semaphore *s)
{
    if (amp_count(atomic_load_explicit(s->permits, memory_order_relaxed)) == 0)
        return false;
    enter(s);
    bool taken = amp_permit_take(s->permits);
    if (taken)
        atomic_fetch_add_explicit(&s->held[amp_self.member], 1, memory_order_relaxed);
    amp_lock_leave(s->releasers);
    return taken;
}

static bool
take(const struct amp_semaphore *s)
{
    return s->held ? take_owned_permit(s) : amp_permit_take(s->permits);
}

int
amp_semaphore_acquire(const struct amp_semaphore *s, amp_time deadline, struct amp_what *what)
{
    bool role = false, spun = false;
    int result;
    for (;;) {
        if (take(s)) {
            result = 0;
            break;
        }
        if (deadline == AMP_AT_ONCE) {
            result = -ETIMEDOUT;
            break;
        }
        if (!role) {
            uint32_t seen = atomic_load_explicit(s->permits, memory_order_relaxed);
            if (!spun) { /* once: what comes and goes must not keep us from the deadline */
                spun = true;
                if (amp_count(seen) > 0 || amp_spin(s->permits, seen))
                    continue;
            }
            result = amp_lock_acquire(s->role, deadline, what);
            if (result < 0)
                return result;
            role = true;
            continue; /* there may be a permit by now */
        }
        uint32_t seen = atomic_load_explicit(s->permits, memory_order_relaxed);
        if (amp_count(seen) == 0) {
            result = amp_wait(s->permits, seen, AMP_SLEEPER, deadline, what);
            if (result < 0)
                break;
        }
    }
    if (role)
        amp_lock_leave(s->role);
    return result;
}

int
amp_semaphore_release(const struct amp_semaphore *s)
{
    if (s->held) {
        int result = 0;
        enter(s);
        uint32_t mine = atomic_load_explicit(&s->held[amp_self.member], memory_order_relaxed);
        uint32_t free = amp_count(atomic_load_explicit(s->permits, memory_order_relaxed));
        if (free >= s->limit) {
            result = -EOVERFLOW;
        } else if (mine == 0) {
            result = -EPERM;
        } else {
            atomic_store_explicit(&s->held[amp_self.member], mine - 1, memory_order_relaxed);
            AMP_COMPILER_BARRIER();
            amp_commit(s->permits, 1, 1);
        }
        amp_lock_leave(s->releasers);
        return result;
    }
    int result = amp_permit_give(s->permits);
    if (result != -EBUSY)
        return result;
    enter(s); /* the word is 1, and only who has this lock can change that */
    amp_commit(s->permits, 1, 1);
    amp_lock_leave(s->releasers);
    return 0;
}

uint32_t
amp_semaphore_value(const struct amp_semaphore *s)
{
    return amp_count(atomic_load_explicit(s->permits, memory_order_relaxed));
}

void
amp_semaphore_bury(const struct amp_semaphore *s, uint32_t member)
{
    if (s->held == NULL)
        return;
    enter(s);
    if (atomic_load_explicit(&s->held[member], memory_order_relaxed) > 0) {
        atomic_store_explicit(&s->held[member], 0, memory_order_relaxed);
        AMP_COMPILER_BARRIER();
        count_permits(s);
    }
    amp_lock_leave(s->releasers);
}
