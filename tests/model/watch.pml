/*
 * watch.pml: the watching of src/core/ring.[ch], with the commit word of word.h, under deaths.
 *
 * NP producers put PUTS messages each. NW consumers watch before they sleep, NS do not; each gets one
 * message after the other, or no more after any of them. NM more wait for several objects, as after
 * amp_ring_prepare_wait: without the role. K of all these are killed, or fewer, between any two steps. A
 * step is one instruction that others can see, or one system call. The producers' lock and the role are
 * locks that a death gives back, and a get is one step: lock.pml and queue.pml are about those.
 *
 *   published, taken   the counts of the two commit words; sleeper: SLEEPER of q_published
 *   watched            q_watched: a count and one, or 0
 *   late[]             what a thread has stored there, and others do not see yet: the store is relaxed
 *   role               owner of c_lock3
 *   asleep             bits of those in FUTEX_WAIT on q_published
 *   quiet[], left[]    not in the code: the message after so many was put past those who sleep; and
 *                      who was to see to it that somebody gets it has died
 *
 * Claims
 *   wake-up   when nothing can move (no time has passed), no consumer that lives waits while a message is
 *             there; but for one message, which was put quietly and left to a watcher that was killed, or
 *             by a producer that was killed between the commit and the end of its second look
 *   slice     and when one slice has passed then, none at all (both asserted in the monitor)
 *   locks     nothing stands still before the producers' lock (an invalid end state)
 *
 * Variants, which must fail:
 *   -DBROKEN=1  a watcher gives up without a last look
 *   -DBROKEN=2  a producer does not look a second time
 *   -DBROKEN=3  a watch is not void with the next count
 *   -DBROKEN=4  a watcher looks for the last time, and then withdraws
 *   -DBROKEN=5  the second look wakes only when the watch was withdrawn, not when that of another count
 *               has taken its place
 *   -DBROKEN=6  a quiet commit clears SLEEPER
 *   -DBROKEN=7  a watcher that cannot get its message for lack of memory wakes nobody (-DFAILS=1)
 *   -DBROKEN=8  no death excuses a message that waits: it shows that there are such
 */
#ifndef NP
#define NP 1
#endif
#ifndef NW
#define NW 2
#endif
#ifndef NS
#define NS 1
#endif
#ifndef NM
#define NM 0
#endif
#ifndef PUTS
#define PUTS 2
#endif
#ifndef K
#define K 1
#endif
#ifndef FAILS
#define FAILS 0    /* so many gets may fail for lack of memory */
#endif
#ifndef LATE
#define LATE 1     /* 0: others see at once what a watcher has stored */
#endif
#ifndef BROKEN
#define BROKEN 0
#endif

#define ALL (NP + NW + NS + NM)
#define NONE 255
#define BIT(who) (1 << (who))

byte published = 0, taken = 0;
bool sleeper = 0;
byte watched = 0, late[ALL + 1];
byte producers = 0, role = 0;
byte asleep = 0;
bool quiet[NP * PUTS + 1], left[NP * PUTS + 1];
bool gone[ALL + 1];
byte doomed = 0;              /* bits of those that will be killed, before or after any of their steps */
byte deaths = 0, failures = 0;

#define DIES :: atomic { doomed & BIT(me) -> goto dead }
#define ROUSE                                  \
    if                                         \
    :: sleeper -> sleeper = 0; asleep = 0      \
    :: else                                    \
    fi
#define LEAVE producers = 0; at = NONE; n = n + 1; goto again
#define DOZE                                   \
    if                                         \
    :: published == seen && sleeper ->         \
        asleep = asleep | BIT(me);             \
        goto end_sleep                         \
    :: else -> goto again                      \
    fi
#if LATE
#define STORE(value) late[me] = value
#else
#define STORE(value) watched = value
#endif

proctype producer(byte me) {
    byte n = 0;
    byte at = NONE; /* of a quiet commit, until the second look is over */

again:
    if
    :: atomic { n == PUTS -> goto over }
    :: atomic { n < PUTS && producers == 0 -> producers = me }
    DIES
    fi;

    if                                                  /* publish_to_watcher, the first look */
#if BROKEN == 3
    :: atomic { sleeper && watched != 0 -> goto quietly }
    :: !sleeper || watched == 0
#else
    :: atomic { sleeper && watched == published + 1 -> goto quietly }
    :: !sleeper || watched != published + 1
#endif
    DIES
    fi;
    if                                                  /* amp_commit */
    :: atomic { true -> published = published + 1; ROUSE; LEAVE }
    DIES
    fi;

quietly:
    if                                                  /* amp_commit_quietly */
    :: atomic {
            at = published;
            quiet[at] = 1;
#if BROKEN == 6
            sleeper = 0;
#endif
            published = published + 1
        }
    DIES
    fi;
    if                                                  /* the second look */
#if BROKEN == 2
    :: atomic { true -> LEAVE }
#elif BROKEN == 3 || BROKEN == 5
    :: watched == 0
    :: atomic { watched != 0 -> LEAVE }
#else
    :: watched != at + 1
    :: atomic { watched == at + 1 -> LEAVE }
#endif
    DIES
    fi;
    if
    :: atomic { true -> ROUSE; LEAVE }
    DIES
    fi;

dead:
    atomic {
        if
        :: at != NONE -> left[at] = 1
        :: else
        fi;
        if
        :: producers == me -> producers = 0
        :: else
        fi;
        deaths = deaths + 1;
over:   gone[me] = 1; doomed = doomed & ~BIT(me); n = 0; at = NONE
    }
}

