/*
 * queue.pml: the queue of src/core/ring.[ch], with the commit word of word.h, under deaths.
 *
 * NP producers put PUTS messages each, NC consumers get for ever, at most CAP messages are in the queue;
 * up to K of them are killed, between any two steps. A step is one instruction that others can see,
 * or one system call. The locks of the two sides, and the roles of their sleepers, are locks that a
 * death gives back: lock.pml is about that.
 *
 *   published, taken      the counts of the two commit words; p_sleeper, t_sleeper: their SLEEPER
 *   tail[2], head[2]      positions, indexed by the parity of the side's count
 *   low[], high[]         the memory: a message is written, and read, in two steps
 *   order[]               not in the code: which message each count stands for, written by the commit
 *
 * Claims
 *   whole      what a consumer takes is what was committed at that count, both halves (assert)
 *   once       nothing lost, nothing doubled: counts only grow, by one, each with one message (the same)
 *   head       head_position() gives the position of the count that it names (assert)
 *   wake-up    when nothing can move (no time ever passes here: no slice helps), then no consumer that
 *              lives waits while a message is there, no producer while there is room, and
 *              nobody at all once it is closed (assert in the monitor)
 *   locks      nothing stands still before the lock of a side (an invalid end state)
 *
 * Variants, which must fail:
 *   -DBROKEN=1  a put publishes, and then wakes
 *   -DBROKEN=2  a get takes, and then wakes
 *   -DBROKEN=3  one position, moved on before the commit
 *   -DBROKEN=4  no roles, and a commit wakes one of the sleepers
 *   -DBROKEN=5  a commit to a word with SLEEPER is a compare-and-swap that clears it
 *   -DBROKEN=6  closing does not wake
 *   -DBROKEN=7  who sleeps does not look at `closed` between the flag and the sleep
 */
#ifndef NP
#define NP 2
#endif
#ifndef NC
#define NC 2
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef CAP
#define CAP 1
#endif
#ifndef K
#define K 1
#endif
#ifndef CLOSES
#define CLOSES 0   /* 1: somebody closes it, at any moment */
#endif
#ifndef LOOKS
#define LOOKS 0    /* 1: somebody looks where the consumers are, at any moment */
#endif
#ifndef BROKEN
#define BROKEN 0
#endif

#define ALL (NP + NC)
#define IS_PRODUCER(who) ((who) <= NP)

byte published = 0, taken = 0;
bool p_sleeper = 0, t_sleeper = 0;
byte tail[2], head[2];
byte low[CAP], high[CAP];
byte order[NP * PUTS + 1];
bool closed = 0;

byte producers = 0, consumers = 0, p_role = 0, t_role = 0; /* owners; t_role: of who waits for room */
bool asleep_p[5], asleep_t[5], gone[5];
byte deaths = 0, victim = 0;

#if BROKEN == 4
#define WAKE(asleep)                       \
    if                                     \
    :: asleep[1] -> asleep[1] = 0          \
    :: !asleep[1] && asleep[2] -> asleep[2] = 0 \
    :: !asleep[1] && !asleep[2] && asleep[3] -> asleep[3] = 0 \
    :: else -> asleep[ALL] = 0             \
    fi
#else
#define WAKE(asleep) asleep[1] = 0; asleep[2] = 0; asleep[3] = 0; asleep[ALL] = 0
#endif

inline leave_all(me) {
    if
    :: producers == me -> producers = 0
    :: else
    fi;
    if
    :: consumers == me -> consumers = 0
    :: else
    fi;
    if
    :: p_role == me -> p_role = 0
    :: else
    fi;
    if
    :: t_role == me -> t_role = 0
    :: else
    fi
}

