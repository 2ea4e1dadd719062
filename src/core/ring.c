/*
 * ring: queues of messages. See ring.h for the protocol and its argument.
 */
#include "ring.h"

#include "word.h"

#include <stdlib.h>
#include <string.h>

/* What begins a segment. */
struct segment {
    uint32_t g_next; /* run of the next one, 0: none yet. Written by producers before the commit */
    uint32_t g_spare;
    uint64_t g_size; /* bytes in the run */
};

/* What begins a message; its handles and its bytes follow, each padded to 8. */
struct frame {
    uint32_t f_length; /* bytes, or ELSEWHERE */
    uint32_t f_handles;
};

#define ELSEWHERE UINT32_MAX /* the next message begins the next segment */
#define FIRST_OFFSET ((uint32_t) sizeof(struct segment))
#define SEGMENT_PAGES_FIRST 4u
#define SEGMENT_PAGES_MAX 256u
#define STEP_LENGTH (128u << 10) /* of messages from this on, so many bytes ahead are enough */
#define STEP_AHEAD (2u << 20)
#define STEP_BYTES 2 /* that new memory takes in a nanosecond */
#define VAIN_PAUSES 7 /* in a row, from which on a consumer may be waited for at one take in 64 */
#define COPY_MAX 4096u /* a message up to this is copied out, a larger one is read in place */

#define POSITION(page, offset) ((uint64_t) (page) << 32 | (offset))
#define PAGE(position) ((uint32_t) ((position) >> 32))
#define OFFSET(position) ((uint32_t) (position))

static inline uint64_t
padded(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

static inline uint64_t
frame_size(uint64_t length, uint32_t handles)
{
    return sizeof(struct frame) + 8 * (uint64_t) handles + padded(length);
}

static inline struct segment *
segment_at(uint32_t page)
{
    return amp_page_at(page);
}

static inline struct frame *
frame_at(uint64_t position)
{
    return (struct frame *) ((char *) amp_page_at(PAGE(position)) + OFFSET(position));
}

void
amp_ring_init(struct amp_cell *q, uint32_t limit, uint32_t segments)
{
    q->q_limit = limit;
    q->q_segments_max = segments;
    q->q_next_pages = SEGMENT_PAGES_FIRST;
}

/*
 * Producers.
 */

/* Where the consumers are. Their position of a count is written before the commit that makes it
   current, and written over only after the next one: so a count that stands still vouches for it.
   */
static uint64_t
head_position(struct amp_cell *q, uint32_t *taken)
{
    for (;;) {
        /* acquire: pairs with the commit in amp_ring_take() */
        uint32_t word = atomic_load_explicit(&q->q_taken, memory_order_acquire);
        uint64_t head = atomic_load_explicit(&q->q_head[amp_count(word) & 1], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if (amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed)) == amp_count(word)) {
            if (taken)
                *taken = amp_count(word);
            return head;
        }
    }
}

static uint64_t
tail_position(const struct amp_cell *q)
{
    uint32_t published = amp_count(atomic_load_explicit(&q->q_published, memory_order_relaxed));
    /* relaxed: under the producers' lock */
    return atomic_load_explicit(&q->q_tail[published & 1], memory_order_relaxed);
}

static bool
is_in_chain(uint32_t page, void *argument)
{
    struct amp_cell *q = argument;
    if (page == q->q_leases)
        return true;
    uint32_t last = PAGE(tail_position(q));
    for (uint32_t s = last ? q->q_first : 0; s != 0; s = segment_at(s)->g_next) {
        if (s == page)
            return true;
        if (s == last)
            break;
    }
    return false;
}

/* The last producer died inside: what it had written is not in force. */
static void
repair_producers(struct amp_cell *q)
{
    uint32_t last = PAGE(tail_position(q));
    if (last == 0)
        q->q_first = 0;
    else
        segment_at(last)->g_next = 0;
    amp_arena_reclaim(amp_cell_index(q), is_in_chain, q);
    q->q_tail_size = last ? segment_at(last)->g_size : 0;
    q->q_taken_seen = amp_count(atomic_load_explicit(&q->q_taken, memory_order_acquire));
}

static void
enter_producers(struct amp_cell *q)
{
    if (amp_lock_enter(&q->c_lock0) == AMP_OWNER_DIED)
        repair_producers(q);
}

static void
leave_producers(struct amp_cell *q)
{
    amp_lock_leave(&q->c_lock0);
}

static bool
is_pinned(uint32_t page)
{
    uint32_t top = amp_members_top();
    for (uint32_t i = 0; i < top; i++) {
        /* Pairs with amp_ring_take(): the pin is set before the commit that left the segment. */
        if (atomic_load_explicit(&amp_member_at(i)->m_pin, memory_order_acquire) == page)
            return true;
    }
    return false;
}

