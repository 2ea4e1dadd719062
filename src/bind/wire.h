/*
 * wire.h: how luamp's objects are named in messages. No Lua in it.
 */
#ifndef LUAMP_WIRE_H
#define LUAMP_WIRE_H

#include <stdint.h>

enum luampO_class_id { /* as written in messages */
    LUAMPO_LOCK = 1,
    LUAMPO_RLOCK,
    LUAMPO_SEMAPHORE,
    LUAMPO_BOUNDED_SEMAPHORE,
    LUAMPO_EVENT,
    LUAMPO_CONDITION,
    LUAMPO_BARRIER,
    LUAMPO_QUEUE,
    LUAMPO_JOINABLE_QUEUE,
    LUAMPO_SIMPLE_QUEUE,
    LUAMPO_CONNECTION,
    LUAMPO_VALUE,
    LUAMPO_ARRAY,
    LUAMPO_DICT,
    LUAMPO_LIST,
    LUAMPO_SHARED_MEMORY,
    LUAMPO_LOCAL,
    LUAMPO_LISTENER,
    LUAMPO_CLASSES,
};

struct luampO_wire {
    uint32_t kind;    /* enum luampO_class_id, or of a process or a thread */
    uint32_t ncells;  /* handles that the message carries for it, two at most */
    uint64_t cell[2];
    uint64_t extra;   /* of a lock: it is the part of a value or an array that is locked */
};

#endif
