/*
 * lock.pml: the robust lock of src/core/lock.[ch], with the kernel's part, under deaths.
 *
 * N threads take and release the lock R times each; up to K of them are killed, between any two
 * steps. A step is one instruction that others can see, or one system call. Names are those of lock.h.
 *
 *   THE WORD    owner, waiters (FUTEX_WAITERS), died (FUTEX_OWNER_DIED); hint is l_hint
 *   ITS OWNER   pending: list_op_pending is set; linked: the lock is in the robust list
 *   THE KERNEL  asleep[]: in FUTEX_WAIT. Wakes any one of them. A death walks the list, then the
 *               pending lock, and marks and wakes as the kernel's handle_futex_death() does.
 *
 * Claims
 *   exclusion   never two owners inside (assert in the section)
 *   told        who finds what a dead owner left half done has AMP_OWNER_DIED (assert)
 *   wake-up     no state in which nothing can move, and a living thread sleeps (an invalid end state):
 *               a lost wake-up is a sleeper with a free lock, for there is no owner who could wake it
 *
 * Variants, which must fail:
 *   -DBROKEN=1  release as the C library's: free the word and forget the waiters, then wake
 *   -DBROKEN=2  release keeps the waiters' bit, but wakes in a step of its own
 *   -DBROKEN=3  the lock is not pending before the word is taken
 *   -DBROKEN=4  who takes the lock after a death is not told
 *   -DBROKEN=5  a release wakes in the same step, but drops the waiters' bit (-DR=2)
 *   -DBROKEN=6  who leaves does not pass the wake-up on (-DLEAVES=1)
 */
#ifndef N
#define N 3
#endif
#ifndef R
#define R 1
#endif
#ifndef K
#define K 1
#endif
#ifndef LEAVES
#define LEAVES 0   /* so many may give up while they wait: a timeout, a signal */
#endif
#ifndef BROKEN
#define BROKEN 0
#endif

byte owner = 0;
bool waiters = 0, died = 0, hint = 0;

bool asleep[N + 1], pending[N + 1], linked[N + 1], gone[N + 1];
byte deaths = 0, victim = 0;
byte inside = 0;      /* who is in the section; nothing that the code has */
bool half = 0;        /* what the lock guards is half changed */

/* The kernel wakes one sleeper, whichever; `woken` says whether there was one. */
inline wake_one(woken) {
    woken = 0;
    if
    :: asleep[1] -> asleep[1] = 0; woken = 1
    :: asleep[2] -> asleep[2] = 0; woken = 1
#if N > 2
    :: asleep[3] -> asleep[3] = 0; woken = 1
#endif
#if N > 3
    :: asleep[4] -> asleep[4] = 0; woken = 1
#endif
    :: else
    fi
}

inline wake_all() {
    asleep[1] = 0; asleep[2] = 0;
#if N > 2
    asleep[3] = 0;
#endif
#if N > 3
    asleep[4] = 0;
#endif
}

