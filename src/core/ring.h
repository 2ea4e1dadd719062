/*
 * ring: messages between members. What a queue, and each direction of a pipe, is made of.
 *
 * Producers take turns by one lock, consumers by another; the two sides share nothing but two
 * commit words, `q_published` and `q_taken`, the numbers of messages put and got. A message lies
 * in a segment (a run of pages) and never wraps; segments are a chain from the oldest to the one
 * that is written. Positions are kept twice, indexed by the parity of the side's count: the next
 * one is written beside the one in force, and the commit makes it so.
 *
 *    put: lock producers; write the message behind q_tail[p & 1]; q_tail[(p + 1) & 1] = behind it;
 *         COMMIT q_published to p + 1 (which wakes a sleeping consumer); unlock.
 *    get: lock consumers; copy the message at q_head[c & 1] out; q_head[(c + 1) & 1] = behind it;
 *         COMMIT q_taken to c + 1 (which wakes a sleeping producer); unlock.
 *
 * Death. Before the commit nothing has happened: what was written lies where nobody reads, and
 * the next producer writes over it; a message that was being copied out is still there. After it
 * all has. The segments are the producers' business alone: a new one, or one that consumers have
 * left behind, is linked before the commit; when the producers' lock had a dead owner, the next
 * one frees what belongs to the queue and is not in the chain.
 *
 * Waiting. One sleeper a side, which holds the side's role lock while it sleeps; if it is killed
 * the kernel hands the role on. Others wait for the role, but no longer than a slice, so that one
 * that is stopped by a debugger does not block them.
 *
 * Watching. A consumer spins before it sleeps, and says in `q_watched` on which count. A producer that
 * finds others asleep on that count lets them sleep: it commits without waking, and then looks whether
 * the same count is still watched; if not, it wakes after all. A watcher withdraws what it said before
 * it looks for the last time, so one of the two sees the other. (That the word is not 0 would say
 * nothing: over a withdrawal, a consumer that is slow may say an old count, and then find the queue
 * empty and sleep before the commit.) A watcher that has no memory for the message wakes the others.
 * What it said is void with the next count; so when a watcher is killed or stopped, one message waits
 * until the sleepers look by themselves, a slice at most. The same holds when the producer is killed
 * before its second look. tests/model/watch.pml has all this.
 *
 * Reading in place. A large message is not copied: the reader notes the segment in its member's
 * slot (`m_pin`) before the commit, and producers do not reuse a segment that a living member has
 * pinned.
 */
#ifndef AMP_RING_H
#define AMP_RING_H

#include "handle.h"

#include <stddef.h>

enum amp_ring_closed {
    AMP_RING_OPEN = 0,
    AMP_RING_NO_PUTS = 1, /* closed: what is in it can still be got */
    AMP_RING_NO_GETS = 2, /* nobody will read it any more */
};

#define AMP_MESSAGE_MAX (UINT64_C(0xffffff00)) /* bytes of one message, with its objects' handles */

struct amp_message {
    const unsigned char *bytes;
    size_t length;
    const uint64_t *cells; /* handles of the objects in it: the receiver holds them already */
    uint32_t ncells;
    void *heap;            /* of the message's own, or NULL */
    bool copied;           /* into memory of the thread's */
    bool pinned;
};

/* `limit` messages at most, 0 for any number; `segments` at most, 2 or more, 0 for any number. */
void amp_ring_init(struct amp_cell *queue, uint32_t limit, uint32_t segments);

/* Finds room for a message. 0: the caller writes `length` bytes at *where, calling nothing that can
   fail or wait, and then amp_ring_publish. -EAGAIN (full, and the deadline is AMP_AT_ONCE),
   -ETIMEDOUT, -EINTR, -EPIPE (closed), -ENOMEM, -EMSGSIZE, -EDEADLK: nothing has happened.
   `handles` are the objects that the message carries. */
int amp_ring_reserve(struct amp_cell *queue, size_t length, const uint64_t *handles, uint32_t n,
                     amp_time deadline, struct amp_what *what, unsigned char **where);

void amp_ring_publish(struct amp_cell *queue);

/*
 * Several small messages in one step. Always an odd number: a commit of as many leaves the position
 * in force and writes the one beside it, as a commit of one does.
 */
