/*
 * process: what the process module needs of C. The class itself, and what happens in which order
 * when a process ends, is lua/process.lua.
 *
 * A child process runs in start(): it never returns to the script that forked it, but leaves by
 * _exit.
 */
#include "object.h"

#include "codec.h"
#include "core/spawn.h"
#include "output.h"
#include "process.h"
#include "state.h"
#include "thread.h"
#include "traceback.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child in a message is one word: its pid, its slot, and as much of the slot's generation as
   fits. */
#define WIRE_PID_BITS 22
#define WIRE_MEMBER_BITS 11
#define WIRE_GENERATION_MASK (UINT32_MAX >> 1)
_Static_assert(AMP_MEMBERS_MAX <= 1u << WIRE_MEMBER_BITS, "a slot's index fits");

static const char child_key;  /* registry: metatable of children */
static const char finish_key; /* registry: the function of lua/process.lua that ends a process */
static const char leave_key;  /* registry: the one that leaves a thread's children to the process */
static const char seed_key;   /* registry: math.randomseed */

static const char natives_key; /* registry: the table of what follows here */

static bool is_child;  /* this process was made by start() */
static bool is_host;   /* the main program is luamp's own */
static _Atomic lua_Integer children_named; /* in this process */

/* A child, or another process, as a userdata. */
struct child {
    struct amp_child child; /* the member may be AMP_NOBODY: see find_member */
    uint32_t parent;     /* member that started it, */
    uint32_t parent_generation;
    int descriptor;      /* of its end, or -1 */
};

static struct child *
push_child(lua_State *L)
{
    struct child *child = lua_newuserdatauv(L, sizeof *child, 0);
    memset(child, 0, sizeof *child);
    child->descriptor = -1;
    child->parent = AMP_NOBODY;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &child_key);
    lua_setmetatable(L, -2);
    return child;
}

static struct child *
peek_child(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &child_key);
    bool is_one = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_one ? lua_touserdata(L, index) : NULL;
}

/* A process that is known by its pid only: its slot is its main thread's. One that is dead by then has none, and is
   taken for a slot's last member. */
static void
find_member(lua_State *L, struct child *child)
{
    luampB_join_family(L);
    uint32_t pid = (uint32_t) child->child.pid;
    child->child.member = 0;
    child->child.generation = amp_member_generation(amp_member_at(0)) - 1;
    for (uint32_t i = 0; i < amp_members_top(); i++) {
        const struct amp_member *m = amp_member_at(i);
        uint32_t generation = amp_member_generation(m);
        if (atomic_load(&m->m_pid) == pid && atomic_load(&m->m_tid) == pid && amp_member_lives(i, generation)) {
            child->child.member = i;
            child->child.generation = generation;
        }
    }
}

static struct child *
check_child(lua_State *L, int index)
{
    struct child *child = peek_child(L, index);
    if (child == NULL)
        luaL_argerror(L, index, "a process expected");
    if (child->child.member == AMP_NOBODY)
        find_member(L, child);
    return child;
}

static struct amp_child
this_process(void)
{
    return (struct amp_child) {
        .pid = getpid(),
        .member = amp_self.member,
        .generation = amp_member_generation(amp_member_at(amp_self.member)),
    };
}

/* this_process(): as others know it. Before anything is shared, that is its pid only. */
static int
native_this_process(lua_State *L)
{
    struct child *child = push_child(L);
    child->child.pid = getpid();
    child->child.member = AMP_NOBODY;
    return 1;
}

/* The calling thread's: it may wait for it. */
static void
own_child(struct child *child)
{
    child->parent = amp_self.member;
    child->parent_generation = amp_member_generation(amp_member_at(amp_self.member));
}

static bool
is_own_child(const struct child *child)
{
    return child->parent == amp_self.member && amp_self.member != AMP_NOBODY &&
           child->parent_generation == amp_member_generation(amp_member_at(amp_self.member));
}

static int
child_gc(lua_State *L)
{
    struct child *child = lua_touserdata(L, 1);
    if (child->descriptor >= 0)
        close(child->descriptor);
    child->descriptor = -1;
    return 0;
}

int
luampB_child_to_wire(lua_State *L, int index, struct luampO_wire *out)
{
    if (peek_child(L, index) == NULL)
        return 0;
    struct child *child = check_child(L, index);
    *out = (struct luampO_wire) {
        .kind = LUAMPB_CHILD_WIRE,
        .extra = (uint64_t) child->child.generation << (WIRE_MEMBER_BITS + WIRE_PID_BITS) |
                 (uint64_t) child->child.member << WIRE_PID_BITS | (uint64_t) child->child.pid,
    };
    return 1;
}

