/*
 * clock: the monotonic clock and deadlines. See clock.h.
 */
#include "clock.h"

#include <time.h>

amp_time
amp_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (amp_time) now.tv_sec * AMP_SECOND + now.tv_nsec;
}

amp_time
amp_deadline(double seconds)
{
    if (!(seconds > 0))
        return AMP_AT_ONCE;
    amp_time now = amp_now();
    if (seconds >= (double) (AMP_FOREVER - now) / (double) AMP_SECOND)
        return AMP_FOREVER;
    return now + (amp_time) (seconds * (double) AMP_SECOND);
}
