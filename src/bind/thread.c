/*
 * thread: what the thread module needs of C, and Local. The classes are lua/thread.lua.
 *
 * A thread is an operating-system thread and a member of the family, with a Lua state of its own that
 * it makes and closes. It never touches another's state: what it is given is encoded by its
 * starter, who also notes in the new member's name what it will hold, and decoded by itself.
 *
 * What starter and thread share of private memory is struct thread: counted, since either may be
 * the last to need it. All that have not ended are in one list, so that the end of the process can
 * wait for them.
 *
 * Orders. A thread is told to end, and a main thread to end the process, by a mark and a signal that
 * makes it look (interrupt.c). To end is to raise an error again and again, at each next instruction,
 * until no pcall is left to catch it; so closable variables in C, such as locks, are closed. A
 * thread has all other signals blocked: they are the main thread's.
 *
 * Death: a thread ends as a process dies, with its life in hand: the kernel marks that when the
 * thread is gone, and wakes who waits for it. What it still held is given back by its burial. (To
 * let go of the life before would wake a joiner while the thread has still to finish: one more
 * sleep for either.)
 *
 * The bench. To make a system's thread, and to wake a processor for it, takes longer than to open a
 * Lua state. So one whose thread has ended sits down for a moment, if nobody sits there yet, and
 * becomes the next thread that is started; one that still holds locks does not, since they must
 * die with it.
 */
#include "thread.h"

#include "ipc.h"
#include "output.h"
#include "process.h"
#include "state.h"

#include <lualib.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATE_MEMORY 32768 /* bytes: what a state with its libraries takes, and half as much again */
#define NUDGE (SIGRTMAX - 3)
#define LOOK_AGAIN (50 * AMP_MILLISECOND) /* a nudge may fall between two reads: then it is given again */

static const char handle_key;  /* registry: metatable of handles */
static const char natives_key; /* registry: what lua/thread.lua has given: natives */
static const char stop_key;    /* its address is the error by which a thread ends */

/* A message that a thread is given. */
struct parcel {
    unsigned char *bytes; /* NULL: there is none */
    size_t length;
    uint64_t *cells;
    uint32_t ncells;
};

struct thread {
    struct thread *next;   /* in the list; under its mutex */
    _Atomic unsigned refs;
    lua_Integer ident;
    bool is_daemon;
    uint32_t member, generation;
    uint32_t starter;      /* its member */
    _Atomic pid_t tid;     /* 0: not begun */

    const void *root;      /* registry of the state whose end waits for it: the main thread's */
    pid_t root_tid;        /* in which that state runs */

    _Atomic bool is_ordered; /* to end */
    char *failure;         /* what it ended by, or NULL; settled when its life is over */

    /* How it begins. */
    luamp_Options options;
    char *path, *cpath;
    struct parcel classes; /* what it must know before it can decode the next */
    struct parcel target;
    char name[AMP_NAME_SIZE];
};

static struct thread *threads; /* those that have not ended, and those that somebody asks for */
static _Atomic bool was_any_started; /* by this process; most never start one, and need no mutex */
static pthread_mutex_t threads_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic lua_Integer last_ident = 1; /* the main thread's */
static _Atomic lua_Integer threads_named;

/* An order of a thread's that the process end: the status, and 1 << 32. */
static _Atomic int64_t exit_order;
#define EXIT_ORDERED (INT64_C(1) << 32)
static _Atomic bool is_ending; /* the process is: an order changes no more than the status */

static __thread struct thread *this_thread; /* NULL: a main thread, or one of the program's own */

bool
luampB_in_thread(void)
{
    return this_thread != NULL;
}

int
luampB_nudge_signal(void)
{
    return NUDGE;
}

/*
 * The list.
 */

static void
free_parcel(struct parcel *parcel)
{
    free(parcel->bytes);
    free(parcel->cells);
    *parcel = (struct parcel) {.bytes = NULL};
}

