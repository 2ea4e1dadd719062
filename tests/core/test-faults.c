/*
 * Faults of the system: whatever the core asks of it may be refused.
 *
 * Every call of the core's that asks for memory, a mapping, a descriptor, a process, a thread or a
 * sleep goes through a function of this file (the linker's --wrap), which can refuse it. Each operation runs
 * with its first such call failing, then with its second, and so on until it makes fewer calls than
 * that; once as a passing fault, and once as one that lasts until the operation is over. Each time:
 *
 *  - The operation ends with an errno that says which limit it met, or does without what it was
 *    refused.
 *  - It leaves nothing behind: no page, cell or slot of the arena, no block of memory, no mapping, no
 *    descriptor, no path.
 *  - The same operation succeeds afterwards.
 *
 * And an arena that is full is an error at the call.
 */
#include "objects.h"

#include "core/watch.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/*
 * The system.
 */

static struct {
    bool is_on;
    bool lasts;       /* all calls of the function fail from that one on */
    long at, n;       /* the call that fails, of how many so far */
    const char *hit;  /* the function that failed */
} fault;

static struct {
    long blocks, mappings;
} owned;

static bool
refuse(const char *function, int error)
{
    if (!fault.is_on)
        return false;
    bool is_hit = ++fault.n == fault.at;
    if (is_hit)
        fault.hit = function;
    else if (!fault.lasts || fault.hit == NULL || strcmp(fault.hit, function) != 0)
        return false;
    errno = error;
    return true;
}

/* A function that gives a descriptor, or something else that is negative when it fails. */
#define WRAP(type, name, error, parameters, arguments) \
    type __real_##name parameters;                     \
    type __wrap_##name parameters;                     \
    type __wrap_##name parameters                      \
    {                                                  \
        return refuse(#name, error) ? -1 : __real_##name arguments; \
    }

WRAP(int, memfd_create, EMFILE, (const char *name, unsigned flags), (name, flags))
WRAP(int, ftruncate, EFBIG, (int fd, off_t length), (fd, length))
WRAP(int, fallocate, ENOSPC, (int fd, int mode, off_t from, off_t length), (fd, mode, from, length))
WRAP(pid_t, fork, EAGAIN, (void), ())
WRAP(int, clone, EAGAIN, (int (*f)(void *), void *stack, int flags, void *argument),
     (f, stack, flags, argument))
WRAP(int, socket, EMFILE, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, accept4, EMFILE, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
WRAP(int, listen, ENOBUFS, (int fd, int backlog), (fd, backlog))
WRAP(int, epoll_create1, EMFILE, (int flags), (flags))
WRAP(int, epoll_ctl, ENOSPC, (int poll, int operation, int fd, struct epoll_event *event),
     (poll, operation, fd, event))
WRAP(int, eventfd, EMFILE, (unsigned count, int flags), (count, flags))

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*f)(void *),
                      void *argument)
{
    return refuse("pthread_create", EAGAIN) ? EAGAIN
                                            : __real_pthread_create(thread, attributes, f, argument);
}

int __real_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));
int __wrap_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));
int
__wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return refuse("pthread_atfork", ENOMEM) ? ENOMEM : __real_pthread_atfork(prepare, parent, child);
}

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *
__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (refuse("mmap", ENOMEM))
        return MAP_FAILED;
    void *result = __real_mmap(address, size, protection, flags, fd, offset);
    owned.mappings += result != MAP_FAILED;
    return result;
}

int __real_munmap(void *, size_t);
int __wrap_munmap(void *, size_t);
int
__wrap_munmap(void *address, size_t size)
{
    owned.mappings--;
    return __real_munmap(address, size);
}

void *__real_malloc(size_t);
void *__wrap_malloc(size_t);
void *
__wrap_malloc(size_t size)
{
    void *block = refuse("malloc", ENOMEM) ? NULL : __real_malloc(size);
    owned.blocks += block != NULL;
    return block;
}