int
luampB_child_from_wire(lua_State *L, const struct luampO_wire *wire)
{
    uint32_t member = wire->extra >> WIRE_PID_BITS & ((1u << WIRE_MEMBER_BITS) - 1);
    if (wire->ncells != 0 || member >= AMP_MEMBERS_MAX ||
        lua_rawgetp(L, LUA_REGISTRYINDEX, &child_key) != LUA_TTABLE)
        return 0;
    lua_pop(L, 1);
    luampB_join_family(L);
    struct child *child = push_child(L);
    child->child.pid = (pid_t) (wire->extra & ((1u << WIRE_PID_BITS) - 1));
    child->child.member = member;
    /* The latest generation that ends in the bits that were sent. */
    uint32_t now = amp_member_generation(amp_member_at(member));
    uint32_t sent = (uint32_t) (wire->extra >> (WIRE_MEMBER_BITS + WIRE_PID_BITS));
    child->child.generation = now - ((now - sent) & WIRE_GENERATION_MASK);
    return 1;
}

/* A descriptor of the process itself, and not of one that has its pid by now: -ESRCH when it is
   gone. */
static int
open_process(const struct child *child)
{
    if (child->child.reaped)
        return -ESRCH;
    int descriptor = (int) syscall(SYS_pidfd_open, child->child.pid, 0);
    if (descriptor < 0)
        return -errno;
    /* The pid of one's own child stays its own until it is waited for; of another's, for as long as
       it lives. */
    if (is_own_child(child) || amp_member_lives(child->child.member, child->child.generation))
        return descriptor;
    close(descriptor);
    return -ESRCH;
}

int
luampB_child_descriptor(lua_State *L, int index)
{
    struct child *child = check_child(L, index);
    if (child->descriptor < 0) {
        int descriptor = open_process(child);
        if (descriptor == -ESRCH) { /* it has ended: one that is readable for ever */
            descriptor = eventfd(1, EFD_CLOEXEC);
            if (descriptor < 0)
                descriptor = -errno;
        }
        if (descriptor < 0)
            return luampB_raise(L, "open a descriptor for a process", descriptor);
        child->descriptor = descriptor;
    }
    return child->descriptor;
}

amp_word *
luampB_child_life(lua_State *L, int index, uint32_t *value)
{
    struct child *child = check_child(L, index);
    if (child->child.reaped)
        return NULL;
    return amp_member_life(child->child.member, child->child.generation, value);
}

/*
 * Who this process is: for the states of its threads, and for what is asked later. It is made by the
 * parent before the fork, because there it costs no copies of pages.
 */

struct identity {
    bool is_daemon, is_worker, is_bound;
    char name[AMP_NAME_SIZE];
    struct amp_child parent;
    char parent_name[AMP_NAME_SIZE];
    int n; /* of the numbers */
    lua_Integer numbers[];
};

static const struct identity *identity; /* NULL: it is the main process */

enum {
    START_STATE = 1, START_NAME, START_DAEMON, START_WORKER, START_BOUND, START_FUNCTION, START_OWN_NAME,
    START_NUMBERS,
};

/* Pushes that of the child that start(state, name, daemon, worker, bound, f, own name, numbers...) is called
   for. There it stays on the stack, since start() does not return. */
static const struct identity *
push_identity(lua_State *L)
{
    int n = lua_gettop(L) - START_NUMBERS + 1;
    struct identity *new =
        lua_newuserdatauv(L, sizeof *new + sizeof *new->numbers * (size_t) n, 0);
    amp_name_copy(new->name, lua_tostring(L, START_NAME));
    new->is_daemon = lua_toboolean(L, START_DAEMON);
    new->is_worker = lua_toboolean(L, START_WORKER);
    new->is_bound = lua_toboolean(L, START_BOUND);
    amp_name_copy(new->parent_name, lua_tostring(L, START_OWN_NAME));
    new->parent = this_process();
    for (new->n = 0; new->n < n; new->n++)
        new->numbers[new->n] = lua_tointeger(L, START_NUMBERS + new->n);
    return new;
}

/*
 * Starting.
 */

static void left_in_child(void);

static int nothing = -1; /* a descriptor of /dev/null, for the stdin of children; or there is none */