/* Takes back the segments that consumers have left behind: one with room for `need` bytes is
   returned, the others are freed. 0: none. */
static uint32_t
recycle(struct amp_cell *q, uint64_t need)
{
    uint32_t current = PAGE(head_position(q, NULL));
    uint32_t found = 0;
    while (current != 0 && q->q_first != current) {
        uint32_t page = q->q_first;
        struct segment *segment = segment_at(page);
        if (is_pinned(page))
            break;
        q->q_first = segment->g_next;
        if (found == 0 && segment->g_size >= need)
            found = page;
        else
            amp_arena_free(page);
    }
    return found;
}

/* Segments from the one that consumers read to the one that producers write. */
static uint32_t
segments_in_use(struct amp_cell *q)
{
    uint32_t n = 0;
    uint32_t last = PAGE(tail_position(q));
    uint32_t first = PAGE(head_position(q, NULL));
    if (first == 0)
        first = q->q_first;
    for (uint32_t s = last ? first : 0; s != 0; s = segment_at(s)->g_next) {
        n++;
        if (s == last)
            break;
    }
    return n;
}

/* A segment that is not in the chain, for a message of `size` bytes with its frame. 0, -ENOMEM, or
   -EAGAIN: there may be no more segments. */
static int
new_segment(struct amp_cell *q, uint64_t size, uint32_t *page)
{
    uint64_t need = sizeof(struct segment) + size + sizeof(struct frame);
    *page = recycle(q, need);
    if (*page == 0) {
        if (q->q_segments_max != 0 && segments_in_use(q) >= q->q_segments_max)
            return -EAGAIN;
        uint64_t bytes = (uint64_t) q->q_next_pages * AMP_PAGE;
        if (bytes < need)
            bytes = need;
        int failure = amp_arena_take(bytes, amp_cell_index(q), page);
        if (failure != 0)
            return failure;
        segment_at(*page)->g_size = amp_arena_run_size(*page);
        if (q->q_next_pages < SEGMENT_PAGES_MAX)
            q->q_next_pages *= 2;
    }
    segment_at(*page)->g_next = 0;
    return 0;
}

static bool
has_limit_reached(struct amp_cell *q, uint32_t published)
{
    if (q->q_limit == 0 || amp_count_difference(published, q->q_taken_seen) < q->q_limit)
        return false;
    q->q_taken_seen = amp_count(atomic_load_explicit(&q->q_taken, memory_order_acquire));
    return amp_count_difference(published, q->q_taken_seen) >= q->q_limit;
}

/* One attempt, under the producers' lock: 0, -EAGAIN (full), -EPIPE, -ENOMEM. *where is set, and
   the position behind the message written beside the one in force. */
static int
find_room(struct amp_cell *q, size_t length, const uint64_t *handles, uint32_t n,
          unsigned char **where)
{
    if (atomic_load_explicit(&q->q_closed, memory_order_relaxed))
        return -EPIPE;
    uint32_t published = amp_count(atomic_load_explicit(&q->q_published, memory_order_relaxed));
    if (has_limit_reached(q, published))
        return -EAGAIN;
    uint64_t size = frame_size(length, n);
    uint64_t tail = tail_position(q);
    if (PAGE(tail) == 0 || OFFSET(tail) + size + sizeof(struct frame) > q->q_tail_size) {
        uint32_t page;
        int failure = new_segment(q, size, &page);
        if (failure != 0)
            return failure;
        if (PAGE(tail) == 0) {
            q->q_first = page;
        } else {
            frame_at(tail)->f_length = ELSEWHERE;
            segment_at(PAGE(tail))->g_next = page;
        }
        q->q_tail_size = segment_at(page)->g_size;
        tail = POSITION(page, FIRST_OFFSET);
    }
    amp_handle_sent(q, handles, n);
    struct frame *frame = frame_at(tail);
    frame->f_length = (uint32_t) length;
    frame->f_handles = n;
    if (n > 0)
        memcpy(frame + 1, handles, 8 * (size_t) n);
    *where = (unsigned char *) (frame + 1) + 8 * (size_t) n;
    atomic_store_explicit(&q->q_tail[(published + 1) & 1], tail + size, memory_order_relaxed);
    return 0;
}

/*
 * Sleeping, for either side. `word` is the other side's commit word, `value` what it was when the
 * caller looked and did not find what it wants; `ready` looks again. The caller has the role.
 */