void *__real_calloc(size_t, size_t);
void *__wrap_calloc(size_t, size_t);
void *
__wrap_calloc(size_t n, size_t size)
{
    void *block = refuse("calloc", ENOMEM) ? NULL : __real_calloc(n, size);
    owned.blocks += block != NULL;
    return block;
}

void *__real_realloc(void *, size_t);
void *__wrap_realloc(void *, size_t);
void *
__wrap_realloc(void *old, size_t size)
{
    void *block = refuse("realloc", ENOMEM) ? NULL : __real_realloc(old, size);
    owned.blocks += block != NULL && old == NULL;
    return block;
}

void __real_free(void *);
void __wrap_free(void *);
void
__wrap_free(void *block)
{
    owned.blocks -= block != NULL;
    __real_free(block);
}

/* Those that have no function of the C library, and the sleeps. A wake-up cannot be refused. Like the C
   library's own it takes six arguments, however many the call has. */
long __real_syscall(long, ...);
long __wrap_syscall(long, long, long, long, long, long, long);
long
__wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    bool sleeps = number == SYS_futex && b == FUTEX_WAIT;
    if ((number == SYS_pidfd_open && refuse("pidfd_open", EMFILE)) ||
        (number == SYS_ppoll && refuse("ppoll", ENOMEM)) || (sleeps && refuse("futex", ENOMEM)))
        return -1;
    return __real_syscall(number, a, b, c, d, e, f);
}

/*
 * What an operation may leave behind.
 */

struct footing {
    struct tap_account arena;
    long blocks, mappings;
    int descriptors;
    bool has_path;
};

static char folder[] = "/tmp/luamp-faults-XXXXXX";
static struct amp_address address;

static struct footing
footing(void)
{
    amp_ring_thread_leave();
    amp_roster_thread_leave();
    struct footing now = {.descriptors = tap_descriptors(), .has_path = access(address.path.sun_path, F_OK) == 0};
    if (amp_arena.base != NULL) {
        amp_endpoints();
        amp_roster_sweep();
        now.arena = tap_account();
    }
    now.blocks = owned.blocks;
    now.mappings = owned.mappings;
    return now;
}

static const char *
left_behind(struct footing before)
{
    struct footing now = footing();
    return now.arena.bytes != before.arena.bytes        ? "pages"
           : now.arena.cells != before.arena.cells      ? "objects"
           : now.arena.made != before.arena.made        ? "half-made objects"
           : now.arena.members != before.arena.members  ? "slots"
           : now.blocks != before.blocks                ? "memory"
           : now.mappings != before.mappings            ? "mappings"
           : now.descriptors != before.descriptors      ? "descriptors"
           : now.has_path != before.has_path            ? "a path"
                                                        : NULL;
}

/*
 * The operations: each makes what it needs, uses it and gives it back, also when a part of it fails.
 */

static int
with_cell(enum amp_kind kind, int (*fill)(struct amp_cell *), int (*use)(struct amp_cell *))
{
    struct amp_cell *cell;
    int result = amp_cell_make(kind, "object", &cell);
    if (result != 0)
        return result;
    if (fill && (result = fill(cell)) != 0) {
        amp_cell_abandon(cell);
        return result;
    }
    amp_cell_ready(cell);
    result = use(cell);
    tap_unhold(cell);
    return result;
}

static int
use_lock(struct amp_cell *cell)
{
    struct amp_what what = {.kind = AMP_LOCK};
    int result = amp_lock_acquire(&cell->c_lock0, AMP_FOREVER, &what);
    amp_lock_leave(&cell->c_lock0);
    return result;
}

static int
lock(void)
{
    return with_cell(AMP_LOCK, NULL, use_lock);
}

static int
use_semaphore(struct amp_cell *cell)
{
    struct amp_semaphore s = amp_semaphore_of(cell);
    struct amp_what what = {.kind = AMP_SEMAPHORE};
    if (!s.held)
        amp_semaphore_release(&s);
    int result = amp_semaphore_acquire(&s, AMP_FOREVER, &what);
    if (s.held)
        amp_semaphore_release(&s);
    return result;
}