/* Sees to it here: what it takes is mapped in this process, and would have to be in each child. */
static void
open_nothing(void)
{
    struct stat status;
    if (nothing >= 0 && fstat(nothing, &status) == 0 && S_ISCHR(status.st_mode) &&
        status.st_rdev == makedev(1, 3))
        return;
    int first = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the old number is somebody else's by now */
    nothing = first < 0 ? -1 : fcntl(first, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (first >= 0)
        close(first);
}

/* In the child. Where its parent had no descriptor left, there is that of stdin itself. */
static void
empty_stdin(void)
{
    if (nothing >= 0) {
        dup2(nothing, STDIN_FILENO);
    } else if (access("/dev/null", R_OK) == 0) {
        close(STDIN_FILENO);
        open("/dev/null", O_RDONLY); /* the lowest that is free */
    }
}

/* In the child, with all signals blocked. */
static void
prepare_child(void *argument)
{
    lua_State *L = argument;
    is_child = true;
    children_named = 0;
    luampB_state_in_child(L);
    left_in_child();
    luampB_threads_in_child(L);
    luampB_output_in_child();
    empty_stdin();
    luampB_signals_in_child(L);
    luamp_Options options = luampB_options(L);
    if (options.in_child)
        options.in_child(L, options.data);
}

void
luampB_seed(lua_State *L)
{
    lua_Integer seed[2];
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) {
        seed[0] = (lua_Integer) amp_now();
        seed[1] = amp_self.tid;
    }
    lua_pushinteger(L, seed[0]);
    lua_pushinteger(L, seed[1]);
    lua_call(L, 2, 0);
}

/*
 * A child's random numbers are not its parent's. The generator's state is 32 bytes in a userdata that
 * math.random and math.randomseed share, and any but zeros are one (xoshiro256**, in Lua's lmathlib.c). So the parent draws
 * the child's, and has its own back behind the fork: in the child it would be code to map and a page to copy. In a state that
 * another program made, math.randomseed may be any function; the child calls it.
 */
struct generator {
    void *state; /* NULL: the child calls math.randomseed */
    unsigned char kept[32];
};

static void
draw_numbers(lua_State *L, struct generator *generator)
{
    unsigned char drawn[sizeof generator->kept];
    generator->state = NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &seed_key);
    if (luampB_is_host() && lua_iscfunction(L, -1) && lua_getupvalue(L, -1, 1) != NULL) {
        if (lua_isuserdata(L, -1) && lua_rawlen(L, -1) == sizeof drawn &&
            getrandom(drawn, sizeof drawn, 0) == sizeof drawn)
            generator->state = lua_touserdata(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (generator->state) {
        memcpy(generator->kept, generator->state, sizeof drawn);
        memcpy(generator->state, drawn, sizeof drawn);
    }
}

static void
keep_numbers(const struct generator *generator)
{
    if (generator->state)
        memcpy(generator->state, generator->kept, sizeof generator->kept);
}

static void
use_numbers(lua_State *L, const struct generator *generator)
{
    if (generator->state)
        return;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &seed_key) == LUA_TFUNCTION)
        luampB_seed(L);
    else
        lua_pop(L, 1);
}

/* The collector does not start by walking what was inherited: that would copy every page of it. It
   waits until the child has allocated as much again. */
static void
spare_the_heap(lua_State *L)
{
    int kilobytes = lua_gc(L, LUA_GCCOUNT);
    if (lua_gc(L, LUA_GCISRUNNING))
        lua_gc(L, LUA_GCSTEP, -kilobytes);
    luampB_release_collector(L);
}

static _Noreturn void
leave(const char *name, int status)
{
    if (!luampB_flush_output(name) && status == 0)
        status = 1;
    amp_member_leave(status);
    _exit(status & 0xff);
}

/* The child's life: the function on top of the stack, which gives the exit status. */
static _Noreturn void
run_child(lua_State *L, const char *name, const struct generator *generator)
{
    spare_the_heap(L);
    use_numbers(L, generator);
    luampB_stack_begins(L);
    int status = 1;
    if (lua_pcall(L, 0, 1, 0) == LUA_OK)
        status = (int) lua_tointeger(L, -1);
    else
        fprintf(stderr, "%s:\n%s\n", name, luaL_tolstring(L, -1, NULL));
    leave(name, status);
}