#define AMP_BATCH 63        /* at most */
#define AMP_SMALL_LENGTH 15 /* bytes of each, and no objects */

struct amp_small {
    uint8_t length;
    unsigned char bytes[AMP_SMALL_LENGTH];
};

/* After amp_ring_reserve, before it is published: writes as many of the `n` small messages as there
   is room for behind the one reserved, and says how many, an even number. The caller publishes one
   more than that with amp_ring_publish_many. */
unsigned amp_ring_add(struct amp_cell *queue, const struct amp_small *small, unsigned n);
void amp_ring_publish_many(struct amp_cell *queue, unsigned n);

/* Takes the oldest messages, up to `max` and AMP_BATCH, as long as they are small and `wanted` says
   so of their bytes, which it must by looking at those alone. 0: there is none. Does not wait. */
unsigned amp_ring_take_small(struct amp_cell *queue, struct amp_small *small, unsigned max,
                             bool (*wanted)(const void *bytes, size_t length));

/*
 * Leases, for the workers of a pool: what a worker took is noted before it is taken, so that when
 * it dies somebody can say what it worked on. The first 8 bytes of each message are its task's
 * number, not 0. A lease that was written for a message that was then not taken is erased by the
 * next consumer.
 */
struct amp_lease {
    _Atomic uint64_t l_task;     /* 0: idle */
    _Atomic int64_t l_deadline;  /* when the worker is to be ended for it; set by it; 0: never */
    uint32_t l_count;            /* of q_taken, before */
};

/* Gives the queue `n` leases: 0 or -ENOMEM. Before amp_cell_ready: what a maker that dies leaves of a
   half-made queue is reclaimed by owner, of a finished one by what its fields name. */
int amp_ring_init_leases(struct amp_cell *queue, uint32_t n);

/* The worker has done its task, and put the result where it belongs. */
void amp_lease_done(struct amp_cell *queue, uint32_t lease);

/* The task that a lease says, 0: none, and its deadline. Exact for a worker that is dead or idle.
   */
uint64_t amp_lease_task(struct amp_cell *queue, uint32_t lease, amp_time *deadline);

void amp_lease_set_deadline(struct amp_cell *queue, uint32_t lease, amp_time deadline);

/* Takes the oldest message. 0: the caller reads it, and then calls amp_message_done. -EAGAIN
   (empty, and the deadline is AMP_AT_ONCE), -ETIMEDOUT, -EINTR, -EPIPE (empty and closed),
   -ENOMEM, -EDEADLK. */
int amp_ring_take(struct amp_cell *queue, amp_time deadline, struct amp_what *what,
                  struct amp_message *message);

/* The same, under a lease. */
int amp_ring_take_lease(struct amp_cell *queue, uint32_t lease, amp_time deadline,
                        struct amp_what *what, struct amp_message *message);

void amp_message_done(struct amp_message *message);

/* The calling thread ends, and reads no message: its memory for copies is freed. */
void amp_ring_thread_leave(void);

/* Messages in it. */
uint32_t amp_ring_size(const struct amp_cell *queue);
bool amp_ring_is_full(const struct amp_cell *queue);

/* True when a take would not wait: a message is there, or it is closed. */
bool amp_ring_is_ready(const struct amp_cell *queue);

/* For a wait on several objects: sets the flag on q_published for the count of now, and stores
   the word's value. False when a take would not wait. */
bool amp_ring_prepare_wait(struct amp_cell *queue, uint32_t *value);

void amp_ring_close(struct amp_cell *queue, enum amp_ring_closed how);

/* One message that was got is done with: 0, or -ERANGE when more would be done than were put. */
int amp_ring_task_done(struct amp_cell *queue);

/* How many that were put are not done. */
uint32_t amp_ring_unfinished(struct amp_cell *queue);

/* Waits until all that were put are done: 0, -ETIMEDOUT, -EINTR, -EDEADLK. */
int amp_ring_join(struct amp_cell *queue, amp_time deadline, struct amp_what *what);

extern const struct amp_kind_operations amp_ring_operations;

/* The two queues of a pipe belong to its ends: `in` and `out` are handles, or 0. */
void amp_pipe_end_init(struct amp_cell *end, amp_handle in, amp_handle out);
extern const struct amp_kind_operations amp_pipe_end_operations;

#endif