static int
semaphore(void)
{
    return with_cell(AMP_SEMAPHORE, NULL, use_semaphore);
}

static int
fill_bounded(struct amp_cell *cell)
{
    atomic_store(&cell->s_permits, 1 << 1);
    return amp_semaphore_bind(cell, 1);
}

static int
bounded_semaphore(void)
{
    return with_cell(AMP_BOUNDED_SEMAPHORE, fill_bounded, use_semaphore);
}

static int
use_event(struct amp_cell *cell)
{
    struct amp_event e = amp_event_of(cell);
    struct amp_what what = {.kind = AMP_EVENT};
    amp_event_set(&e);
    return amp_event_wait(&e, AMP_FOREVER, &what);
}

static int
event(void)
{
    return with_cell(AMP_EVENT, NULL, use_event);
}

static int
use_condition(struct amp_cell *cell)
{
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_CONDITION};
    int result = amp_condition_enlist(cell, &ticket);
    if (result != 0)
        return result;
    amp_condition_notify(cell, 1);
    result = amp_condition_sleep(ticket, AMP_FOREVER, &what);
    amp_condition_delist(cell, ticket);
    return result;
}

static int
condition(void)
{
    return with_cell(AMP_CONDITION, NULL, use_condition);
}

static int
fill_barrier(struct amp_cell *cell)
{
    amp_barrier_init(cell, 1);
    return 0;
}

static int
use_barrier(struct amp_cell *cell)
{
    struct amp_ticket *ticket;
    struct amp_what what = {.kind = AMP_BARRIER};
    int result = amp_barrier_arrive(cell, AMP_FOREVER, &what, &ticket);
    return result == AMP_BARRIER_LAST ? amp_barrier_open(cell, ticket) : result;
}

static int
barrier(void)
{
    return with_cell(AMP_BARRIER, fill_barrier, use_barrier);
}

static int
fill_queue(struct amp_cell *cell)
{
    amp_ring_init(cell, 0, 0);
    return 0;
}

static int
use_queue(struct amp_cell *cell)
{
    uint64_t number;
    int result = 0;
    for (uint64_t i = 0; i < 300 && result == 0; i++)
        result = queue_put(cell, i, 40, AMP_AT_ONCE);
    for (uint64_t i = 0; i < 300 && result == 0; i++) {
        result = queue_get(cell, &number, AMP_AT_ONCE);
        if (result == 0 && number != i)
            return MESSAGE_IS_TORN;
    }
    return result;
}

static int
queue(void)
{
    return with_cell(AMP_QUEUE, fill_queue, use_queue);
}

/* The second is read while the first is, so it is copied out. What could not be got comes again. */
static int
use_large_queue(struct amp_cell *cell)
{
    struct amp_what what = {.kind = AMP_QUEUE};
    struct amp_message first, second;
    int result = 0;
    for (uint64_t i = 0; i < 2 && result == 0; i++)
        result = queue_put(cell, i, 50000, AMP_AT_ONCE);
    if (result == 0)
        result = amp_ring_take(cell, AMP_AT_ONCE, &what, &first);
    if (result != 0)
        return result;
    result = amp_ring_take(cell, AMP_AT_ONCE, &what, &second);
    amp_message_done(&first);
    if (result == -ENOMEM && amp_ring_size(cell) != 1)
        return MESSAGE_IS_TORN;
    if (result == 0) {
        if (!pattern_holds(second.bytes, second.length, 1))
            result = MESSAGE_IS_TORN;
        amp_message_done(&second);
    }
    return result;
}

static int
large_messages(void)
{
    return with_cell(AMP_QUEUE, fill_queue, use_large_queue);
}

static int
fill_leases(struct amp_cell *cell)
{
    amp_ring_init(cell, 0, 0);
    return amp_ring_init_leases(cell, 100);
}

static int
task_queue(void)
{
    return with_cell(AMP_QUEUE, fill_leases, use_queue);
}