static int
start_failed(lua_State *L, int failure)
{
    struct rlimit limit;
    lua_pushboolean(L, 0);
    if (failure == -EUSERS)
        lua_pushfstring(L, "cannot start a process: a family has at most %d members",
                        (int) AMP_MEMBERS_MAX);
    else if (failure == -EAGAIN && getrlimit(RLIMIT_NPROC, &limit) == 0 &&
             limit.rlim_cur != RLIM_INFINITY)
        lua_pushfstring(L, "cannot start a process: the limit of processes is reached, which is %d "
                        "for this user (ulimit -u), or its control group's (pids.max)",
                        (int) limit.rlim_cur);
    else if (failure == -EAGAIN)
        lua_pushliteral(L, "cannot start a process: the system's limit of processes is reached");
    else
        lua_pushfstring(L, "cannot start a process: %s", strerror(-failure));
    return 2;
}

/* state.child = the top of the stack, which is popped. */
static void
note_child(lua_State *L)
{
    lua_setfield(L, START_STATE, "child");
}

/* start(state, name, daemon, worker, bound, f, own name, numbers...): state.child is a child that runs f: true; false
   and a reason when there is none. In the child it is the child itself: noted before the fork, for that costs
   the child no page. */
static int
native_start(lua_State *L)
{
    luaL_checktype(L, START_STATE, LUA_TTABLE);
    const char *name = luaL_checkstring(L, START_NAME);
    unsigned flags = lua_toboolean(L, START_BOUND) ? AMP_DIES_WITH_PARENT : 0;
    luaL_checktype(L, START_FUNCTION, LUA_TFUNCTION);
    luaL_checkstring(L, START_OWN_NAME);
    luampB_join_family(L);
    const struct identity *its = push_identity(L);
    struct child *child = push_child(L);
    lua_pushvalue(L, -1);
    note_child(L);
    lua_pushvalue(L, START_FUNCTION);
    luampB_hold_output();
    open_nothing();
    struct generator generator;
    draw_numbers(L, &generator);
    int result = amp_spawn(name, flags, prepare_child, L, &child->child);
    if (result == AMP_IN_CHILD) {
        identity = its;
        child->child = this_process();
        run_child(L, name, &generator);
    }
    keep_numbers(&generator);
    luampB_release_output();
    if (result < 0) {
        lua_pushnil(L);
        note_child(L);
        return start_failed(L, result);
    }
    own_child(child);
    lua_pushboolean(L, 1);
    return 1;
}

/*
 * Children.
 */

/* Of a process that is not our child. By a descriptor, which also tells the end of one that was
   killed before it had taken its slot. */
static int
join_another(struct child *child, amp_time deadline)
{
    if (child->descriptor < 0)
        child->descriptor = open_process(child);
    if (child->descriptor == -ESRCH)
        return 0;
    if (child->descriptor < 0) /* none to be had */
        return amp_member_join(child->child.member, child->child.generation, deadline);
    struct pollfd poll = {.fd = child->descriptor, .events = POLLIN};
    struct amp_what what = {
        .kind = AMP_JOINING,
        .follows = true,
        .cell = child->child.member,
        .generation = child->child.generation,
    };
    int result;
    while ((result = amp_wait_descriptors(&poll, 1, deadline, &what)) == 0)
        continue;
    return result > 0 ? 0 : result;
}

static int
wait_for(struct child *child, amp_time deadline)
{
    if (is_own_child(child))
        return amp_child_wait(&child->child, deadline);
    return join_another(child, deadline);
}

/* wait(child[, timeout]): true and its status (nil: not ours to know), or false. */
static int
native_wait(lua_State *L)
{
    struct child *child = check_child(L, 1);
    amp_time deadline = luampB_timeout(L, 2);
    int result;
    LUAMPB_BLOCKING(L, result, wait_for(child, deadline));
    if (result == -ETIMEDOUT)
        return luampB_refuse(L, "timeout");
    if (result == -ECHILD) {
        child->child.reaped = true; /* by somebody else: how it ended is not known */
        amp_member_bury(child->child.member, child->child.generation, true);
        result = 0;
        lua_pushboolean(L, 1);
        return 1;
    }
    if (result < 0)
        return luampB_raise(L, "wait for a process", result);
    lua_pushboolean(L, 1);
    if (is_own_child(child)) {
        lua_pushinteger(L, child->child.status);
        return 2;
    }
    return 1;
}

/* To a process that is not our child: by a descriptor, because its pid may be another's any moment.
   */
static int
signal_another(const struct child *child, int number)
{
    int descriptor = open_process(child);
    if (descriptor >= 0) {
        int failure = syscall(SYS_pidfd_send_signal, descriptor, number, NULL, 0) == 0 ? 0 : -errno;
        close(descriptor);
        return failure;
    }
    if (descriptor != -ESRCH && amp_member_lives(child->child.member, child->child.generation))
        return kill(child->child.pid, number) == 0 ? 0 : -errno; /* no descriptor to be had */
    return -ESRCH;
}