static int
sleep_on(struct amp_cell *q, amp_word *word, uint32_t value, enum amp_ring_closed closed,
         amp_time deadline, struct amp_what *what)
{
    uint32_t asleep = value | AMP_SLEEPER;
    if (value != asleep && !atomic_compare_exchange_strong(word, &value, asleep) && value != asleep)
        return 0;
    /* The flag first, then the look: pairs with amp_ring_close(), which sets and then wakes. */
    if (atomic_load(&q->q_closed) & closed)
        return 0;
    return amp_wait(word, asleep, AMP_SLEEPER, deadline, what);
}

/* Takes the role of a side's sleeper: 0; 1 when it waited a slice in vain, and should look whether
   it needs to sleep at all; or a failure. */
static int
take_role(struct amp_lock *role, amp_time deadline, struct amp_what *what)
{
    amp_time slice = amp_now() + AMP_SLICE;
    what->is_endless = deadline == AMP_FOREVER;
    int result = amp_lock_acquire(role, deadline < slice ? deadline : slice, what);
    if (result == -ETIMEDOUT && slice < deadline)
        return 1;
    return result < 0 ? result : 0;
}

/*
 * A producer of large messages that is far ahead writes each into memory that no cache has yet, and
 * the consumer reads it from where it has left all caches: several times slower for both than to go
 * in step. So it pauses for a consumer that is at work, and for no other: one that took nothing the
 * last time is not waited for until it takes again. It pauses for as long as new memory would cost it, which
 * is a put's time over again where it would get new memory, and several times that where it would not. So one
 * that takes between the puts and never in a pause, as a thread that does both, is waited for ever less often.
 * A queue without limit has no wait.
 */

/* May a consumer that has taken so many be waited for? After the nth pause in a row in which it took nothing, when
   it has taken 2^(n - 1) since. Relaxed, here and where it is written: two producers that mix these up pause
   once more, or less. */
static bool
is_worth_a_pause(const struct amp_cell *q, uint32_t taken)
{
    uint32_t pauses = atomic_load_explicit(&q->q_vain_pauses, memory_order_relaxed);
    uint32_t since = amp_count_difference(
        taken, atomic_load_explicit(&q->q_taken_in_vain, memory_order_relaxed));
    return since >= 1u << (pauses > 0 ? pauses - 1 : 0);
}

static void
note_pause(struct amp_cell *q, uint32_t first)
{
    uint32_t pauses = 0;
    if (amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed)) == first) {
        pauses = atomic_load_explicit(&q->q_vain_pauses, memory_order_relaxed) + 1;
        atomic_store_explicit(&q->q_taken_in_vain, first, memory_order_relaxed);
    }
    atomic_store_explicit(&q->q_vain_pauses, pauses < VAIN_PAUSES ? pauses : VAIN_PAUSES,
                          memory_order_relaxed);
}

static bool
is_far_ahead(const struct amp_cell *q, size_t length, uint32_t first)
{
    if (atomic_load_explicit(&q->q_closed, memory_order_relaxed))
        return false;
    if (length > STEP_AHEAD && /* then a segment that has been read is all that is wanted */
        amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed)) != first)
        return false;
    return amp_ring_size(q) * (uint64_t) length > STEP_AHEAD;
}

/* The longer part of the pause, asleep, with the role. */
static void
rest(struct amp_cell *q, size_t length, uint32_t first, amp_time deadline, struct amp_what *what)
{
    amp_time end = amp_now() + (amp_time) (length / STEP_BYTES);
    if (deadline < end)
        end = deadline;
    if (amp_lock_acquire(&q->c_lock2, end, what) < 0)
        return;
    int result = 0;
    while (result == 0) {
        uint32_t taken = atomic_load_explicit(&q->q_taken, memory_order_acquire);
        if (!is_far_ahead(q, length, first))
            break;
        result = sleep_on(q, &q->q_taken, taken, AMP_RING_NO_PUTS | AMP_RING_NO_GETS, end, what);
    }
    amp_lock_leave(&q->c_lock2);
}

static void
keep_step(struct amp_cell *q, size_t length, amp_time deadline, struct amp_what *what)
{
    if (length < STEP_LENGTH)
        return;
    uint32_t first = amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed));
    if (!is_worth_a_pause(q, first))
        return;
    for (int i = 0; i < AMP_LONG_SPIN; i++) {
        uint32_t taken = atomic_load_explicit(&q->q_taken, memory_order_relaxed);
        if (!is_far_ahead(q, length, first)) {
            if (i > 0)
                note_pause(q, first);
            return;
        }
        amp_spin(&q->q_taken, taken);
    }
    if (deadline != AMP_AT_ONCE)
        rest(q, length, first, deadline, what);
    note_pause(q, first);
}