/* The queue ends with objects in it, which then end too. */
static int
use_carrier(struct amp_cell *cell)
{
    for (uint64_t i = 0; i < 40; i++) {
        struct amp_cell *cargo;
        int result = amp_cell_make(AMP_EVENT, "cargo", &cargo);
        if (result != 0)
            return result;
        uint64_t handle = amp_cell_ready(cargo);
        result = queue_put_objects(cell, i, 40, &handle, 1, AMP_AT_ONCE);
        amp_unhold(handle);
        if (result != 0)
            return result;
    }
    return 0;
}

static int
objects_in_messages(void)
{
    return with_cell(AMP_QUEUE, fill_queue, use_carrier);
}

static int
use_dict(struct amp_cell *cell)
{
    char key[16];
    struct amp_message message;
    struct amp_snapshot snapshot;
    struct amp_bytes at;
    uint64_t version;
    int n = 0, result = 0;
    for (int i = 0; i < 100 && result == 0; i++) {
        snprintf(key, sizeof key, "key %d", i);
        result = dict_set(cell, key, key);
    }
    if (result == 0)
        result = amp_dict_get(cell, text("key 7"), &message, &version);
    if (result != 0)
        return result;
    if (!message_says(&message, "key 7"))
        return MESSAGE_IS_TORN;
    result = amp_dict_snapshot(cell, &snapshot);
    if (result != 0)
        return result;
    while (amp_snapshot_next(&snapshot, &at, &message))
        n++;
    amp_snapshot_done(&snapshot);
    return n == 100 ? 0 : MESSAGE_IS_TORN;
}

static int
dict(void)
{
    return with_cell(AMP_DICT, NULL, use_dict);
}

/* An entry with an object is replaced. */
static int
use_dict_of_objects(struct amp_cell *cell)
{
    struct amp_cell *cargo;
    int result = amp_cell_make(AMP_EVENT, "cargo", &cargo);
    if (result != 0)
        return result;
    uint64_t handle = amp_cell_ready(cargo);
    struct amp_stored stored = {.value = text("with an event"), .handles = &handle, .n = 1};
    result = amp_dict_set(cell, text("a"), &stored, AMP_ANY_VERSION);
    amp_unhold(handle);
    if (result == 0)
        result = dict_set(cell, "a", "without");
    if (result == 0 && amp_cell_of(handle) != NULL)
        return MESSAGE_IS_TORN;
    return result;
}

static int
objects_in_entries(void)
{
    return with_cell(AMP_DICT, NULL, use_dict_of_objects);
}

static int
use_list(struct amp_cell *cell)
{
    struct amp_message message;
    int result = 0;
    for (int i = 0; i < 100 && result == 0; i++)
        result = list_append(cell, "a value");
    if (result == 0)
        result = amp_list_pop(cell, 50, &message);
    if (result != 0)
        return result;
    return message_says(&message, "a value") ? 0 : MESSAGE_IS_TORN;
}

static int
list(void)
{
    return with_cell(AMP_LIST, NULL, use_list);
}

static int
fill_array(struct amp_cell *cell)
{
    return amp_array_init(cell, amp_type_find('d'), 10000);
}

static int
use_array(struct amp_cell *cell)
{
    memset(amp_array_data(cell), 1, 80000);
    return 0;
}

static int
array(void)
{
    return with_cell(AMP_ARRAY, fill_array, use_array);
}

static int
use_value(struct amp_cell *cell)
{
    atomic_store(&cell->v_bits, 1);
    return 0;
}

static int
value(void)
{
    return with_cell(AMP_VALUE, NULL, use_value);
}

/* A child that runs the function, waited for: also when a first wait fails. */
static int
with_child(struct amp_cell *cell, void (*child_does)(struct amp_cell *),
           int (*parent_does)(struct amp_cell *))
{
    struct amp_child child;
    int result = amp_spawn("child", AMP_DIES_WITH_PARENT, NULL, NULL, &child);
    if (result == AMP_IN_CHILD) {
        fault.is_on = false;
        if (child_does)
            child_does(cell);
        amp_member_leave(0);
        _exit(0);
    }
    if (result != 0)
        return result;
    if (parent_does)
        result = parent_does(cell);
    int waited = amp_child_wait(&child, amp_now() + TAP_PATIENCE);
    if (waited != 0) {
        fault.is_on = false;
        tap_need(amp_child_wait(&child, amp_now() + TAP_PATIENCE) == 0);
    }
    return result != 0 ? result : waited;
}