static void
unlink_thread(struct thread *thread)
{
    for (struct thread **t = &threads; *t != NULL; t = &(*t)->next) {
        if (*t == thread) {
            *t = thread->next;
            break;
        }
    }
}

static void
drop(struct thread *thread)
{
    pthread_mutex_lock(&threads_mutex);
    bool is_last = --thread->refs == 0;
    if (is_last)
        unlink_thread(thread);
    pthread_mutex_unlock(&threads_mutex);
    if (!is_last)
        return;
    free_parcel(&thread->classes);
    free_parcel(&thread->target);
    free(thread->path);
    free(thread->cpath);
    free(thread->failure);
    free(thread);
}

static bool
lives(const struct thread *thread)
{
    return amp_member_lives(thread->member, thread->generation);
}

/* One that lives and has this root, counted once more; NULL: none. `daemons`: those too. */
static struct thread *
find_living(const void *root, bool daemons)
{
    if (!was_any_started)
        return NULL;
    pthread_mutex_lock(&threads_mutex);
    struct thread *found = threads;
    while (found != NULL && (found->root != root || found == this_thread ||
                             (found->is_daemon && !daemons) || !lives(found)))
        found = found->next;
    if (found)
        found->refs++;
    pthread_mutex_unlock(&threads_mutex);
    return found;
}

bool
luampB_threads_live(void)
{
    if (!was_any_started)
        return false;
    pthread_mutex_lock(&threads_mutex);
    struct thread *t = threads;
    while (t != NULL && (t == this_thread || !lives(t)))
        t = t->next;
    pthread_mutex_unlock(&threads_mutex);
    return t != NULL;
}

/*
 * The bench.
 */

#define SITS (5 * AMP_MILLISECOND)

enum { FREE, TAKEN, CALLED, ASLEEP = 4 /* flag beside TAKEN */ };

/* Has room for one. */
static struct {
    bool is_open;
    amp_word state;
    struct thread *next; /* CALLED: what it is called for; under threads_mutex */
} bench;

/* In a forked child, whoever forked: nobody sits here. */
static void
clear_bench(void)
{
    bench.state = FREE;
}

static void
open_bench(void)
{
    bench.is_open = pthread_atfork(NULL, NULL, clear_bench) == 0;
}

/* Sits down: the next thread to be, or NULL when none came, or there was no room. */
static struct thread *
sit(void)
{
    struct thread *next = NULL;
    uint32_t seen = FREE;
    if (!bench.is_open || !atomic_compare_exchange_strong(&bench.state, &seen, TAKEN))
        return NULL;
    for (int i = 0; i < AMP_LONG_SPIN && bench.state == TAKEN; i++)
        amp_spin(&bench.state, TAKEN);
    struct amp_what what = {.since = amp_now(), .uninterruptible = true};
    amp_time end = what.since + SITS;
    while (((seen = bench.state) & ~(uint32_t) ASLEEP) == TAKEN) {
        if (amp_wait(&bench.state, seen, ASLEEP, end, &what) == -ETIMEDOUT)
            break;
    }
    pthread_mutex_lock(&threads_mutex);
    if (bench.state == CALLED)
        next = bench.next;
    bench.state = FREE;
    pthread_mutex_unlock(&threads_mutex);
    return next;
}

/* Calls who sits there, if anyone does. The caller has the mutex. */
static bool
call(struct thread *thread)
{
    uint32_t seen = bench.state;
    if ((seen & ~(uint32_t) ASLEEP) != TAKEN)
        return false;
    bench.next = thread;
    if (atomic_exchange(&bench.state, CALLED) & ASLEEP)
        amp_futex.wake(&bench.state, 1);
    return true;
}

/*
 * Orders.
 */

static void
nudged(int number)
{
    (void) number;
    int error = errno;
    luampB_interrupt_soon();
    errno = error;
}

static void
nudge(pid_t tid)
{
    if (tid != 0)
        syscall(SYS_tgkill, getpid(), tid, NUDGE);
}