int
amp_ring_reserve(struct amp_cell *q, size_t length, const uint64_t *handles, uint32_t n,
                 amp_time deadline, struct amp_what *what, unsigned char **where)
{
    if (length > AMP_MESSAGE_MAX ||
        FIRST_OFFSET + frame_size(length, n) + sizeof(struct frame) > UINT32_MAX)
        return -EMSGSIZE; /* an offset has 32 bits */
    keep_step(q, length, deadline, what);
    bool role = false, spun = false;
    int result;
    for (;;) {
        uint32_t taken = atomic_load_explicit(&q->q_taken, memory_order_acquire);
        enter_producers(q);
        result = find_room(q, length, handles, n, where);
        if (result == 0)
            break; /* with the producers' lock: until amp_ring_publish */
        leave_producers(q);
        if (result != -EAGAIN || deadline == AMP_AT_ONCE)
            break;
        if (!role) {
            if (!spun) { /* once: on a busy queue the word changes all the time */
                spun = true;
                if (amp_spin(&q->q_taken, taken))
                    continue;
            }
            result = take_role(&q->c_lock2, deadline, what);
            if (result < 0)
                return result;
            role = result == 0;
            continue;
        }
        result = sleep_on(q, &q->q_taken, taken, AMP_RING_NO_PUTS | AMP_RING_NO_GETS, deadline,
                          what);
        if (result < 0)
            break;
    }
    if (role)
        amp_lock_leave(&q->c_lock2);
    return result;
}

unsigned
amp_ring_add(struct amp_cell *q, const struct amp_small *small, unsigned n)
{
    uint32_t published = amp_count(atomic_load_explicit(&q->q_published, memory_order_relaxed));
    _Atomic uint64_t *written = &q->q_tail[(published + 1) & 1];
    uint64_t tail = atomic_load_explicit(written, memory_order_relaxed), end = tail;
    unsigned added = 0;
    for (unsigned i = 0; i < n && i < AMP_BATCH - 1; i++) {
        uint64_t size = frame_size(small[i].length, 0);
        if (OFFSET(tail) + size + sizeof(struct frame) > q->q_tail_size ||
            has_limit_reached(q, published + 1 + i))
            break;
        struct frame *frame = frame_at(tail);
        *frame = (struct frame) {.f_length = small[i].length};
        memcpy(frame + 1, small[i].bytes, small[i].length);
        tail += size;
        if (i % 2 == 1) {
            added = i + 1;
            end = tail;
        }
    }
    atomic_store_explicit(written, end, memory_order_relaxed);
    return added;
}

/* What q_watched says while a consumer is awake for the message after so many. */
static inline uint32_t
watch_of(uint32_t count)
{
    return count << 1 | 1;
}

/* Changes a word that somebody sleeps on, and wakes them. Under the lock of the side that commits
   it. */
static void
rouse(amp_word *word)
{
    if (atomic_load(word) & AMP_SLEEPER)
        amp_futex.clear_flag_and_wake(word, AMP_WAKE_ALL);
}

/* Publishes one message past those who sleep, when another is awake for it: false when none is. */
static bool
publish_to_watcher(struct amp_cell *q)
{
    uint32_t word = atomic_load_explicit(&q->q_published, memory_order_relaxed);
    if (!(word & AMP_SLEEPER) || atomic_load_explicit(&q->q_watched, memory_order_relaxed) !=
                                     watch_of(amp_count(word)))
        return false;
    amp_commit_quietly(&q->q_published);
    atomic_thread_fence(memory_order_seq_cst); /* pairs with watch() */
    /* Not "is it 0": another may have said an old count over the withdrawal. */
    if (atomic_load_explicit(&q->q_watched, memory_order_relaxed) != watch_of(amp_count(word)))
        rouse(&q->q_published);
    return true;
}

void
amp_ring_publish_many(struct amp_cell *q, unsigned n)
{
    if (n > 1 || !publish_to_watcher(q))
        amp_commit(&q->q_published, n, AMP_WAKE_ALL); /* the sleeper, and who waits for several */
    amp_handle_sent_done();
    leave_producers(q);
}

void
amp_ring_publish(struct amp_cell *q)
{
    amp_ring_publish_many(q, 1);
}

/*
 * Consumers.
 */

static inline struct amp_lease *
leases_of(const struct amp_cell *q)
{
    return amp_page_at(q->q_leases);
}

/* The last consumer died inside. A lease that it wrote for a message that is still here is void;
   those of the living are of messages before. */