static int
spawn(void)
{
    return with_child(NULL, NULL, NULL);
}

static void
give_permit(struct amp_cell *cell)
{
    struct amp_semaphore s = amp_semaphore_of(cell);
    amp_semaphore_release(&s);
}

static int
take_permit(struct amp_cell *cell)
{
    struct amp_semaphore s = amp_semaphore_of(cell);
    struct amp_what what = {.kind = AMP_SEMAPHORE};
    return amp_semaphore_acquire(&s, amp_now() + TAP_PATIENCE, &what);
}

static int
hand_over(struct amp_cell *cell)
{
    return with_child(cell, give_permit, take_permit);
}

static int
permit_of_a_child(void)
{
    return with_cell(AMP_SEMAPHORE, NULL, hand_over);
}

static int
watch(void)
{
    static amp_word word;
    amp_word *words[] = {&word};
    uint32_t expected = 0;
    struct amp_watch watch;
    int result = amp_watch_begin(&watch, words, &expected, 1);
    if (result == 0)
        amp_watch_end(&watch);
    return result;
}

/* Sockets. */

static const struct amp_terms of_listener = {.max_message = 1 << 20, .is_listener = true};
static const struct amp_terms of_client = {.max_message = 1 << 20};

struct end {
    struct amp_cell *cell;
    struct amp_endpoint *endpoint;
};

/* As a binding: the endpoint becomes an object, or is no more. */
static int
open_end(struct end *end, enum amp_kind kind, struct amp_endpoint *endpoint)
{
    int result = amp_cell_make(kind, "end", &end->cell);
    if (result != 0) {
        amp_endpoint_discard(endpoint);
        return result;
    }
    end->endpoint = endpoint;
    amp_endpoint_bind(endpoint, amp_cell_handle(end->cell));
    amp_cell_ready(end->cell);
    return 0;
}

static int
open_listener(struct end *listener, const struct amp_terms *terms)
{
    struct amp_endpoint *endpoint;
    int result = amp_listen(&address, terms, &endpoint);
    return result != 0 ? result : open_end(listener, AMP_LISTENER, endpoint);
}

static int
listener(void)
{
    struct end listener;
    int result = open_listener(&listener, &of_listener);
    if (result == 0)
        tap_unhold(listener.cell);
    return result;
}

static int
listener_with_key(void)
{
    struct end listener;
    struct amp_terms terms = of_listener;
    terms.key = (const unsigned char *) "secret";
    terms.key_length = 6;
    int result = open_listener(&listener, &terms);
    if (result == 0)
        tap_unhold(listener.cell);
    return result == -ENOSYS ? 0 : result; /* without nettle there are no keys */
}

/* Both ends of a connection. Where the listener's side lost it, that says why. */
static int
connect_at(struct end *listener, struct end *near, struct end *far)
{
    struct amp_what what = {.kind = AMP_SOCKET};
    struct amp_connecting c = {.address = address, .terms = of_client};
    struct amp_endpoint *made = NULL;
    int connected = -ETIMEDOUT, taken = -EAGAIN;
    amp_time end = amp_now() + TAP_PATIENCE;
    while ((connected == -ETIMEDOUT || taken == -EAGAIN) && amp_now() < end) {
        if (connected == -ETIMEDOUT)
            connected = amp_connect(&c, AMP_AT_ONCE, &what);
        if (taken == -EAGAIN)
            taken = amp_listener_take(listener->endpoint, &made);
        if ((connected != 0 && connected != -ETIMEDOUT) || (taken != 0 && taken != -EAGAIN))
            break;
    }
    int result = taken != 0 && taken != -EAGAIN && taken != -EPIPE ? taken : connected;
    if (connected != 0)
        amp_connect_end(&c);
    if (result != 0) {
        if (connected == 0)
            amp_endpoint_discard(c.endpoint);
        if (taken == 0)
            amp_endpoint_discard(made);
        return result;
    }
    result = open_end(near, AMP_SOCKET, c.endpoint);
    if (result != 0) {
        amp_endpoint_discard(made);
        return result;
    }
    result = open_end(far, AMP_SOCKET, made);
    if (result != 0)
        tap_unhold(near->cell);
    return result;
}

