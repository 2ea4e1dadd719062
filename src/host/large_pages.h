/*
 * large_pages: a large heap lies in large pages; see large_pages.c.
 */
#ifndef LUAMP_HOST_LARGE_PAGES_H
#define LUAMP_HOST_LARGE_PAGES_H

#include "bind/heap.h"

/* To be called once, before the state is made and before there are threads. Does nothing where the system has no
   large pages. */
void large_pages_for(struct luampB_heap *heap);

#endif
