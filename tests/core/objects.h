/*
 * objects: queues and tables as the tests use them, each operation whole: with text or numbers for
 * messages, and the objects in them held or let go as a binding would.
 */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "tap.h"

static inline struct amp_cell *
queue_make(uint32_t limit, uint32_t segments)
{
    struct amp_cell *queue;
    tap_need(amp_cell_make(AMP_QUEUE, "queue", &queue) == 0);
    amp_ring_init(queue, limit, segments);
    amp_cell_ready(queue);
    return queue;
}

/* What message number n of a length looks like: the number, and bytes that follow from it. */
static inline void
pattern_fill(unsigned char *bytes, size_t length, uint64_t number)
{
    uint64_t word = number;
    for (size_t i = 0; i < length; i++) {
        if (i % 8 == 0 && i > 0)
            word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (unsigned char) (word >> 8 * (i % 8));
    }
}

static inline bool
pattern_holds(const unsigned char *bytes, size_t length, uint64_t number)
{
    uint64_t word = number;
    for (size_t i = 0; i < length; i++) {
        if (i % 8 == 0 && i > 0)
            word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        if (bytes[i] != (unsigned char) (word >> 8 * (i % 8)))
            return false;
    }
    return true;
}

/* Puts message `number` with these objects: 0 or a failure. */
static inline int
queue_put_objects(struct amp_cell *queue, uint64_t number, size_t length, const uint64_t *handles,
                  uint32_t n, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    unsigned char *where;
    int result = amp_ring_reserve(queue, length, handles, n, deadline, &what, &where);
    if (result != 0)
        return result;
    pattern_fill(where, length, number);
    amp_ring_publish(queue);
    return 0;
}

static inline int
queue_put(struct amp_cell *queue, uint64_t number, size_t length, amp_time deadline)
{
    return queue_put_objects(queue, number, length, NULL, 0, deadline);
}

#define MESSAGE_IS_TORN (-2000)

/* Takes a message, which must be whole: 0 and its number (of a message of 8 bytes or more) and its
   objects, or a failure. */
static inline int
queue_get_objects(struct amp_cell *queue, uint64_t *number, size_t *length, uint64_t *handles,
                  uint32_t *n, amp_time deadline)
{
    struct amp_what what = {.kind = AMP_QUEUE, .cell = amp_cell_index(queue)};
    struct amp_message message;
    int result = amp_ring_take(queue, deadline, &what, &message);
    if (result != 0)
        return result;
    *number = 0;
    memcpy(number, message.bytes, message.length < 8 ? message.length : 8);
    *length = message.length;
    if (!pattern_holds(message.bytes, message.length, *number))
        result = MESSAGE_IS_TORN;
    if (handles)
        memcpy(handles, message.cells, 8 * (size_t) message.ncells);
    if (n)
        *n = message.ncells;
    amp_message_done(&message);
    return result;
}

static inline int
queue_get(struct amp_cell *queue, uint64_t *number, amp_time deadline)
{
    size_t length;
    return queue_get_objects(queue, number, &length, NULL, NULL, deadline);
}

/* Tables, of texts. */

static inline struct amp_cell *
table_make(enum amp_kind kind)
{
    return tap_object(kind, kind == AMP_DICT ? "dict" : "list");
}

static inline struct amp_bytes
text(const char *text)
{
    return (struct amp_bytes) {text, strlen(text)};
}

static inline int
dict_set(struct amp_cell *dict, const char *key, const char *value)
{
    struct amp_stored stored = {.value = text(value ? value : "")};
    return amp_dict_set(dict, text(key), value ? &stored : NULL, AMP_ANY_VERSION);
}

/* True when the key has this value; NULL: when it is not there. */
static inline bool
dict_has(struct amp_cell *dict, const char *key, const char *value)
{
    struct amp_message message;
    uint64_t version;
    int result = amp_dict_get(dict, text(key), &message, &version);
    if (result != 0)
        return value == NULL && result == -ENOENT && version == AMP_NO_ENTRY;
    bool has = value != NULL && message.length == strlen(value) &&
               memcmp(message.bytes, value, message.length) == 0;
    amp_message_done(&message);
    return has;
}

static inline int
list_append(struct amp_cell *list, const char *value)
{
    struct amp_stored stored = {.value = text(value)};
    return amp_list_append(list, &stored);
}

/* The message's text is this one; ends it. */
static inline bool
message_says(struct amp_message *message, const char *value)
{
    bool says = message->length == strlen(value) &&
                memcmp(message->bytes, value, message->length) == 0;
    amp_message_done(message);
    return says;
}

static inline bool
list_has(struct amp_cell *list, uint64_t position, const char *value)
{
    struct amp_message message;
    int result = amp_list_get(list, position, &message);
    if (result != 0)
        return value == NULL && result == -ENOENT;
    return message_says(&message, value ? value : "");
}

#endif