#define LARGE 400000 /* more than a socket's buffers take */

/* A signal cuts it in two, and the rest is sent while the other side reads. */
static int
exchange(struct end *near, struct end *far)
{
    static unsigned char bytes[LARGE];
    struct amp_what what = {.kind = AMP_SOCKET};
    unsigned char *got = NULL;
    size_t length = 0;
    bool begun = false;
    amp_signal_arrived();
    int sent = amp_endpoint_send(near->endpoint, near->cell, bytes, LARGE, &begun, AMP_FOREVER,
                                 &what);
    amp_self.signalled = 0;
    if (sent != -EINTR)
        return sent;
    int received = -ETIMEDOUT;
    while (received == -ETIMEDOUT) {
        received = amp_endpoint_receive(far->endpoint, far->cell, 1 << 20, &got, &length,
                                        AMP_AT_ONCE, &what);
        if (sent != 0)
            sent = amp_endpoint_send(near->endpoint, near->cell, NULL, 0, &begun, AMP_AT_ONCE, &what);
        if (sent != 0 && sent != -ETIMEDOUT)
            break;
    }
    if (received == 0)
        free(got);
    return received != 0 ? received : length == LARGE ? sent : MESSAGE_IS_TORN;
}

static int
connection(void)
{
    struct end listener, near, far;
    int result = open_listener(&listener, &of_listener);
    if (result != 0)
        return result;
    result = connect_at(&listener, &near, &far);
    if (result == 0) {
        result = exchange(&near, &far);
        tap_unhold(near.cell);
        tap_unhold(far.cell);
    }
    tap_unhold(listener.cell);
    return result;
}

/* The family itself. */

static int
family(void)
{
    int result = amp_family_join("test");
    if (result == 0)
        tap_family_end();
    return result;
}

static const struct operation {
    const char *name;
    int (*run)(void);
    bool without_family;
} operations[] = {
    {"a family made", family, true},
    {"a lock", lock, false},
    {"a semaphore", semaphore, false},
    {"a bounded semaphore", bounded_semaphore, false},
    {"an event", event, false},
    {"a condition", condition, false},
    {"a barrier", barrier, false},
    {"a queue", queue, false},
    {"a queue of large messages", large_messages, false},
    {"a queue of tasks", task_queue, false},
    {"a queue of objects", objects_in_messages, false},
    {"a dict", dict, false},
    {"a dict of objects", objects_in_entries, false},
    {"a list", list, false},
    {"an array", array, false},
    {"a value", value, false},
    {"a child", spawn, false},
    {"a permit that a child gives", permit_of_a_child, false},
    {"a watch", watch, false},
    {"a listener", listener, false},
    {"a listener with a key", listener_with_key, false},
    {"a connection", connection, false},
};

#define OPERATIONS (sizeof operations / sizeof *operations)

static bool
names_a_limit(int result)
{
    return result == -ENOMEM || result == -EMFILE || result == -EAGAIN || result == -ENOSPC ||
           result == -EFBIG || result == -ENOBUFS;
}