static void
repair_consumers(struct amp_cell *q)
{
    uint32_t taken = amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed));
    q->q_published_seen = taken;
    for (uint32_t i = 0; i < q->q_leases_n; i++) {
        struct amp_lease *lease = &leases_of(q)[i];
        if (lease->l_count == taken)
            atomic_store_explicit(&lease->l_task, 0, memory_order_relaxed);
    }
}

static void
enter_consumers(struct amp_cell *q)
{
    if (amp_lock_enter(&q->c_lock1) == AMP_OWNER_DIED)
        repair_consumers(q);
}

static void
leave_consumers(struct amp_cell *q)
{
    amp_lock_leave(&q->c_lock1);
}

/* The position of the next message, of which there is one. */
static uint64_t
next_message(struct amp_cell *q, uint64_t head)
{
    if (PAGE(head) == 0)
        head = POSITION(q->q_first, FIRST_OFFSET); /* the first one ever: q_first waits for us */
    if (frame_at(head)->f_length == ELSEWHERE)
        head = POSITION(segment_at(PAGE(head))->g_next, FIRST_OFFSET);
    return head;
}

/* Private memory of a thread, for a message that is copied out; and whether one is being read
   there. */
static __thread unsigned char *copies;
static __thread bool copies_in_use;

/* Makes the message readable when the lock is free again, and its objects ours. 0 or -ENOMEM. */
static int
secure(uint64_t position, const struct frame *frame, struct amp_message *message)
{
    size_t size = 8 * (size_t) frame->f_handles + frame->f_length;
    const unsigned char *body = (const unsigned char *) (frame + 1);
    _Atomic uint32_t *pin = &amp_member_at(amp_self.member)->m_pin;
    message->heap = NULL;
    message->pinned = message->copied = false;
    if (size > COPY_MAX && atomic_load_explicit(pin, memory_order_relaxed) == 0) {
        atomic_store_explicit(pin, PAGE(position), memory_order_release);
        message->pinned = true;
    } else {
        unsigned char *copy;
        if (copies == NULL)
            copies = malloc(COPY_MAX);
        if (size > COPY_MAX || copies_in_use) /* another one is being read */
            copy = message->heap = malloc(size);
        else
            copy = copies;
        if (copy == NULL)
            return -ENOMEM;
        message->copied = copy == copies;
        copies_in_use = copies_in_use || message->copied;
        memcpy(copy, body, size);
        body = copy;
    }
    message->ncells = frame->f_handles;
    message->cells = (const uint64_t *) (const void *) body;
    message->bytes = body + 8 * (size_t) frame->f_handles;
    message->length = frame->f_length;
    if (message->ncells > 0) {
        for (uint32_t i = 0; i < message->ncells; i++)
            amp_hold(message->cells[i]);
        amp_hold_transferred();
    }
    return 0;
}

/* How many messages there are: all, or as many as were seen when there were none the last time.
   The caller has the consumers' lock. */
static uint32_t
count_ready(struct amp_cell *q, uint32_t taken)
{
    if (q->q_published_seen == taken) {
        /* acquire: pairs with the commit in amp_ring_publish_many() */
        q->q_published_seen =
            amp_count(atomic_load_explicit(&q->q_published, memory_order_acquire));
    }
    return amp_count_difference(q->q_published_seen, taken);
}

/* One attempt, under the consumers' lock: 0, -EAGAIN (empty), -ENOMEM. */
static int
take_message(struct amp_cell *q, struct amp_lease *lease, struct amp_message *message)
{
    uint32_t taken = amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed));
    if (count_ready(q, taken) == 0)
        return -EAGAIN;
    uint64_t head = atomic_load_explicit(&q->q_head[taken & 1], memory_order_relaxed);
    head = next_message(q, head);
    const struct frame *frame = frame_at(head);
    int failure = secure(head, frame, message);
    if (failure != 0)
        return failure;
    uint64_t next = head + frame_size(frame->f_length, frame->f_handles);
    if (lease) {
        uint64_t task = 0;
        memcpy(&task, message->bytes, message->length < 8 ? message->length : 8);
        lease->l_count = taken;
        atomic_store_explicit(&lease->l_deadline, 0, memory_order_relaxed);
        AMP_COMPILER_BARRIER();
        atomic_store_explicit(&lease->l_task, task, memory_order_release);
    }
    /* release: who reads this position reads the count that it replaces, or a later one; pairs with
       head_position() */
    atomic_store_explicit(&q->q_head[(taken + 1) & 1], next, memory_order_release);
    if (message->ncells > 0)
        amp_handling(true);
    amp_commit(&q->q_taken, 1, AMP_WAKE_ALL);
    if (message->ncells > 0)
        amp_handles_taken(q, message->cells, message->ncells);
    return 0;
}