static sigset_t process_mask; /* of the thread that started the first one */

static void
begin_threads(void)
{
    pthread_sigmask(SIG_SETMASK, NULL, &process_mask);
    struct sigaction action = {.sa_handler = nudged}; /* no SA_RESTART: a read ends */
    sigemptyset(&action.sa_mask);
    sigaction(NUDGE, &action, NULL);
    open_bench();
}

bool
luampB_is_stop(lua_State *L, int index)
{
    return lua_touserdata(L, index) == (void *) &stop_key && lua_islightuserdata(L, index);
}

bool
luampB_thread_is_ordered(void)
{
    return this_thread ? this_thread->is_ordered : exit_order != 0;
}

void
luampB_obey_orders(lua_State *L)
{
    if (this_thread == NULL) {
        int64_t order = exit_order;
        if ((order & EXIT_ORDERED) && !is_ending && luampB_is_interruptible(L)) {
            exit_order = order & ~EXIT_ORDERED; /* obeyed once; the status stays */
            luampB_exit_process(L, (int32_t) order);
        }
    } else if (this_thread->is_ordered) {
        luampB_end_thread(L);
    }
}

int
luampB_end_thread(lua_State *L)
{
    this_thread->is_ordered = true;
    luampB_interrupt_soon(); /* should a pcall catch it, again at the next instruction */
    lua_pushlightuserdata(L, (void *) &stop_key);
    return lua_error(L);
}

int
luampB_order_exit(lua_State *L, int status)
{
    int64_t none = 0;
    atomic_compare_exchange_strong(&exit_order, &none, EXIT_ORDERED | (uint32_t) status);
    nudge(this_thread->root_tid);
    return luampB_end_thread(L);
}

int
luampB_ordered_status(lua_State *L)
{
    int64_t order = exit_order;
    lua_settop(L, 1);
    if (order & EXIT_ORDERED)
        lua_pushinteger(L, (int32_t) order);
    exit_order = order & ~EXIT_ORDERED;
    is_ending = false;
    return 1;
}

/*
 * The thread itself.
 */

/* Decodes a parcel: its values are left on the stack. */
static int
open_parcel(lua_State *L, struct parcel *parcel)
{
    int top = lua_gettop(L);
    struct amp_message message = {
        .bytes = parcel->bytes, .length = parcel->length,
        .cells = parcel->cells, .ncells = parcel->ncells,
    };
    struct luampO_arrival arrival;
    luampO_arriving(&arrival, parcel->cells, parcel->ncells);
    lua_pushcfunction(L, luampB_decode_message);
    lua_pushlightuserdata(L, &message);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    luampO_arrived(&arrival);
    free_parcel(parcel);
    if (status != LUA_OK)
        lua_error(L);
    return lua_gettop(L) - top;
}

static void
set_package_field(lua_State *L, const char *field, const char *value)
{
    if (value && lua_getglobal(L, LUA_LOADLIBNAME) == LUA_TTABLE) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, field);
    }
    lua_settop(L, 0);
}

/* What a thread's state has from the beginning. */
static void
open_state(lua_State *L, const struct thread *thread)
{
    if (luampB_is_host())
        lua_gc(L, LUA_GCGEN, 0, 0); /* as the program's own state; while there is nothing to mark */
    lua_gc(L, LUA_GCSTOP);
    luaL_openlibs(L);
    luamp_openlibs_with(L, &thread->options);
    set_package_field(L, "path", thread->path);
    set_package_field(L, "cpath", thread->cpath);
    lua_getglobal(L, LUA_MATHLIBNAME);
    lua_getfield(L, -1, "randomseed");
    /* Lua's own is the time and an address, which the next state has, too. */
    luampB_seed(L);
    luampB_replace_exit(L);
    luampB_open_output(L, true);
    luampB_interruptible(L);
    lua_gc(L, LUA_GCRESTART);
    lua_gc(L, LUA_GCSTEP, -lua_gc(L, LUA_GCCOUNT)); /* not before as much again is allocated */
    lua_settop(L, 0);
}