/* One run with a fault; false when it was not reached. */
static bool
try_with_fault(const struct operation *o, long at, bool lasts, bool *holds)
{
    if (!o->without_family)
        tap_family(0);
    struct footing before = footing();
    memset(&fault, 0, sizeof fault);
    fault.at = at;
    fault.lasts = lasts;
    fault.is_on = true;
    int result = o->run();
    fault.is_on = false;
    const char *left = left_behind(before);
    const char *hit = fault.hit ? fault.hit : "nothing";
    if (result != 0 && (!fault.hit || !names_a_limit(result))) {
        diag("call %ld, %s: it gives %d", at, hit, result);
        *holds = false;
    }
    if (left) {
        diag("call %ld, %s: %s left behind; it gives %d", at, hit, left, result);
        *holds = false;
    }
    before = footing();
    result = o->run();
    left = left_behind(before);
    if (result != 0 || left) {
        diag("call %ld, %s: afterwards it gives %d; left behind: %s", at, hit, result,
             left ? left : "nothing");
        *holds = false;
    }
    if (amp_arena.base != NULL)
        tap_family_end();
    unlink(address.path.sun_path);
    return fault.hit != NULL;
}

/* The same in a process of its own, with a family of its own: what was asked of the system before, or
   is asked of it once, would hide faults. */
static bool
run_with_fault(const struct operation *o, long at, bool lasts, bool *holds)
{
    int status;
    pid_t pid = fork();
    tap_need(pid >= 0);
    if (pid == 0) {
        bool all_hold = true;
        bool is_hit = try_with_fault(o, at, lasts, &all_hold);
        _exit(is_hit + 2 * all_hold);
    }
    tap_need(waitpid(pid, &status, 0) == pid);
    bool has_ended = WIFEXITED(status);
    if (!has_ended)
        diag("call %ld: it ends by a signal, %d", at, WTERMSIG(status));
    *holds = *holds && has_ended && (WEXITSTATUS(status) & 2);
    return has_ended && (WEXITSTATUS(status) & 1);
}

static void
test_operations(void)
{
    long points = 0;
    for (size_t i = 0; i < OPERATIONS; i++) {
        for (int lasts = 0; lasts < 2; lasts++) {
            bool holds = true;
            long k = 1;
            while (run_with_fault(&operations[i], k, lasts, &holds))
                k++;
            ok(holds, "%s, with each of %ld calls failing %s", operations[i].name, k - 1,
               lasts ? "for good" : "once");
            points += k - 1;
        }
    }
    diag("%ld faults", points);
}

/*
 * A wait that the kernel refuses is a look more, and not an end.
 */

static int (*kernel_wait)(amp_word *word, uint32_t expected, const struct timespec *relative);
static int refused;

static int
refuse_some_waits(amp_word *word, uint32_t expected, const struct timespec *relative)
{
    static const int failures[] = {-EAGAIN, -EINTR, -ENOMEM, -EFAULT};
    if (refused < 4)
        return failures[refused++];
    return kernel_wait(word, expected, relative);
}

static void
test_waits(void)
{
    tap_family(0);
    struct amp_cell *cell = tap_object(AMP_SEMAPHORE, "semaphore");
    struct amp_semaphore s = amp_semaphore_of(cell);
    struct amp_what what = {.kind = AMP_SEMAPHORE};
    kernel_wait = amp_futex.wait;
    amp_futex.wait = refuse_some_waits;
    amp_time end = amp_now() + 20 * AMP_MILLISECOND;
    is(amp_semaphore_acquire(&s, end, &what), -ETIMEDOUT, "a wait that was refused goes on");
    amp_futex.wait = kernel_wait;
    ok(refused == 4 && amp_now() >= end, "until its time is over");
    tap_unhold(cell);
    tap_family_end();
}

/*
 * A message that was left to a consumer which has no memory for it.
 */

static struct {
    struct amp_cell *queue;
    _Atomic int *about_to_sleep;
} left;

static int
sleep_for_message(void *argument)
{
    (void) argument;
    uint64_t number;
    tap_without_slices();
    amp_spins = 0;
    atomic_store(left.about_to_sleep, 1);
    return queue_get(left.queue, &number, AMP_FOREVER);
}

static int
put_for_watcher(void *argument)
{
    (void) argument;
    if (!tap_until(atomic_load(&left.queue->q_watched) != 0))
        return 1;
    return queue_put(left.queue, 1, 40, AMP_AT_ONCE);
}