/* A consumer leaves without a message that may have been left to it. */
static void
hand_on(struct amp_cell *q)
{
    enter_producers(q);
    rouse(&q->q_published);
    leave_producers(q);
}

/* Spins for the message after those that `published` counts, which were taken: true when there may be
   one now. Others that fall asleep on the word meanwhile do not end it. */
static bool
watch(struct amp_cell *q, uint32_t published)
{
    if (amp_spins <= 0)
        return false;
    uint32_t mine = watch_of(amp_count(published));
    atomic_store_explicit(&q->q_watched, mine, memory_order_relaxed);
    for (uint32_t seen = published; amp_spin(&q->q_published, seen);) {
        seen = atomic_load_explicit(&q->q_published, memory_order_relaxed);
        if (amp_count(seen) != amp_count(published))
            return true;
    }
    /* Pairs with publish_to_watcher(): it sees this, or the caller's next look its message. */
    atomic_compare_exchange_strong(&q->q_watched, &mine, 0);
    atomic_thread_fence(memory_order_seq_cst);
    return amp_count(atomic_load_explicit(&q->q_published, memory_order_relaxed)) !=
           amp_count(published);
}

static int
take(struct amp_cell *q, struct amp_lease *lease, amp_time deadline, struct amp_what *what,
     struct amp_message *message)
{
    bool role = false, spun = false;
    int result;
    for (;;) {
        /* In this order: nothing is put once it is closed. */
        bool closed = atomic_load_explicit(&q->q_closed, memory_order_acquire);
        uint32_t published = atomic_load_explicit(&q->q_published, memory_order_acquire);
        enter_consumers(q);
        result = take_message(q, lease, message);
        leave_consumers(q);
        if (result == -ENOMEM && spun)
            hand_on(q);
        if (result != -EAGAIN)
            break;
        if (closed) {
            result = -EPIPE;
            break;
        }
        if (deadline == AMP_AT_ONCE)
            break;
        if (!role) {
            if (!spun) {
                spun = true;
                if (watch(q, published))
                    continue;
            }
            result = take_role(&q->c_lock3, deadline, what);
            if (result < 0)
                return result;
            role = result == 0;
            continue;
        }
        result = sleep_on(q, &q->q_published, published, AMP_RING_NO_PUTS | AMP_RING_NO_GETS,
                          deadline, what);
        if (result < 0)
            break;
    }
    if (role)
        amp_lock_leave(&q->c_lock3);
    return result;
}

int
amp_ring_take(struct amp_cell *q, amp_time deadline, struct amp_what *what,
              struct amp_message *message)
{
    return take(q, NULL, deadline, what, message);
}

int
amp_ring_take_lease(struct amp_cell *q, uint32_t lease, amp_time deadline, struct amp_what *what,
                    struct amp_message *message)
{
    return take(q, &leases_of(q)[lease], deadline, what, message);
}

unsigned
amp_ring_take_small(struct amp_cell *q, struct amp_small *small, unsigned max,
                    bool (*wanted)(const void *bytes, size_t length))
{
    enter_consumers(q);
    uint32_t taken = amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed));
    uint64_t head = atomic_load_explicit(&q->q_head[taken & 1], memory_order_relaxed), next = head;
    uint32_t ready = count_ready(q, taken);
    if (max > AMP_BATCH)
        max = AMP_BATCH;
    if (max > ready)
        max = ready;
    unsigned n = 0;
    for (unsigned i = 0; i < max; i++) {
        head = next_message(q, head);
        const struct frame *frame = frame_at(head);
        if (frame->f_handles > 0 || frame->f_length > AMP_SMALL_LENGTH ||
            !wanted(frame + 1, frame->f_length))
            break;
        small[i].length = (uint8_t) frame->f_length;
        memcpy(small[i].bytes, frame + 1, frame->f_length);
        head += frame_size(frame->f_length, 0);
        if (i % 2 == 0) {
            n = i + 1;
            next = head;
        }
    }
    if (n > 0) {
        atomic_store_explicit(&q->q_head[(taken + 1) & 1], next, memory_order_release);
        amp_commit(&q->q_taken, n, AMP_WAKE_ALL);
    }
    leave_consumers(q);
    return n;
}

int
amp_ring_init_leases(struct amp_cell *q, uint32_t n)
{
    uint32_t run;
    int failure = amp_arena_take(n * sizeof(struct amp_lease), amp_cell_index(q), &run);
    if (failure != 0)
        return failure;
    memset(amp_page_at(run), 0, n * sizeof(struct amp_lease));
    for (uint32_t i = 0; i < n; i++)
        ((struct amp_lease *) amp_page_at(run))[i].l_count = UINT32_MAX;
    q->q_leases = run;
    q->q_leases_n = n;
    return 0;
}