static int
native_signal(lua_State *L)
{
    struct child *child = check_child(L, 1);
    lua_Integer number = luaL_checkinteger(L, 2);
    int result;
    if (is_own_child(child))
        result = amp_child_signal(&child->child, (int) number);
    else
        result = signal_another(child, (int) number);
    if (result != 0 && result != -ESRCH)
        return luampB_raise(L, "send a signal", result);
    lua_pushboolean(L, result == 0);
    return 1;
}

/* Kills another process of the family, and waits until it is dead. */
static void
kill_member(uint32_t index, uint32_t generation)
{
    struct child child = {
        .child = {.member = index, .generation = generation},
        .parent = AMP_NOBODY,
        .descriptor = -1,
    };
    while (amp_member_lives(index, generation)) {
        child.child.pid = (pid_t) atomic_load(&amp_member_at(index)->m_pid);
        if (child.child.pid == getpid())
            return;
        if (child.child.pid != 0)
            signal_another(&child, SIGKILL);
        amp_sleep(amp_now() + AMP_MILLISECOND / 10);
    }
}

/* Ends the children of a member that is dead, and theirs. A dead process starts no others, so those
   that are found are all. */
static void
kill_children_of(uint32_t parent, uint32_t generation)
{
    amp_roster_sweep(); /* of those that it had not finished starting */
    uint32_t top = amp_members_top();
    for (uint32_t i = 0; i < top; i++) {
        const struct amp_member *m = amp_member_at(i);
        uint32_t own = amp_member_generation(m);
        if (m->m_parent != parent || m->m_parent_generation != generation)
            continue;
        /* What was read may be of the slot's last member. Who lives in this generation has its own
           parent there. */
        if (amp_member_lives(i, own) && m->m_parent == parent &&
            m->m_parent_generation == generation)
            kill_member(i, own);
        kill_children_of(i, own);
    }
}

/* end_orphans(child): of one that is dead. */
static int
native_end_orphans(lua_State *L)
{
    struct child *child = check_child(L, 1);
    kill_children_of(child->child.member, child->child.generation);
    return 0;
}

/* A thread of this process, or what one of them is about to start. */
static bool
is_of_this_process(const struct amp_member *m)
{
    if (amp_member_phase(m) == AMP_RESERVED) {
        if (!amp_member_lives(m->m_parent, m->m_parent_generation))
            return false;
        m = amp_member_at(m->m_parent);
    }
    return (pid_t) atomic_load(&m->m_pid) == getpid();
}

/* end_family(): in the main process, all others, also those whose parents have died before. In
   rounds, because those that still live may start some. */
static int
native_end_family(lua_State *L)
{
    (void) L;
    if (amp_self.member == AMP_NOBODY || amp_member_at(amp_self.member)->m_parent != AMP_NOBODY)
        return 0;
    bool any;
    do {
        any = false;
        amp_roster_sweep();
        for (uint32_t i = 0; i < amp_members_top(); i++) {
            const struct amp_member *m = amp_member_at(i);
            uint32_t generation = amp_member_generation(m);
            if (!amp_member_lives(i, generation) || is_of_this_process(m))
                continue;
            any = true;
            if (amp_member_phase(m) == AMP_LIVE)
                kill_member(i, generation);
            else /* it begins, or it is buried when the one that starts it is dead */
                amp_sleep(amp_now() + AMP_MILLISECOND / 10);
        }
    } while (any);
    return 0;
}

static int
native_is_interrupt(lua_State *L)
{
    lua_pushboolean(L, luampB_is_interrupt(L, 1));
    return 1;
}

static int
native_is_signal(lua_State *L)
{
    lua_Integer number = luaL_checkinteger(L, 1);
    lua_pushboolean(L, number >= 0 && number <= SIGRTMAX);
    return 1;
}

static int
native_pid(lua_State *L)
{
    const struct child *child = peek_child(L, 1);
    if (child == NULL)
        luaL_argerror(L, 1, "a process expected");
    lua_pushinteger(L, child->child.pid);
    return 1;
}

static int
native_descriptor(lua_State *L)
{
    int descriptor = luampB_child_descriptor(L, 1);
    if (descriptor < 0)
        return 0;
    lua_pushinteger(L, descriptor);
    return 1;
}

static int
native_close(lua_State *L)
{
    check_child(L, 1);
    return child_gc(L);
}