proctype producer(byte me) provided (victim == 0 || victim == _pid) {
    byte n = 0, seen, at;
    bool seen_sleeper, role, flag, over;
    {
        do
        :: n == PUTS || over -> gone[me] = 1; break
        :: else ->
            atomic { seen = taken; seen_sleeper = t_sleeper };
            atomic { producers == 0 -> producers = me };    /* enter_producers */
            if
            :: closed -> producers = 0; over = 1
            :: !closed && published - taken < CAP ->        /* find_room */
                at = tail[published & 1];
                low[at % CAP] = me * 8 + n;
                high[at % CAP] = me * 8 + n;
#if BROKEN == 3
                tail[published & 1] = at + 1;
#endif
                tail[(published + 1) & 1] = at + 1;
                do                                          /* amp_commit */
                :: atomic {
                        !p_sleeper ->                       /* compare-and-swap */
                        order[published] = me * 8 + n;
                        published = published + 1
                    };
                    break
                :: p_sleeper ->                             /* FUTEX_WAKE_OP */
#if BROKEN == 1 || BROKEN == 5
                    d_step {
                        order[published] = me * 8 + n;
                        published = published + 1;
                        p_sleeper = 0
                    };
#if BROKEN == 1
                    d_step { WAKE(asleep_p) };
#endif
#else
                    d_step {
                        order[published] = me * 8 + n;
                        published = published + 1;
                        p_sleeper = 0;
                        WAKE(asleep_p)
                    };
#endif
                    break
                od;
                producers = 0;
                if
                :: role -> t_role = 0; role = 0
                :: else
                fi;
                atomic { n = n + 1; at = 0; seen = 0; seen_sleeper = 0; flag = 0 }
            :: else ->
                producers = 0;
#if BROKEN != 4
                if
                :: !role ->
end_role:           atomic { t_role == 0 -> t_role = me; role = 1 } /* take_role, without its slice */
                :: else ->
#endif
                    flag = 1;                               /* sleep_on */
                    if
                    :: !seen_sleeper ->
                        atomic {
                            if
                            :: taken == seen -> t_sleeper = 1
                            :: else -> flag = 0
                            fi
                        }
                    :: else
                    fi;
#if BROKEN != 7
                    if
                    :: closed -> flag = 0
                    :: else
                    fi;
#endif
                    if
                    :: flag ->
                        atomic {                            /* FUTEX_WAIT */
                            if
                            :: taken == seen && t_sleeper -> asleep_t[me] = 1
                            :: else
                            fi
                        };
end_sleep:              !asleep_t[me]
                    :: else
                    fi
#if BROKEN != 4
                fi
#endif
            fi
        od;
        if
        :: role -> t_role = 0
        :: else
        fi
    } unless {
        victim == _pid && !gone[me] ->
            d_step {
                gone[me] = 1; victim = 0;
                asleep_p[me] = 0; asleep_t[me] = 0;
                leave_all(me);
                n = 0; seen = 0; at = 0; seen_sleeper = 0; role = 0; flag = 0; over = 0
            }
    }
}