proctype consumer(byte me; bool watches; bool several) {
    byte seen;
    byte said = NONE; /* the count for which it may be relied on, until it has looked again */
    bool seen_sleeper, spun, has_role;

again:
    if
    :: atomic { true -> seen = published; seen_sleeper = sleeper }
    DIES
    fi;
    if                                                  /* take_message, and the role is given back */
    :: atomic {
            published != taken ->
            taken = taken + 1;
            said = NONE; spun = 0; seen = 0; seen_sleeper = 0;
            if
            :: has_role -> role = 0; has_role = 0
            :: else
            fi;
            if
            :: goto again
            :: goto over                                /* it works, and comes back no more */
            fi
        }
#if FAILS
    :: atomic { published != taken && failures < FAILS -> failures = failures + 1; goto fail }
#endif
    :: atomic { published == taken && (!watches || spun || has_role) -> said = NONE; goto sleep }
    :: atomic { published == taken && watches && !spun && !has_role -> said = NONE }
    DIES
    fi;
    if                                                  /* watch */
    :: atomic { LATE == 0 || late[me] == 0 -> STORE(seen + 1); said = seen; spun = 1 }
    DIES
    fi;
    if
    :: atomic { published != seen -> goto again }
#if BROKEN == 4
    :: atomic { published == seen -> said = NONE }
    DIES
    fi;
    if
#endif
    :: atomic {                                         /* compare-and-swap, behind the own store */
            true ->                                     /* it has spun for long enough */
            if
            :: late[me] != 0 || watched == seen + 1 -> late[me] = 0; watched = 0
            :: else
            fi
        }
    DIES
    fi;
    if                                                  /* the last look */
#if BROKEN == 1 || BROKEN == 4
    :: atomic { true -> said = NONE }
#else
    :: atomic { published != seen -> goto again }
    :: atomic { published == seen -> said = NONE }
#endif
    DIES
    fi;

sleep:
end_role:
    if
    :: atomic {                                         /* take_role, without its slice */
            !several && !has_role && role == 0 ->
            role = me; has_role = 1;
            goto again
        }
    :: atomic {                                         /* sleep_on */
            (several || has_role) && !seen_sleeper ->
            if
            :: published == seen -> sleeper = 1
            :: else -> goto again
            fi
        }
    :: atomic { (several || has_role) && seen_sleeper -> DOZE }
    DIES
    fi;
    if                                                  /* FUTEX_WAIT */
    :: atomic { true -> DOZE }
    DIES
    fi;
end_sleep:
    if
    :: atomic { !(asleep & BIT(me)) -> goto again }
    DIES
    fi;

#if FAILS
fail:
    if                                                  /* hand_on */
#if BROKEN == 7
    :: true
#else
    :: !spun
    :: atomic { spun && producers == 0 -> ROUSE }
#endif
    DIES
    fi;
    if
    :: atomic {
            true ->
            if
            :: has_role -> role = 0
            :: else
            fi;
            goto over
        }
    DIES
    fi;
#endif

dead:
    atomic {
        if
        :: said != NONE -> left[said] = 1
        :: else
        fi;
        if
        :: role == me -> role = 0
        :: else
        fi;
        asleep = asleep & ~BIT(me);
        deaths = deaths + 1;
over:   gone[me] = 1; doomed = doomed & ~BIT(me);
        seen = 0; said = NONE; seen_sleeper = 0; spun = 0; has_role = 0
    }
}

/* Others come to see what was stored. */
proctype memory() {
end:
    do
    :: atomic { late[NP + 1] != 0 -> watched = late[NP + 1]; late[NP + 1] = 0 }
#if NW > 1
    :: atomic { late[NP + 2] != 0 -> watched = late[NP + 2]; late[NP + 2] = 0 }
#endif
    od
}

inline look(excuse) {
    who = NP + 1;
    do
    :: who > ALL -> break
    :: who <= ALL && gone[who] -> who++
    :: who <= ALL && !gone[who] ->
        assert(published == taken ||
               (excuse && published - taken == 1 && quiet[taken] && left[taken]));
        who++
    od;
    who = 0
}

proctype monitor() {
    byte who;
end:
    timeout -> d_step { look(BROKEN != 8) };
    if
    :: deaths > 0 ->
        asleep = 0;                                     /* a slice is over */
end_slice:
        timeout -> d_step { look(0) }
    :: else
    fi
}

/* Of those who are alike it is enough that the first one dies. */
init {
    byte who = 1;
    atomic {
        do
        :: who <= K ->
            if
            :: doomed = doomed | BIT(1)
            :: doomed = doomed | BIT(NP + 1)
#if NW > 1 && K > 1
            :: doomed = doomed | BIT(NP + 2)
#endif
#if NS + NM > 0
            :: doomed = doomed | BIT(NP + NW + 1)
#endif
            :: true
            fi;
            who++
        :: else -> break
        od;
        who = 1;
        do
        :: who > ALL -> break
        :: who <= NP -> run producer(who); who++
        :: who > NP && who <= ALL -> run consumer(who, who <= NP + NW, who > NP + NW + NS); who++
        od;
        run memory();
        run monitor();
        who = 0
    }
}