/* While one dies, which is one step of the kernel, the others stand still. */
proctype thread(byte me) provided (victim == 0 || victim == _pid) {
    byte round = 0, seen;
    bool seen_waiters, seen_died, keep, mine, told, ok, woken;
    {
        do
        :: round < R ->
            round++;

            /* amp_lock_try_free: only a word of all zeroes */
            told = 0; mine = 0;
#if BROKEN != 3
            pending[me] = 1;
#endif
            atomic {
                if
                :: owner == 0 && !waiters && !died -> owner = me; mine = 1
                :: else
                fi
            }

            /* amp_lock_wait */
            keep = 0;
            do
            :: mine -> break
            :: else ->
                atomic { seen = owner; seen_waiters = waiters; seen_died = died };
                if
                :: seen == 0 ->
                    atomic {
                        if
                        :: owner == 0 && waiters == seen_waiters && died == seen_died ->
                            owner = me; waiters = seen_waiters | keep; died = 0;
                            mine = 1; told = seen_died
                        :: else
                        fi
                    }
                :: else ->
                    hint = 0;
                    /* amp_wait: the flag, if the word is still what was seen */
                    ok = 1;
                    if
                    :: !seen_waiters ->
                        atomic {
                            if
                            :: owner == seen && died == seen_died -> waiters = 1
                            :: else -> ok = 0
                            fi
                        }
                    :: else
                    fi;
                    if
                    :: ok ->
                        atomic { /* FUTEX_WAIT: sleep if the word is what is expected */
                            if
                            :: owner == seen && waiters && died == seen_died -> asleep[me] = 1
                            :: else
                            fi
                        };
                        if
                        :: !asleep[me] -> keep = 1
#if LEAVES
                        :: atomic { !asleep[me] && me <= LEAVES -> ok = 0 }          /* woken, and a signal has come */
                        :: atomic { me <= LEAVES -> asleep[me] = 0; ok = 0 } /* the time is up, or a signal */
#endif
                        fi;
#if LEAVES
                        if
                        :: !ok ->
#if BROKEN != 6
                            /* It may be the one that a release has woken: the wake-up is passed on. */
                            atomic { seen = owner; seen_waiters = waiters };
                            if
                            :: seen_waiters && seen == 0 -> d_step { wake_one(woken) }
                            :: else
                            fi;
#endif
                            pending[me] = 0;
                            goto next
                        :: else
                        fi
#endif
                    :: else
                    fi
                fi
            od;
            atomic { seen = 0; seen_waiters = 0; seen_died = 0; keep = 0; ok = 0; woken = 0 };
            linked[me] = 1;   /* amp_lock_link */
            pending[me] = 0;  /* amp_lock_settled */

            /* The section. */
            d_step {
                assert(inside == 0);
                inside = me;
#if BROKEN == 4
                told = 0;
#endif
                assert(!half || told);
                told = 0;
                half = 1
            };
            d_step { half = 0; inside = 0 };

            /* amp_lock_leave */
            pending[me] = 1;
            linked[me] = 0;
#if BROKEN == 1
            atomic { woken = waiters; owner = 0; waiters = 0 };
            if
            :: woken -> d_step { wake_one(woken) }
            :: else
            fi;
#else
            atomic {
                if
                :: owner == me && !waiters && !died -> owner = 0; mine = 0
                :: else
                fi
            };
            if
            :: mine -> /* amp_lock_wake */
                if
                :: hint ->
                    hint = 0;
                    d_step { owner = 0; waiters = 0; wake_all() }
                :: else ->
#if BROKEN == 2
                    atomic { owner = 0; waiters = 1 };
                    pending[me] = 0; /* and nobody tells the kernel */
                    d_step { wake_one(woken) };
#elif BROKEN == 5
                    d_step { owner = 0; waiters = 0; wake_one(woken) };
#else
                    d_step { owner = 0; waiters = 1; wake_one(woken) };
#endif
                    if
                    :: !woken -> hint = 1
                    :: else
                    fi
                fi
            :: else
            fi;
#endif
            pending[me] = 0;
next:       skip;
            atomic { mine = 0; ok = 0; woken = 0; keep = 0; told = 0; seen = 0; seen_waiters = 0; seen_died = 0 }
        :: else -> gone[me] = 1; break
        od
    } unless {
        victim == me && !gone[me] ->
            d_step { /* exit_robust_list(): the list, then the pending lock */
                asleep[me] = 0;
                gone[me] = 1; victim = 0;
                if
                :: inside == me -> inside = 0
                :: else
                fi;
                if
                :: (linked[me] || pending[me]) && owner == me ->
                    owner = 0; died = 1;
                    if
                    :: waiters -> wake_one(woken)
                    :: else
                    fi
                :: pending[me] && owner == 0 -> wake_one(woken) /* it may have been woken for it */
                :: else
                fi;
                linked[me] = 0; pending[me] = 0;
                round = 0; mine = 0; ok = 0; woken = 0; keep = 0; told = 0; seen = 0;
                seen_waiters = 0; seen_died = 0
            }
    }
}

init {
    atomic {
        run thread(1); run thread(2);
#if N > 2
        run thread(3);
#endif
#if N > 3
        run thread(4);
#endif
    };
    /* The threads are alike, so it is enough that the first ones die. */
    do
    :: atomic {
            victim == 0 && deaths < K ->
            deaths++;
            if
            :: !gone[deaths] -> victim = deaths
            :: else
            fi
        }
    :: true -> break
    od
}