/* parent(): the process that started this one, and its name; nothing in the main process. */
static int
native_parent(lua_State *L)
{
    if (identity == NULL)
        return 0;
    push_child(L)->child = identity->parent;
    lua_pushstring(L, identity->parent_name);
    return 2;
}

/* identity(): name, daemon, worker, bound, numbers...; nothing in the main process. */
static int
native_identity(lua_State *L)
{
    if (identity == NULL)
        return 0;
    lua_pushstring(L, identity->name);
    lua_pushboolean(L, identity->is_daemon);
    lua_pushboolean(L, identity->is_worker);
    lua_pushboolean(L, identity->is_bound);
    luaL_checkstack(L, identity->n, NULL);
    for (int i = 0; i < identity->n; i++)
        lua_pushinteger(L, identity->numbers[i]);
    return 4 + identity->n;
}

const char *
luampB_process_name(void)
{
    return identity ? identity->name : "MainProcess";
}

/* next_number(): of the children that this process has named. */
static int
native_next_number(lua_State *L)
{
    lua_pushinteger(L, ++children_named);
    return 1;
}

/*
 * Children of threads that have ended are their process's.
 */

struct left {
    struct left *next;
    struct amp_child child;
    bool is_daemon;
    char name[AMP_NAME_SIZE];
};

static struct left *_Atomic left_children;
static pthread_mutex_t left_mutex = PTHREAD_MUTEX_INITIALIZER;

static void
left_in_child(void)
{
    left_children = NULL; /* the parent's */
    left_mutex = (pthread_mutex_t) PTHREAD_MUTEX_INITIALIZER;
}

/* leave_child(child, name, daemon): nothing comes of it where there is no memory. */
static int
native_leave_child(lua_State *L)
{
    struct child *child = check_child(L, 1);
    struct left *left = calloc(1, sizeof *left);
    if (left == NULL)
        return 0;
    left->child = child->child;
    left->is_daemon = lua_toboolean(L, 3);
    amp_name_copy(left->name, luaL_checkstring(L, 2));
    pthread_mutex_lock(&left_mutex);
    left->next = left_children;
    left_children = left;
    pthread_mutex_unlock(&left_mutex);
    return 0;
}

/* left_child(): one of them, its name and whether it is a daemon: now a child of the calling
   thread. */
static int
native_left_child(lua_State *L)
{
    if (atomic_load(&left_children) == NULL)
        return 0;
    struct child *child = push_child(L);
    pthread_mutex_lock(&left_mutex);
    struct left *left = left_children;
    if (left)
        left_children = left->next;
    pthread_mutex_unlock(&left_mutex);
    if (left == NULL)
        return 0;
    child->child = left->child;
    own_child(child);
    char name[AMP_NAME_SIZE];
    memcpy(name, left->name, sizeof name);
    lua_pushboolean(L, left->is_daemon);
    free(left);
    lua_pushstring(L, name);
    lua_insert(L, -2);
    return 3;
}

void
luampB_leave_children(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &leave_key) == LUA_TFUNCTION)
        lua_call(L, 0, 0);
    else
        lua_pop(L, 1);
}

/*
 * The end of a process.
 */

/* How an exit's argument reads as a status. What is neither a number nor a boolean is told. */
static int
exit_status(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
        return 0;
    case LUA_TBOOLEAN:
        return lua_toboolean(L, index) ? 0 : 1;
    case LUA_TNUMBER: {
        int is_whole;
        lua_Integer status = lua_tointegerx(L, index, &is_whole);
        if (is_whole)
            return (int) status;
    } /* fall through */
    default:
        fprintf(stderr, "%s\n", luaL_tolstring(L, index, NULL));
        return 1;
    }
}

/* Runs finish() of lua/process.lua, if that was ever loaded. */
static int
run_finish(lua_State *L, int status)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &finish_key) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return status;
    }
    lua_pushinteger(L, status);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        status = (int) lua_tointeger(L, -1);
    } else if (luampB_is_interrupt(L, -1)) {
        status = luampB_abandon(L);
        fprintf(stderr, "luamp: %sinterrupted!\n", luampB_interrupted_at());
    } else {
        fprintf(stderr, "luamp: %s\n", luaL_tolstring(L, -1, NULL));
        lua_pop(L, 1);
        status = status ? status : 1;
    }
    lua_pop(L, 1);
    return status;
}

int
luampB_finish(lua_State *L, int status)
{
    return run_finish(L, status);
}

void
luampB_exit_process(lua_State *L, int status)
{
    status = run_finish(L, status);
    if (is_child)
        leave(amp_member_at(amp_self.member)->m_name, status);
    exit(status & 0xff);
}