/* Under the message handler: what the thread is for. With classes to be known first, lua/thread.lua
   is needed; without, the target is called at once. */
static int
run_target(lua_State *L)
{
    if (this_thread->is_ordered)
        return luampB_end_thread(L); /* before it had begun */
    if (this_thread->classes.bytes != NULL) {
        lua_getglobal(L, "require");
        lua_pushliteral(L, "luamp.thread");
        lua_call(L, 1, 0);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &natives_key);
        lua_getfield(L, -1, "meet_classes");
        lua_call(L, open_parcel(L, &this_thread->classes), 0);
        lua_getfield(L, -1, "run");
    } else {
        lua_pushcfunction(L, luampB_call_with);
    }
    lua_call(L, open_parcel(L, &this_thread->target), 0);
    return 0;
}

static int
report_failure(lua_State *L)
{
    lua_pushfstring(L, "%s:\n%s\n", this_thread->name, luaL_tolstring(L, 1, NULL));
    lua_replace(L, 1);
    return luampB_report(L);
}

/* Everything that may raise. Leaves nothing; a failure has been told. */
static int
live(lua_State *L)
{
    open_state(L, this_thread);
    lua_pushcfunction(L, luampB_traceback);
    lua_pushcfunction(L, run_target);
    int status = lua_pcall(L, 0, 0, 1);
    luampB_defer_handlers(true); /* what ends it must not disturb its end */
    luampB_interrupt_no_more();
    if (status != LUA_OK && !luampB_is_stop(L, -1)) {
        const char *text = luaL_tolstring(L, -1, NULL);
        this_thread->failure = strndup(text, strcspn(text, "\n"));
        lua_pop(L, 1);
        lua_pushcfunction(L, report_failure);
        lua_insert(L, -2);
        lua_call(L, 1, 0);
    }
    luampB_leave_children(L);
    return 0;
}

/* Threads that it started take their slots while it is there: a slot whose reserver is gone is
   taken back. */
static void
see_begun(void)
{
    for (;;) {
        pthread_mutex_lock(&threads_mutex);
        struct thread *t = threads;
        while (t != NULL && (t->starter != amp_self.member || t->tid != 0 || !lives(t)))
            t = t->next;
        pthread_mutex_unlock(&threads_mutex);
        if (t == NULL)
            return;
        amp_sleep(amp_now() + AMP_MILLISECOND / 10);
    }
}

/* From here to the end of the thread; true when it may go on as another. */
static bool
live_once(struct thread *thread)
{
    this_thread = thread;
    amp_thread_enter();
    luampB_interrupts_anew(); /* what another thread left: it ended with its handlers deferred */
    bool goes_on = false;
    amp_self.process_mask = &process_mask;
    if (amp_member_enter(thread->member, thread->generation) == 0) {
        thread->tid = (pid_t) amp_self.tid;
        _Alignas(max_align_t) char first[STATE_MEMORY];
        struct luampB_state state;
        luampB_heap_open(&state.heap, first, sizeof first);
        lua_State *L = luampB_newstate(&state);
        if (L != NULL)
            lua_pushcfunction(L, live); /* there is room for it, always */
        if (L == NULL || lua_pcall(L, 0, 0, 0) != LUA_OK) {
            static const char text[] = "not enough memory for a thread\n";
            thread->failure = strdup("not enough memory");
            if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
                /* nobody to tell */
            }
        }
        if (L)
            lua_close(L);
        luampB_heap_close(&state.heap);
        see_begun();
        goes_on = amp_self.held == 0;
        amp_family_end(goes_on);
    }
    this_thread = NULL;
    drop(thread);
    return goes_on;
}

static void *
thread_main(void *argument)
{
    struct thread *thread = argument;
    while (thread != NULL && live_once(thread))
        thread = sit();
    return NULL;
}