static void
test_watcher_without_memory(void)
{
    tap_family(0);
    int spins = amp_spins;
    uint64_t number;
    left.queue = queue_make(0, 0);
    left.about_to_sleep = tap_shared(sizeof *left.about_to_sleep);
    struct amp_child sleeper = tap_child(sleep_for_message, NULL);
    tap_sleeps(&sleeper, left.about_to_sleep);
    struct amp_child producer = tap_child(put_for_watcher, NULL);
    amp_ring_thread_leave();
    amp_spins = INT32_MAX;
    fault.n = 0;
    fault.at = 1;
    fault.lasts = true;
    fault.hit = NULL;
    fault.is_on = true;
    int result = queue_get(left.queue, &number, AMP_FOREVER);
    fault.is_on = false;
    amp_spins = spins;
    is(result, -ENOMEM, "a watcher without memory for its message fails");
    is(tap_join(&producer), 0, "when it was put");
    is(tap_join(&sleeper), 0, "and the message is told to who sleeps");
    munmap(left.about_to_sleep, sizeof *left.about_to_sleep);
    tap_unhold(left.queue);
    tap_family_end();
}

/*
 * A full arena.
 */

#define CELLS 5000 /* more than there can be */

static int
put_a_lot(struct amp_cell *cell)
{
    return queue_put(cell, 1, 100000, AMP_AT_ONCE);
}

static int
set_a_lot(struct amp_cell *cell)
{
    static char value[100000];
    char key[32];
    memset(value, 'x', sizeof value - 1);
    snprintf(key, sizeof key, "%u", amp_dict_count(cell));
    return dict_set(cell, key, value);
}

static int
append_a_lot(struct amp_cell *cell)
{
    return list_append(cell, "a value of some length, so that it does not take for ever");
}

/* Adds to the object until there is no more room: the error, and all is as before when it is gone. */
static void
fill_up(enum amp_kind kind, int (*fill)(struct amp_cell *), int (*add)(struct amp_cell *),
        const char *name)
{
    tap_family(UINT64_C(32) << 20);
    struct tap_account before = tap_account();
    for (int round = 0; round < 2; round++) {
        struct amp_cell *cell;
        tap_need(amp_cell_make(kind, name, &cell) == 0 && (!fill || fill(cell) == 0));
        amp_cell_ready(cell);
        int result = 0;
        while (result == 0)
            result = add(cell);
        is(result, -ENOMEM, "%s: a full arena is an error at the call", name);
        tap_unhold(cell);
        tap_is_settled(before, "and nothing is left of it");
    }
    tap_family_end();
}

static void
test_full_arena(void)
{
    static struct amp_cell *cells[CELLS];
    fill_up(AMP_QUEUE, fill_queue, put_a_lot, "a queue");
    fill_up(AMP_DICT, NULL, set_a_lot, "a dict");
    fill_up(AMP_LIST, NULL, append_a_lot, "a list");

    tap_family(UINT64_C(32) << 20);
    struct tap_account before = tap_account();
    int n = 0, result = 0;
    while (n < CELLS && (result = amp_cell_make(AMP_BOUNDED_SEMAPHORE, "many", &cells[n])) == 0) {
        result = fill_bounded(cells[n]);
        if (result != 0) {
            amp_cell_abandon(cells[n]);
            break;
        }
        amp_cell_ready(cells[n++]);
    }
    is(result, -ENOMEM, "objects: a full arena is an error at the call");
    diag("%d objects", n);
    while (n > 0)
        tap_unhold(cells[--n]);
    tap_is_settled(before, "and nothing is left of them");
    tap_family_end();
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!tap_forks())
        return tap_skip_all("it counts what one thread owns");
    tap_need(mkdtemp(folder) != NULL);
    address.length = sizeof address.path;
    address.path.sun_family = AF_UNIX;
    snprintf(address.path.sun_path, sizeof address.path.sun_path, "%s/socket", folder);
    test_operations();
    test_waits();
    test_watcher_without_memory();
    test_full_arena();
    rmdir(folder);
    return tap_done();
}
