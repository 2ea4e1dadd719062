/*
 * capi: the interface of luamp.h for programs in C. What the files of this folder share.
 *
 * Each file stands on src/core, and on how messages are laid out (bind/codec_format.h and wire.h); there is
 * no Lua in any of them but lua.c, which is the meeting with src/bind.
 *
 *     member.c     results, deadlines, the calling thread as a member
 *     children.c   luamp_fork, and the end of children
 *     objects.c    handles; locks, semaphores, events, values
 *     queue.c      messages in and out of queues
 *     writer.c     values to bytes
 *     reader.c     bytes to values, of which nothing is trusted
 *     descriptor.c what a loop of the program's can poll
 *     lua.c        objects to a Lua state and back
 *
 * Invariants:
 *   - Every function that touches shared memory begins with luampA_enter or luampA_join, after which the
 *     calling thread is a member, and the object lives.
 *   - A result of the core becomes one of luamp.h's in luampA_result, and nowhere else.
 *   - What a handle stands for is held by the thread that made the handle, and counted (amp_keep).
 */
#ifndef LUAMP_CAPI_H
#define LUAMP_CAPI_H

#include "luamp.h"

#include "bind/wire.h"
#include "core/family.h"

struct luampA_watch;

struct luamp_Object {
    amp_handle handle;
    struct amp_cell *cell;
    enum luampO_class_id class;
    struct luampA_watch *watch; /* its descriptor's; NULL: none was asked for */
};

/* A failure of the core's as luamp.h tells it. -EINTR is over by that. */
int luampA_result(int result);

/* The calling thread is a member: LUAMP_OK, or why it cannot be. */
int luampA_join(const char *name);

/* The same, and the object is alive and of one of the classes: bits 1 << id. */
#define LUAMPA_CLASS(id) (1u << (id))
#define LUAMPA_QUEUES \
    (LUAMPA_CLASS(LUAMPO_QUEUE) | LUAMPA_CLASS(LUAMPO_JOINABLE_QUEUE) | \
     LUAMPA_CLASS(LUAMPO_SIMPLE_QUEUE))
#define LUAMPA_EVENTS LUAMPA_CLASS(LUAMPO_EVENT)
#define LUAMPA_ANY UINT32_MAX
int luampA_enter(const luamp_Object *object, unsigned classes);

/* A handle of an object that the calling thread holds, or may hold. LUAMP_OK, LUAMP_WRONG_KIND: of no class
   of luamp.h's; LUAMP_GONE, LUAMP_NO_MEMORY. */
int luampA_handle(amp_handle handle, enum luampO_class_id class, luamp_Object **object);

static inline struct amp_what
luampA_what(const luamp_Object *object)
{
    return (struct amp_what) {
        .kind = amp_cell_kind(object->cell),
        .cell = amp_cell_index(object->cell),
    };
}

/* An array of *room elements of this size, with room for so many at least: it, or a larger one in its place;
   NULL when there is no memory, and then it is as it was. Never empty. */
void *luampA_grow(void *array, size_t *room, size_t need, size_t size);

/*
 * Messages.
 */

/* The whole value that a writer holds; see luamp_writer_bytes. `cells` are the objects in it. */
int luampA_written(luamp_Writer *writer, const void **bytes, size_t *length, const uint64_t **cells,
                   uint32_t *ncells);

/* The reader drops what it has, and has this message, which was taken from a queue, to read: its bytes are
   copied, and its objects are the reader's to let go. */
void luampA_read_message(luamp_Reader *reader, struct amp_message *message);

/*
 * Descriptors.
 */

/* A call that does not wait has found the object not ready: the descriptor is not readable until it is. */
void luampA_watch_again(struct luampA_watch *watch);

/* Ends the watch, and closes its descriptor. */
void luampA_watch_end(struct luampA_watch *watch);

#endif