/*
 * Handles: a thread as a value. One in another process knows who it is, and no more.
 */

struct handle {
    struct thread *thread; /* NULL: of another process, or forgotten */
    uint32_t member, generation;
};

static struct handle *
push_handle(lua_State *L)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (struct handle) {.thread = NULL};
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handle_key);
    lua_setmetatable(L, -2);
    return handle;
}

static struct handle *
peek_handle(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handle_key);
    bool is_one = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_one ? lua_touserdata(L, index) : NULL;
}

static struct handle *
check_handle(lua_State *L, int index)
{
    struct handle *handle = peek_handle(L, index);
    if (handle == NULL)
        luaL_argerror(L, index, "a thread expected");
    return handle;
}

static int
handle_gc(lua_State *L)
{
    struct handle *handle = lua_touserdata(L, 1);
    if (handle->thread)
        drop(handle->thread);
    handle->thread = NULL;
    return 0;
}

int
luampB_thread_to_wire(lua_State *L, int index, struct luampO_wire *out)
{
    struct handle *handle = peek_handle(L, index);
    if (handle == NULL)
        return 0;
    *out = (struct luampO_wire) {
        .kind = LUAMPB_THREAD_WIRE,
        .extra = (uint64_t) handle->generation << 32 | handle->member,
    };
    return 1;
}

int
luampB_thread_from_wire(lua_State *L, const struct luampO_wire *wire)
{
    uint32_t member = (uint32_t) wire->extra;
    if (wire->ncells != 0 || member >= AMP_MEMBERS_MAX ||
        lua_rawgetp(L, LUA_REGISTRYINDEX, &handle_key) != LUA_TTABLE)
        return 0;
    lua_pop(L, 1);
    luampB_join_family(L);
    struct handle *handle = push_handle(L);
    handle->member = member;
    handle->generation = (uint32_t) (wire->extra >> 32);
    pthread_mutex_lock(&threads_mutex);
    struct thread *t = threads;
    while (t != NULL && (t->member != member || t->generation != handle->generation))
        t = t->next;
    if (t)
        t->refs++;
    handle->thread = t;
    pthread_mutex_unlock(&threads_mutex);
    return 1;
}

/*
 * Starting.
 */

/* Encodes the `count` values from `first` on, as a parcel. */
static void
pack(lua_State *L, int first, int count, const char *root, struct parcel *parcel)
{
    struct luampC_message message;
    luampC_encode(L, first, count, root, &message);
    parcel->bytes = malloc(message.length ? message.length : 1);
    parcel->cells = malloc(sizeof *message.cells * message.ncells + 1);
    if (parcel->bytes == NULL || parcel->cells == NULL)
        luaL_error(L, "not enough memory");
    memcpy(parcel->bytes, message.bytes, message.length);
    if (message.ncells > 0)
        memcpy(parcel->cells, message.cells, sizeof *message.cells * message.ncells);
    parcel->length = message.length;
    parcel->ncells = message.ncells;
}

/* Pushes the classes of the message just made that are not keys of the table at `known`, which may
   be nil; pushes nothing and returns false when there are none. */
static bool
push_strange_classes(lua_State *L, int known)
{
    luampC_push_classes_met(L);
    lua_Integer n = (lua_Integer) lua_rawlen(L, -1), strange = 0;
    lua_newtable(L);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -2, i);
        lua_pushvalue(L, -1);
        if (lua_istable(L, known) && lua_rawget(L, known) != LUA_TNIL) {
            lua_pop(L, 2);
            continue;
        }
        lua_pop(L, 1);
        lua_rawseti(L, -2, ++strange);
    }
    lua_remove(L, -2);
    if (strange == 0)
        lua_pop(L, 1);
    return strange > 0;
}

