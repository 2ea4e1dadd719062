/*
 * The clock: it is the monotonic one, and seconds become a deadline without a surprise.
 */
#include "tap.h"

#include <float.h>
#include <math.h>

static amp_time
monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (amp_time) now.tv_sec * AMP_SECOND + now.tv_nsec;
}

static void
test_now(void)
{
    bool between = true;
    amp_time last = 0;
    for (int i = 0; i < 1000; i++) {
        amp_time before = monotonic(), now = amp_now(), after = monotonic();
        between = between && before <= now && now <= after && last <= now;
        last = now;
    }
    ok(between, "now is on the monotonic clock, and never goes back");
}

static void
test_deadlines(void)
{
    is(amp_deadline(0), AMP_AT_ONCE, "no seconds: do not block");
    is(amp_deadline(-0.0), AMP_AT_ONCE, "minus zero seconds: do not block");
    is(amp_deadline(-1), AMP_AT_ONCE, "less than none: do not block");
    is(amp_deadline(-INFINITY), AMP_AT_ONCE, "infinitely less than none: do not block");
    is(amp_deadline(NAN), AMP_AT_ONCE, "not a number: do not block");
    is(amp_deadline(INFINITY), AMP_FOREVER, "infinity: for ever");
    is(amp_deadline(1e300), AMP_FOREVER, "more than the clock can say: for ever");
    is(amp_deadline((double) INT64_MAX / 1e9), AMP_FOREVER, "the clock's whole range: for ever");

    amp_time before = amp_now();
    amp_time deadline = amp_deadline(0.25);
    amp_time after = amp_now();
    ok(before + AMP_SECOND / 4 <= deadline && deadline <= after + AMP_SECOND / 4,
       "a quarter of a second is one from now");

    before = amp_now();
    deadline = amp_deadline(1e-300);
    ok(before <= deadline && deadline <= amp_now(),
       "a time too short to say is over at once, but is not AMP_AT_ONCE");
}

/* Rounding must not carry a long time over the end of the clock. */
static void
test_longest(void)
{
    bool ahead = true;
    for (int i = 0; i < 2000; i++) {
        double most = (double) (AMP_FOREVER - amp_now()) / (double) AMP_SECOND;
        for (int k = 0; k < i % 4; k++)
            most -= most * DBL_EPSILON / 2; /* the next smaller number, or the one after it */
        ahead = ahead && amp_deadline(most) > amp_now();
    }
    ok(ahead, "the longest times that are not for ever are ahead of now");
}

int
main(void)
{
    test_now();
    test_deadlines();
    test_longest();
    return tap_done();
}
