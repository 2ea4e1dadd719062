/*
 * streams: the standard descriptors at the two ends of the program's life.
 */
#ifndef LUAMP_HOST_STREAMS_H
#define LUAMP_HOST_STREAMS_H

/* To be called before anything is opened. Returns 0, or -1 with errno set. */
int streams_open(void);

#endif
