/*
 * clock: one clock for the whole core.
 *
 * Every wait in the core takes an absolute deadline in nanoseconds on CLOCK_MONOTONIC. Seconds
 * become a deadline once, at the boundary to Lua; a wait that is interrupted goes on towards the
 * same deadline.
 */
#ifndef AMP_CLOCK_H
#define AMP_CLOCK_H

#include <stdint.h>

typedef int64_t amp_time; /* nanoseconds on CLOCK_MONOTONIC */

#define AMP_AT_ONCE ((amp_time) 0)        /* a deadline that has always passed: do not block */
#define AMP_FOREVER ((amp_time) INT64_MAX) /* a deadline that never comes */
#define AMP_SECOND ((amp_time) 1000000000)
#define AMP_MILLISECOND ((amp_time) 1000000)

/* Now, on CLOCK_MONOTONIC. */
amp_time amp_now(void);

/* The deadline `seconds` from now. Zero, less, and NaN are AMP_AT_ONCE; more than some 290 years,
   and infinity, are AMP_FOREVER. */
amp_time amp_deadline(double seconds);

#endif