/* exit([code]): as the end of the script would end this process, past any pcall. In a thread: the
   main thread is told to. */
static int
process_exit(lua_State *L)
{
    int status = exit_status(L, 1);
    if (luampB_in_thread())
        return luampB_order_exit(L, status);
    luampB_exit_process(L, status);
    return 0;
}

/* os.exit of the main program: Lua's own, unless the process module is in use; then as exit, but
   for the second argument, which is whether to close the state. In a thread it ends the thread. */
static int
os_exit(lua_State *L)
{
    if (luampB_in_thread()) {
        exit_status(L, 1);
        return luampB_end_thread(L);
    }
    bool in_use = lua_rawgetp(L, LUA_REGISTRYINDEX, &finish_key) == LUA_TFUNCTION;
    lua_pop(L, 1);
    if (is_child || (in_use && !lua_toboolean(L, 2)))
        return process_exit(L);
    if (in_use) {
        lua_pushinteger(L, run_finish(L, exit_status(L, 1)) & 0xff);
        lua_replace(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
}

static int
native_set_finish(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &leave_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &finish_key);
    return 0;
}

int
luampB_abandon(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &finish_key) == LUA_TFUNCTION) {
        lua_pushinteger(L, 130);
        lua_pushboolean(L, 1); /* at once */
        if (lua_pcall(L, 2, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    } else {
        lua_pop(L, 1);
    }
    return 130;
}

void
luampB_main_process(lua_State *L)
{
    is_host = true;
    atomic_fetch_sub(&amp_outsiders, 1); /* all that there is are our scripts */
    luampB_handle_interrupt(L);
    luampB_replace_exit(L);
    luampB_open_output(L, true);
}

bool
luampB_is_child(void)
{
    return is_child;
}

bool
luampB_is_worker(void)
{
    return identity != NULL && identity->is_worker;
}

bool
luampB_is_host(void)
{
    return is_host;
}

void
luampB_replace_exit(lua_State *L)
{
    if (lua_getglobal(L, "os") == LUA_TTABLE) {
        lua_getfield(L, -1, "exit");
        lua_pushcclosure(L, os_exit, 1);
        lua_setfield(L, -2, "exit");
    }
    lua_pop(L, 1);
}

/* In a state that is not the host's own, the program's end is the closing of the state. */
static int
state_closes(lua_State *L)
{
    if (!is_child && !is_host && !luampB_in_thread())
        run_finish(L, 0);
    return 0;
}

/*
 * The machine, and time.
 */

/* Processors that a control group's quota amounts to, or a large number. Only the process's own
   group is looked at, in either version of control groups. */
static int
quota(void)
{
    long long most = -1, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f != NULL) {
        if (fscanf(f, "%lld %lld", &most, &period) != 2)
            most = -1;
        fclose(f);
    } else {
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re");
        if (f != NULL) {
            if (fscanf(f, "%lld", &most) != 1)
                most = -1;
            fclose(f);
        }
        f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "re");
        if (f != NULL) {
            if (fscanf(f, "%lld", &period) != 1)
                period = 0;
            fclose(f);
        }
    }
    if (most <= 0 || period <= 0)
        return INT32_MAX;
    return (int) ((most + period - 1) / period);
}

static int
process_cpu_count(lua_State *L)
{
    cpu_set_t processors;
    int count = 1;
    if (sched_getaffinity(0, sizeof processors, &processors) == 0)
        count = CPU_COUNT(&processors);
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 0)
        count = (int) sysconf(_SC_NPROCESSORS_ONLN);
    int most = quota();
    lua_pushinteger(L, most < count ? most : count);
    return 1;
}

static int
process_getpid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

static int
process_getppid(lua_State *L)
{
    lua_pushinteger(L, getppid());
    return 1;
}

static int
process_sleep(lua_State *L)
{
    if (amp_self.tid == 0)
        amp_thread_enter();
    double seconds = luampB_check_number(L, 1);
    luaL_argcheck(L, !isnan(seconds), 1, "a number of seconds expected");
    amp_time deadline = amp_deadline(seconds);
    int result;
    LUAMPB_BLOCKING(L, result, amp_sleep(deadline));
    return 0;
}

static int
process_time(lua_State *L)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    lua_pushnumber(L, (lua_Number) now.tv_sec + (lua_Number) now.tv_usec / 1e6);
    return 1;
}

static int
process_monotonic(lua_State *L)
{
    lua_pushnumber(L, (lua_Number) amp_now() / (lua_Number) AMP_SECOND);
    return 1;
}