proctype consumer(byte me) provided (victim == 0 || victim == _pid) {
    byte seen, at, lo, hi;
    bool seen_sleeper, was_closed, role, flag, over;
    {
        do
        :: over -> gone[me] = 1; break
        :: else ->
            was_closed = closed;
            atomic { seen = published; seen_sleeper = p_sleeper };
            atomic { consumers == 0 -> consumers = me };    /* enter_consumers */
            if
            :: published != taken ->                        /* take_message */
                at = head[taken & 1];
                lo = low[at % CAP];
                hi = high[at % CAP];
#if BROKEN == 3
                head[taken & 1] = at + 1;
#endif
                head[(taken + 1) & 1] = at + 1;
                do                                          /* amp_commit */
                :: atomic {
                        !t_sleeper ->
                        assert(lo == hi && lo == order[taken]);
                        taken = taken + 1
                    };
                    break
                :: t_sleeper ->
#if BROKEN == 2
                    d_step {
                        assert(lo == hi && lo == order[taken]);
                        taken = taken + 1;
                        t_sleeper = 0
                    };
                    d_step { WAKE(asleep_t) };
#else
                    d_step {
                        assert(lo == hi && lo == order[taken]);
                        taken = taken + 1;
                        t_sleeper = 0;
                        WAKE(asleep_t)
                    };
#endif
                    break
                od;
                atomic { at = 0; lo = 0; hi = 0; seen = 0; seen_sleeper = 0; was_closed = 0; flag = 0 };
                consumers = 0;
                if
                :: role -> p_role = 0; role = 0
                :: else
                fi
            :: else ->
                consumers = 0;
                if
                :: was_closed -> over = 1
                :: else ->
#if BROKEN != 4
                    if
                    :: !role ->
end_role:               atomic { p_role == 0 -> p_role = me; role = 1 }
                    :: else ->
#endif
                        flag = 1;
                        if
                        :: !seen_sleeper ->
                            atomic {
                                if
                                :: published == seen -> p_sleeper = 1
                                :: else -> flag = 0
                                fi
                            }
                        :: else
                        fi;
#if BROKEN != 7
                        if
                        :: closed -> flag = 0
                        :: else
                        fi;
#endif
                        if
                        :: flag ->
                            atomic {
                                if
                                :: published == seen && p_sleeper -> asleep_p[me] = 1
                                :: else
                                fi
                            };
end_sleep:                  !asleep_p[me]
                        :: else
                        fi
#if BROKEN != 4
                    fi
#endif
                fi
            fi
        od;
        if
        :: role -> p_role = 0
        :: else
        fi
    } unless {
        victim == _pid && !gone[me] ->
            d_step {
                gone[me] = 1; victim = 0;
                asleep_p[me] = 0; asleep_t[me] = 0;
                leave_all(me);
                seen = 0; at = 0; lo = 0; hi = 0; seen_sleeper = 0; was_closed = 0; role = 0;
                flag = 0; over = 0
            }
    }
}

#if CLOSES
/* amp_ring_close. It is not killed: who is, closes nothing, or has not returned. */
proctype closer() provided (victim == 0) {
    atomic { producers == 0 -> producers = ALL + 1 };
    closed = 1;
#if BROKEN != 6
    if
    :: p_sleeper -> d_step { p_sleeper = 0; WAKE(asleep_p) }
    :: else
    fi;
#endif
    producers = 0;
    atomic { consumers == 0 -> consumers = ALL + 1 };
#if BROKEN != 6
    if
    :: t_sleeper -> d_step { t_sleeper = 0; WAKE(asleep_t) }
    :: else
    fi;
#endif
    consumers = 0
}
#endif

/* head_position(), by somebody who looks at any moment. */
proctype onlooker() provided (victim == 0) {
    byte count, position;
    count = taken;
    position = head[count & 1];
    if
    :: taken == count -> assert(position == count)
    :: else
    fi
}

proctype monitor() {
    byte who = 1;
end:
    timeout ->
    d_step {
        do
        :: who > ALL -> break
        :: who <= ALL && gone[who] -> who++
        :: who <= ALL && !gone[who] ->
            assert(!closed);
            if
            :: IS_PRODUCER(who) -> assert(published - taken == CAP)
            :: else -> assert(published == taken)
            fi;
            who++
        od
    }
}

init {
    byte who = 1;
    atomic {
        do
        :: who > ALL -> break
        :: IS_PRODUCER(who) -> run producer(who); who++
        :: who <= ALL && !IS_PRODUCER(who) -> run consumer(who); who++
        od;
#if CLOSES
        run closer();
#endif
#if LOOKS
        run onlooker();
#endif
        run monitor();
        who = 0
    };
    /* Producers are alike, and so are consumers: it is enough that the first of each die. */
    do
    :: atomic {
            victim == 0 && deaths < K ->
            deaths++;
            if
            :: !gone[deaths] && IS_PRODUCER(deaths) -> victim = deaths
            :: deaths <= NC && !gone[NP + deaths] -> victim = NP + deaths
            :: else
            fi
        }
    :: true -> break
    od
}