void
amp_lease_done(struct amp_cell *q, uint32_t lease)
{
    atomic_store_explicit(&leases_of(q)[lease].l_task, 0, memory_order_release);
}

uint64_t
amp_lease_task(struct amp_cell *q, uint32_t lease, amp_time *deadline)
{
    enter_consumers(q); /* erases what was not taken */
    uint64_t task = atomic_load_explicit(&leases_of(q)[lease].l_task, memory_order_relaxed);
    *deadline = atomic_load_explicit(&leases_of(q)[lease].l_deadline, memory_order_relaxed);
    leave_consumers(q);
    return task;
}

void
amp_lease_set_deadline(struct amp_cell *q, uint32_t lease, amp_time deadline)
{
    atomic_store_explicit(&leases_of(q)[lease].l_deadline, deadline, memory_order_relaxed);
}

void
amp_message_done(struct amp_message *message)
{
    if (message->pinned)
        atomic_store_explicit(&amp_member_at(amp_self.member)->m_pin, 0, memory_order_release);
    if (message->copied)
        copies_in_use = false;
    free(message->heap);
    message->pinned = message->copied = false;
    message->heap = NULL;
}

void
amp_ring_thread_leave(void)
{
    free(copies);
    copies = NULL;
    copies_in_use = false;
}

uint32_t
amp_ring_size(const struct amp_cell *q)
{
    /* Of one moment: what was taken did not change while what was published was read. */
    for (;;) {
        uint32_t taken = amp_count(atomic_load_explicit(&q->q_taken, memory_order_acquire));
        uint32_t published = amp_count(atomic_load_explicit(&q->q_published, memory_order_acquire));
        if (amp_count(atomic_load_explicit(&q->q_taken, memory_order_acquire)) == taken)
            return amp_count_difference(published, taken);
    }
}

bool
amp_ring_is_full(const struct amp_cell *q)
{
    return q->q_limit != 0 && amp_ring_size(q) >= q->q_limit;
}

bool
amp_ring_is_ready(const struct amp_cell *q)
{
    return atomic_load_explicit(&q->q_closed, memory_order_acquire) || amp_ring_size(q) > 0;
}

bool
amp_ring_prepare_wait(struct amp_cell *q, uint32_t *value)
{
    uint32_t word = atomic_load(&q->q_published);
    if (amp_ring_is_ready(q))
        return false;
    uint32_t asleep = word | AMP_SLEEPER;
    if (word != asleep && !atomic_compare_exchange_strong(&q->q_published, &word, asleep) &&
        word != asleep)
        return false;
    if (amp_ring_is_ready(q))
        return false;
    *value = asleep;
    return true;
}

void
amp_ring_close(struct amp_cell *q, enum amp_ring_closed how)
{
    enter_producers(q); /* no put is under way: what is put from now on sees it */
    atomic_fetch_or(&q->q_closed, (uint32_t) how);
    rouse(&q->q_published);
    leave_producers(q);
    enter_consumers(q);
    rouse(&q->q_taken);
    leave_consumers(q);
}

/*
 * Tasks. How many are unfinished is a difference of two words, so no death can make it wrong. A
 * joiner is woken by the task that makes them equal, and looks again.
 */

int
amp_ring_task_done(struct amp_cell *q)
{
    uint32_t word = atomic_load_explicit(&q->q_done, memory_order_relaxed);
    for (;;) {
        uint32_t published = amp_count(atomic_load(&q->q_published));
        if (amp_count(word) == published)
            return -ERANGE;
        bool last = ((amp_count(word) + 1) & 0x7fffffffu) == published;
        if (!last || !(word & AMP_SLEEPER)) {
            /* Not the last: the sleeper may go on sleeping, and its flag stays. */
            if (atomic_compare_exchange_weak(&q->q_done, &word, word + 2))
                return 0;
            continue;
        }
        enter_consumers(q); /* only one may add to a word with the flag */
        word = atomic_load_explicit(&q->q_done, memory_order_relaxed);
        published = amp_count(atomic_load(&q->q_published));
        if ((word & AMP_SLEEPER) && ((amp_count(word) + 1) & 0x7fffffffu) == published) {
            amp_futex.add_and_wake(&q->q_done, 1, AMP_WAKE_ALL);
            leave_consumers(q);
            return 0;
        }
        leave_consumers(q);
    }
}

uint32_t
amp_ring_unfinished(struct amp_cell *q)
{
    uint32_t done = amp_count(atomic_load(&q->q_done)); /* first: it is never ahead */
    return (amp_count(atomic_load(&q->q_published)) - done) & 0x7fffffffu;
}