static char *
copy_package_field(lua_State *L, const char *field)
{
    char *copy = NULL;
    int top = lua_gettop(L);
    if (lua_getglobal(L, LUA_LOADLIBNAME) == LUA_TTABLE &&
        lua_getfield(L, -1, field) == LUA_TSTRING)
        copy = strdup(lua_tostring(L, -1));
    lua_settop(L, top);
    return copy;
}

/* What a thread inherits from its starter. */
static void
inherit(lua_State *L, struct thread *thread)
{
    thread->options = luampB_options(L);
    thread->path = copy_package_field(L, "path");
    thread->cpath = copy_package_field(L, "cpath");
    thread->starter = amp_self.member;
    if (this_thread) {
        thread->root = this_thread->root;
        thread->root_tid = this_thread->root_tid;
    } else {
        luampB_interruptible(L); /* a thread may order the end of the process */
        thread->root = lua_topointer(L, LUA_REGISTRYINDEX);
        thread->root_tid = (pid_t) amp_self.tid;
    }
}

/* Makes it a member to be. */
static int
reserve(struct thread *thread)
{
    char name[2 * AMP_NAME_SIZE + 4];
    snprintf(name, sizeof name, "%s in %s", thread->name, luampB_process_name());
    int failure = amp_member_reserve(name, &thread->member, &thread->generation);
    if (failure == -EUSERS) {
        amp_roster_sweep();
        failure = amp_member_reserve(name, &thread->member, &thread->generation);
    }
    if (failure != 0)
        return failure;
    amp_hold_for(thread->member, thread->classes.cells, thread->classes.ncells);
    amp_hold_for(thread->member, thread->target.cells, thread->target.ncells);
    return 0;
}

/* The thread begins, with all signals blocked but ours. */
static int
begin(struct thread *thread)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin_threads);
    pthread_mutex_lock(&threads_mutex);
    thread->refs++;
    thread->next = threads;
    threads = thread;
    was_any_started = true;
    bool has_come = call(thread);
    pthread_mutex_unlock(&threads_mutex);
    if (has_come)
        return 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t others;
    sigfillset(&others);
    sigdelset(&others, NUDGE);
    pthread_attr_setsigmask_np(&attributes, &others);
    pthread_t id;
    int failure = pthread_create(&id, &attributes, thread_main, thread);
    pthread_attr_destroy(&attributes);
    return -failure;
}

/*
 * start(name, daemon, classes, known, values...): a handle; false and a reason; or nil and a list of
 * classes that are in the values and no keys of `known`. The values are target, args and kwargs or,
 * with `classes`, what lua/thread.lua wants there.
 */