/* report(text): one write for the whole report of an error. */
int
luampB_report(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    fflush(stdout);
    for (ssize_t n; length > 0; text += n, length -= (size_t) n) {
        n = write(STDERR_FILENO, text, length);
        if (n < 0 && errno != EINTR)
            break;
        if (n < 0)
            n = 0;
    }
    return 0;
}

/* call_with(f, args, kwargs): f's results; either may be nil. In C, so that no line of luamp's own
   stands in an error's message. */
int
luampB_call_with(lua_State *L)
{
    lua_settop(L, 3);
    lua_insert(L, 1); /* kwargs, f, args */
    lua_Integer n = 0;
    if (!lua_isnil(L, 3)) {
        int has_n;
        lua_getfield(L, 3, "n");
        n = lua_tointegerx(L, -1, &has_n);
        if (!has_n)
            n = luaL_len(L, 3);
        lua_pop(L, 1);
    }
    if (n < 0 || n > INT32_MAX - 1 || !lua_checkstack(L, (int) n + 2))
        return luaL_error(L, "too many arguments");
    lua_pushvalue(L, 2);
    for (lua_Integer i = 1; i <= n; i++)
        lua_geti(L, 3, i);
    if (!lua_isnil(L, 1)) {
        lua_pushvalue(L, 1);
        n++;
    }
    lua_call(L, (int) n, LUA_MULTRET);
    return lua_gettop(L) - 3;
}

/* Was our child killed before it took its slot? The slot says nothing of that. */
static bool
is_stillborn(const struct child *child)
{
    siginfo_t info = {.si_pid = 0};
    return amp_member_phase(amp_member_at(child->child.member)) == AMP_RESERVED &&
           waitid(P_PID, (id_t) child->child.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
}

/* where(): the line of the user's that called. */
static int
native_where(lua_State *L)
{
    luaL_where(L, luampB_user_level(L));
    return 1;
}

/* lives(child): without waiting for this child of ours, nor reaping. */
static int
native_lives(lua_State *L)
{
    struct child *child = check_child(L, 1);
    lua_pushboolean(L, !child->child.reaped &&
                           amp_member_lives(child->child.member, child->child.generation) &&
                           !is_stillborn(child));
    return 1;
}

/* note_remote(value, text): should the error with this value be told, the text is told with it. */
static int
native_note_remote(lua_State *L)
{
    lua_settop(L, 2);
    luampB_note_remote(L);
    return 0;
}

void
luampB_push_process_natives(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &natives_key);
}

static const luaL_Reg natives[] = {
    {"start", native_start},
    {"this_process", native_this_process},
    {"undisturbed", luampB_undisturbed},
    {"wait", native_wait},
    {"signal", native_signal},
    {"is_signal", native_is_signal},
    {"is_interrupt", native_is_interrupt},
    {"end_orphans", native_end_orphans},
    {"end_family", native_end_family},
    {"pid", native_pid},
    {"descriptor", native_descriptor},
    {"close", native_close},
    {"parent", native_parent},
    {"identity", native_identity},
    {"next_number", native_next_number},
    {"leave_child", native_leave_child},
    {"left_child", native_left_child},
    {"join_threads", luampB_join_threads},
    {"stop_threads", luampB_stop_threads},
    {"ordered_status", luampB_ordered_status},
    {"set_finish", native_set_finish},
    {"report", luampB_report},
    {"call_with", luampB_call_with},
    {"traceback", luampB_traceback},
    {"trace", luampB_trace},
    {"where", native_where},
    {"nearest", luampB_nearest},
    {"lives", native_lives},
    {"note_remote", native_note_remote},
    {"exit", process_exit},
    {"cpu_count", process_cpu_count},
    {"getpid", process_getpid},
    {"getppid", process_getppid},
    {"sleep", process_sleep},
    {"time", process_time},
    {"monotonic", process_monotonic},
    {NULL, NULL},
};

int
luampB_open_process(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, child_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "process");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &child_key);

    if (lua_getglobal(L, "math") == LUA_TTABLE) {
        lua_getfield(L, -1, "randomseed");
        lua_rawsetp(L, LUA_REGISTRYINDEX, &seed_key);
    }
    lua_pop(L, 1);

    lua_newuserdatauv(L, 0, 0); /* its __gc runs when the state is closed */
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, state_closes);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &is_child);

    luaL_newlib(L, natives);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &natives_key);
    luampB_push_classes(L);
    luampB_run_chunk(L, "process", 2);
    return 1;
}
