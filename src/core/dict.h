/*
 * dict: tables in shared memory, of encoded keys and values; and lists, whose keys are positions.
 *
 * A table is one run of pages, the store: an index of slots, and entries behind each other in the
 * order they were written. An entry is never changed. Everything is done under the table's lock,
 * and committed by one store:
 *
 *    set      the entry is written, then the slot says where (an old entry there becomes garbage)
 *    remove   the slot says REMOVED
 *    append   the entry is written, its slot set, then the length says so
 *    grow     a new store is filled with what lives, then `t_store` says where; the old is freed
 *    pop      from the middle of a list: the slots behind it move down by one, under an intent that
 *             says from where. Offsets of entries all differ, so how far a dead member came shows
 *             in the one offset that stands twice; the next owner of the lock finishes.
 *
 * When the lock's owner died, the next one frees the store that is not in force, counts again, and
 * finishes a pop.
 *
 * Entries have a version, from a counter of the table: amp_dict_set can be made to depend on it,
 * by which an update runs the caller's function without holding anything.
 */
#ifndef AMP_DICT_H
#define AMP_DICT_H

#include "ring.h"

struct amp_bytes {
    const void *bytes;
    size_t length;
};

/* What is stored: the encoded value and the objects in it. */
struct amp_stored {
    struct amp_bytes value;
    const uint64_t *handles;
    uint32_t n;
};

#define AMP_ANY_VERSION UINT64_MAX
#define AMP_NO_ENTRY UINT64_C(0) /* the version of what is not there */

/* Copies the value out: 0, -ENOENT, -ENOMEM. The message is ended by amp_message_done. */
int amp_dict_get(struct amp_cell *dict, struct amp_bytes key, struct amp_message *message,
                 uint64_t *version);

/* 0; -ESTALE when `version` is not AMP_ANY_VERSION and not the entry's; -ENOMEM. A NULL value
   removes. */
int amp_dict_set(struct amp_cell *dict, struct amp_bytes key, const struct amp_stored *value,
                 uint64_t version);

uint32_t amp_dict_count(struct amp_cell *dict);

/* All entries as of one moment, in memory of the caller's, to be freed by amp_snapshot_done. */
struct amp_snapshot {
    void *memory;
    size_t length;
    size_t position;
};
int amp_dict_snapshot(struct amp_cell *dict, struct amp_snapshot *snapshot);
bool amp_snapshot_next(struct amp_snapshot *snapshot, struct amp_bytes *key,
                       struct amp_message *value);
void amp_snapshot_done(struct amp_snapshot *snapshot);

/* Lists; positions begin at 1. -ENOENT where there is none. */
int amp_list_get(struct amp_cell *list, uint64_t position, struct amp_message *message);
/* position = length + 1 appends. 0, -ERANGE, -ENOMEM. */
int amp_list_set(struct amp_cell *list, uint64_t position, const struct amp_stored *value);
int amp_list_append(struct amp_cell *list, const struct amp_stored *value);
/* Position 0 is the last. */
int amp_list_pop(struct amp_cell *list, uint64_t position, struct amp_message *message);

extern const struct amp_kind_operations amp_dict_operations;

#endif