int
amp_ring_join(struct amp_cell *q, amp_time deadline, struct amp_what *what)
{
    for (;;) {
        uint32_t word = atomic_load(&q->q_done);
        if (amp_count(word) == amp_count(atomic_load(&q->q_published)))
            return 0;
        int result = amp_wait(&q->q_done, word, AMP_SLEEPER, deadline, what);
        if (result < 0)
            return result;
    }
}

/*
 * What is in a queue, and its end.
 */

/* Calls visit() for each message, with both locks held. */
static bool
each_message(struct amp_cell *q, bool (*visit)(const uint64_t *handles, uint32_t n, void *argument),
             void *argument)
{
    bool found = false;
    enter_producers(q);
    enter_consumers(q);
    uint32_t taken = amp_count(atomic_load_explicit(&q->q_taken, memory_order_relaxed));
    uint32_t n = amp_ring_size(q);
    uint64_t position = atomic_load_explicit(&q->q_head[taken & 1], memory_order_relaxed);
    for (uint32_t i = 0; i < n && !found; i++) {
        position = next_message(q, position);
        const struct frame *frame = frame_at(position);
        found = frame->f_handles > 0 &&
                visit((const uint64_t *) (const void *) (frame + 1), frame->f_handles, argument);
        position += frame_size(frame->f_length, frame->f_handles);
    }
    leave_consumers(q);
    leave_producers(q);
    return found;
}

static bool
is_among(const uint64_t *handles, uint32_t n, void *argument)
{
    amp_handle wanted = *(amp_handle *) argument;
    for (uint32_t i = 0; i < n; i++) {
        if (handles[i] == wanted)
            return true;
    }
    return false;
}

static bool
doubt_all(const uint64_t *handles, uint32_t n, void *argument)
{
    for (uint32_t i = 0; i < n; i++)
        amp_handle_doubt(argument, handles[i]);
    return false;
}

static bool
ring_carries(struct amp_cell *q, amp_handle handle)
{
    return each_message(q, is_among, &handle);
}

static bool
keep_none(uint32_t page, void *argument)
{
    (void) page, (void) argument;
    return false;
}

static void
ring_end(struct amp_cell *q)
{
    /* Begun by somebody who died in the middle, or never finished: the chain does not tell all. */
    bool begun = q->c_ending || !amp_cell_is_live(q);
    if (!begun && atomic_load_explicit(&q->c_carries, memory_order_relaxed))
        each_message(q, doubt_all, q);
    enter_producers(q);
    q->c_ending = 1;
    AMP_COMPILER_BARRIER();
    if (begun) {
        amp_arena_reclaim(amp_cell_index(q), keep_none, NULL);
    } else {
        uint32_t last = PAGE(tail_position(q));
        for (uint32_t s = last ? q->q_first : 0, next; s != 0; s = next) {
            next = s == last ? 0 : segment_at(s)->g_next;
            amp_arena_free(s);
        }
        if (q->q_leases != 0)
            amp_arena_free(q->q_leases);
    }
    atomic_store_explicit(&q->q_tail[0], 0, memory_order_relaxed);
    atomic_store_explicit(&q->q_tail[1], 0, memory_order_relaxed);
    leave_producers(q);
}

const struct amp_kind_operations amp_ring_operations = {
    .end = ring_end,
    .carries = ring_carries,
};

/*
 * Ends of pipes. An end carries its queues, as a message carries an object: they end with the last
 * of the two.
 */

void
amp_pipe_end_init(struct amp_cell *end, amp_handle in, amp_handle out)
{
    const uint64_t queues[2] = {in, out};
    end->p_in = in;
    end->p_out = out;
    if (in)
        amp_handle_sent(end, &queues[0], 1);
    amp_handle_sent_done();
    if (out)
        amp_handle_sent(end, &queues[1], 1);
    amp_handle_sent_done();
}

static bool
pipe_end_carries(struct amp_cell *end, amp_handle handle)
{
    return end->p_in == handle || end->p_out == handle;
}

static void
pipe_end_end(struct amp_cell *end)
{
    struct amp_cell *in = end->p_in ? amp_cell_of(end->p_in) : NULL;
    struct amp_cell *out = end->p_out ? amp_cell_of(end->p_out) : NULL;
    if (in) {
        amp_ring_close(in, AMP_RING_NO_GETS);
        amp_handle_doubt(end, end->p_in);
    }
    if (out) {
        amp_ring_close(out, AMP_RING_NO_PUTS);
        amp_handle_doubt(end, end->p_out);
    }
}

const struct amp_kind_operations amp_pipe_end_operations = {
    .end = pipe_end_end,
    .carries = pipe_end_carries,
};