static int
native_start(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    enum { IS_DAEMON = 2, CLASSES, KNOWN, VALUES };
    int n = lua_gettop(L) - VALUES + 1;
    luampB_join_family(L);
    struct handle *handle = push_handle(L);
    struct thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return luaL_error(L, "not enough memory");
    thread->refs = 1;
    handle->thread = thread;
    amp_name_copy(thread->name, name);
    thread->is_daemon = lua_toboolean(L, IS_DAEMON);
    pack(L, VALUES, n, "start", &thread->target);
    if (push_strange_classes(L, KNOWN)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (!lua_isnil(L, CLASSES))
        pack(L, CLASSES, 1, "classes", &thread->classes);
    inherit(L, thread);
    thread->ident = ++last_ident;
    int failure = reserve(thread);
    if (failure == 0) {
        handle->member = thread->member;
        handle->generation = thread->generation;
        failure = begin(thread);
        if (failure != 0) {
            drop(thread);
            amp_member_bury(thread->member, thread->generation, true);
        }
    }
    if (failure == 0)
        return 1;
    lua_pushboolean(L, 0);
    if (failure == -EUSERS)
        lua_pushfstring(L, "cannot start a thread: a family has at most %d members",
                        (int) AMP_MEMBERS_MAX);
    else if (failure == -EAGAIN)
        lua_pushliteral(L, "cannot start a thread: the system's limit of threads is reached (ulimit "
                        "-u, or the control group's pids.max)");
    else
        lua_pushfstring(L, "cannot start a thread: %s", strerror(-failure));
    return 2;
}

/*
 * What others ask of it.
 */

/* join(handle, timeout): true, or false. */
static int
native_join(lua_State *L)
{
    struct handle *handle = check_handle(L, 1);
    amp_time deadline = luampB_timeout(L, 2);
    int result;
    if (deadline != AMP_AT_ONCE)
        amp_member_watch(handle->member, handle->generation);
    LUAMPB_BLOCKING(L, result, amp_member_join(handle->member, handle->generation, deadline));
    if (result < 0 && result != -ETIMEDOUT)
        return luampB_raise(L, "wait for a thread", result);
    lua_pushboolean(L, result == 0);
    return 1;
}

/* state(handle): does it live, its ident, the system's number of it, and what it failed by. */
static int
native_state(lua_State *L)
{
    struct handle *handle = check_handle(L, 1);
    struct thread *thread = handle->thread;
    bool is_alive = amp_member_lives(handle->member, handle->generation);
    lua_pushboolean(L, is_alive);
    if (thread == NULL)
        return 1;
    lua_pushinteger(L, thread->ident);
    lua_pushinteger(L, thread->tid);
    if (thread->tid == 0) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    if (is_alive || thread->failure == NULL)
        return 3;
    lua_pushstring(L, thread->failure);
    return 4;
}

/* this(): handle, name and daemon of the calling thread; nothing in the main one. */
static int
native_this(lua_State *L)
{
    if (this_thread == NULL)
        return 0;
    struct handle *handle = push_handle(L);
    handle->member = this_thread->member;
    handle->generation = this_thread->generation;
    this_thread->refs++;
    handle->thread = this_thread;
    lua_pushstring(L, this_thread->name);
    lua_pushboolean(L, this_thread->is_daemon);
    return 3;
}

/* next_number(): of the threads that this process has named. */
static int
native_next_number(lua_State *L)
{
    lua_pushinteger(L, ++threads_named);
    return 1;
}

/* count(): threads of this process that live, the main one included. */
static int
native_count(lua_State *L)
{
    lua_Integer n = 1;
    pthread_mutex_lock(&threads_mutex);
    for (struct thread *t = threads; t != NULL; t = t->next)
        n += lives(t);
    pthread_mutex_unlock(&threads_mutex);
    lua_pushinteger(L, n);
    return 1;
}

static int
native_class(lua_State *L)
{
    luampC_push_class(L, luaL_checkstring(L, 1));
    return 1;
}

static int
native_getpid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

/*
 * The end of the process.
 */

int
luampB_join_threads(lua_State *L)
{
    struct thread *thread;
    is_ending = true;
    while ((thread = find_living(lua_topointer(L, LUA_REGISTRYINDEX), false)) != NULL) {
        int result = amp_member_join(thread->member, thread->generation, AMP_FOREVER);
        drop(thread); /* handlers may raise */
        if (result == -EINTR)
            luampB_run_handlers(L);
        else if (result < 0)
            return luampB_raise(L, "wait for a thread", result);
    }
    return 0;
}

int
luampB_stop_threads(lua_State *L)
{
    struct thread *thread = find_living(lua_topointer(L, LUA_REGISTRYINDEX), true);
    if (thread == NULL)
        return 0; /* and the clock is not looked at */
    amp_time deadline = luampB_timeout(L, 1);
    do {
        pthread_mutex_lock(&threads_mutex);
        for (struct thread *t = threads; t != NULL; t = t->next) {
            if (t->root == thread->root && lives(t)) {
                t->is_ordered = true;
                nudge(t->tid);
            }
        }
        pthread_mutex_unlock(&threads_mutex);
        amp_time now = amp_now(), again = now + LOOK_AGAIN;
        int result = amp_member_join(thread->member, thread->generation,
                                     again < deadline ? again : deadline);
        drop(thread);
        if (now >= deadline)
            break; /* it is in some call that cannot be ended; the end of the process ends it */
        if (result == -EINTR)
            luampB_run_handlers(L);
        else if (result < 0 && result != -ETIMEDOUT)
            return luampB_raise(L, "wait for a thread", result);
        thread = find_living(lua_topointer(L, LUA_REGISTRYINDEX), true);
    } while (thread != NULL);
    return 0;
}

void
luampB_threads_in_child(lua_State *L)
{
    (void) L;
    threads_mutex = (pthread_mutex_t) PTHREAD_MUTEX_INITIALIZER;
    threads = NULL; /* the parent's, and so is the memory */
    was_any_started = false;
    this_thread = NULL;
    threads_named = 0;
    last_ident = 1;
    exit_order = 0;
    is_ending = false;
}

/*
 * Local: fields of its own for each thread. The object is a cell with nothing in it, known by its
 * handle; the values are in the state's registry, where they stay as long as the state, or the
 * Local, does.
 */

static const char locals_key; /* registry: handle -> values */

static const struct luampO_class local_class;

/* Forgets the values of Locals that are no more. */
static void
sweep_locals(lua_State *L, int locals)
{
    for (lua_pushnil(L); lua_next(L, locals);) {
        lua_pop(L, 1);
        if (amp_cell_of((amp_handle) lua_tointeger(L, -1)) == NULL) {
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, locals);
        }
    }
}

