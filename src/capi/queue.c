/*
 * queue: messages of programs in C.
 *
 * The order is that of all that send: first the bytes are there, then room is found, which may wait; then
 * they are copied and published, which can do neither.
 */
#include "capi.h"

#include "bind/codec_format.h"

#include <string.h>

int
luamp_put_bytes(luamp_Object *queue, const void *bytes, size_t length, luamp_Time deadline)
{
    int result = luampA_enter(queue, LUAMPA_QUEUES);
    if (result != LUAMP_OK)
        return result;
    if (bytes == NULL && length > 0)
        return LUAMP_MISUSE;
    if (length > AMP_MESSAGE_MAX)
        return LUAMP_TOO_LONG;
    struct amp_what what = luampA_what(queue);
    unsigned char *where;
    result = amp_ring_reserve(queue->cell, string_head_size(length) + length, NULL, 0, deadline, &what,
                              &where);
    if (result != 0)
        return luampA_result(result);
    write_string(where, length > 0 ? bytes : "", length);
    amp_ring_publish(queue->cell);
    return LUAMP_OK;
}

int
luamp_put(luamp_Object *queue, luamp_Writer *writer, luamp_Time deadline)
{
    const void *bytes;
    const uint64_t *cells;
    size_t length;
    uint32_t ncells;
    int result = luampA_enter(queue, LUAMPA_QUEUES);
    if (result == LUAMP_OK)
        result = luampA_written(writer, &bytes, &length, &cells, &ncells);
    if (result != LUAMP_OK)
        return result;
    if (*(const unsigned char *) bytes == TAG_NIL)
        return LUAMP_MISUSE; /* to a script, what a get gives that gets nothing */
    struct amp_what what = luampA_what(queue);
    unsigned char *where;
    result = amp_ring_reserve(queue->cell, length, cells, ncells, deadline, &what, &where);
    if (result != 0)
        return luampA_result(result);
    memcpy(where, bytes, length);
    amp_ring_publish(queue->cell);
    luamp_writer_clear(writer);
    return LUAMP_OK;
}

int
luamp_get(luamp_Object *queue, luamp_Reader *reader, luamp_Time deadline)
{
    int result = luampA_enter(queue, LUAMPA_QUEUES);
    if (result != LUAMP_OK)
        return result;
    if (reader == NULL)
        return LUAMP_MISUSE;
    struct amp_what what = luampA_what(queue);
    struct amp_message message;
    result = luampA_result(amp_ring_take(queue->cell, deadline, &what, &message));
    if (result == LUAMP_OK)
        luampA_read_message(reader, &message);
    else if (result == LUAMP_TIMEOUT && queue->watch && deadline == LUAMP_NOW)
        luampA_watch_again(queue->watch);
    return result;
}

int
luamp_queue_close(luamp_Object *queue)
{
    int result = luampA_enter(queue, LUAMPA_QUEUES);
    if (result == LUAMP_OK)
        amp_ring_close(queue->cell, AMP_RING_NO_PUTS);
    return result;
}

int64_t
luamp_queue_size(luamp_Object *queue)
{
    int result = luampA_enter(queue, LUAMPA_QUEUES);
    return result == LUAMP_OK ? (int64_t) amp_ring_size(queue->cell) : result;
}
