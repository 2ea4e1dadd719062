/*
 * codec_path.h: the path to a value that cannot be sent, `value.a[1]`, for the error.
 *
 * Included by the encoder.
 */
#ifndef LUAMP_CODEC_PATH_H
#define LUAMP_CODEC_PATH_H

#include "codec_scratch.h"

struct path {
    char text[400];                     /* cut where it is longer */
    size_t length;
};

/* Begins the path at the root; number is the value's place among several, or 0. */
void luampC_begin_path (struct path *path, const char *root, int number);

/* Adds the way down through the open tables and functions to the part that is being written. */
void luampC_add_steps (struct path *path, lua_State *L, const struct open *open, size_t depth);

#endif