/* Pushes the values that the calling thread has in the Local at index 1. */
static void
push_values(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &local_class);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &locals_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &locals_key);
    }
    if (lua_rawgeti(L, -1, (lua_Integer) object->handle) != LUA_TTABLE) {
        lua_pop(L, 1);
        sweep_locals(L, lua_gettop(L));
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, (lua_Integer) object->handle);
    }
    lua_remove(L, -2);
}

static int
local_index(lua_State *L)
{
    lua_settop(L, 2);
    push_values(L);
    lua_insert(L, 2);
    lua_rawget(L, 2);
    return 1;
}

static int
local_newindex(lua_State *L)
{
    lua_settop(L, 3);
    push_values(L);
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

static int
local_pairs(lua_State *L)
{
    lua_settop(L, 1);
    lua_getglobal(L, "next");
    push_values(L);
    lua_pushnil(L);
    return 3;
}

static const luaL_Reg local_methods[] = {{NULL, NULL}};
static const luaL_Reg local_metamethods[] = {
    {"__newindex", local_newindex}, {"__pairs", local_pairs}, {NULL, NULL},
};
static const struct luampO_class local_class = {
    .name = "Local",
    .module = "thread",
    .id = LUAMPO_LOCAL,
    .kind = AMP_LOCAL,
    .methods = local_methods,
    .metamethods = local_metamethods,
    .own_index = local_index,
};

static int
new_local(lua_State *L)
{
    static const char *const options[] = {NULL};
    luampO_arguments(L, &local_class, options);
    struct luampO_object *object = luampO_push_new(L, &local_class);
    luampO_made(L, object, luampO_new_cell(L, &local_class, 1));
    return 1;
}

/*
 * The module.
 */

static const luaL_Reg natives[] = {
    {"start", native_start},
    {"join", native_join},
    {"state", native_state},
    {"this", native_this},
    {"next_number", native_next_number},
    {"count", native_count},
    {"class", native_class},
    {"getpid", native_getpid},
    {"Local", new_local},
    {NULL, NULL},
};

int
luampB_open_thread(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "thread");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handle_key);
    luampO_define(L, &local_class);
    luampB_open_output(L, false);
    luaL_newlib(L, natives);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &natives_key);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "luamp.process"); /* the end of a process joins its threads */
    lua_call(L, 1, 0);
    luampB_push_process_natives(L);
    lua_setfield(L, -2, "process");
    luampB_push_classes(L);
    luampB_run_chunk(L, "thread", 2);
    return 1;
}
