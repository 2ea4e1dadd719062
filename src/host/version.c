/*
 * version: the version of the library that runs.
 */
#include "luamp.h"

const char *
luamp_version(void)
{
    return LUAMP_VERSION;
}
