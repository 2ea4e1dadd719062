/*
 * signal: signals for scripts.
 *
 * The C handler only takes a note, and sees to it that the script's handler runs soon: between two
 * instructions, or from the call that was blocked (interrupt.c). Handlers belong to the state that
 * registered them, and run in the thread that did; another thread that gets the signal passes it on.
 * A thread of the module `thread` registers none: it has all signals blocked.
 *
 * Nothing of the process is touched before the script, or the host, asks for it.
 */
#include "bind.h"

#include "process.h"
#include "traceback.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#define SIGNALS 65

/* What getsignal and signal give and take besides functions; as in Python. */
enum {
    DEFAULT = 0,
    IGNORE = 1,
};

static const char handlers_key; /* registry: signal number -> function */

static struct {
    const void *_Atomic registry; /* of the state that handles signals, or NULL */
    _Atomic pid_t thread;         /* in which it runs */
    volatile sig_atomic_t pending[SIGNALS];
    _Atomic bool interrupted;     /* Ctrl-C has raised an error */
    bool is_handled[SIGNALS];     /* by the script */
    char place[LUA_IDSIZE + 16];  /* where that was, as luaL_where tells it */
    bool is_interrupt;            /* SIGINT's handler is luampB_interrupt */
    bool ends_by_interrupt;       /* SIGINT has its default action as soon as it comes */
    bool leaves_interrupts;       /* SIGINT is ignored in this process only; */
    struct sigaction left;        /* its children have this */
} signals;

/*
 * From the signal to the handler.
 */

static void
on_signal(int number)
{
    int error = errno;
    if (number == SIGINT && signals.ends_by_interrupt) {
        signal(SIGINT, SIG_DFL);
        kill(getpid(), SIGINT); /* comes when this handler returns */
        return;
    }
    /* Should the thread be gone, this one is all that is left: in the child of a foreign fork. */
    if ((pid_t) syscall(SYS_gettid) == signals.thread ||
        syscall(SYS_tgkill, getpid(), signals.thread, number) != 0) {
        signals.pending[number] = 1;
        luampB_interrupt_soon();
    }
    errno = error;
}

/* The first signal that has come and was not handled, or 0. */
static int
next_pending(void)
{
    for (int i = 1; i < SIGNALS; i++) {
        if (signals.pending[i])
            return i;
    }
    return 0;
}

bool
luampB_signals_are_pending(const void *registry)
{
    return registry == signals.registry && next_pending() != 0;
}

void
luampB_handle_signals(lua_State *L)
{
    if (lua_topointer(L, LUA_REGISTRYINDEX) != signals.registry)
        return;
    int number;
    while ((number = next_pending()) != 0) {
        signals.pending[number] = 0;
        if (next_pending() != 0) /* should this handler raise, the others still run */
            luampB_interrupt_soon();
        luaL_checkstack(L, 4, "a handler of a signal");
        int top = lua_gettop(L);
        if (lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key) == LUA_TTABLE &&
            lua_rawgeti(L, -1, number) == LUA_TFUNCTION) {
            lua_pushinteger(L, number);
            lua_call(L, 1, 0);
        }
        lua_settop(L, top);
        amp_self.signalled = 0;
    }
}

int
luampB_interrupt(lua_State *L)
{
    luaL_where(L, luampB_user_level(L));
    snprintf(signals.place, sizeof signals.place, "%s", lua_tostring(L, -1));
    signals.interrupted = true;
    lua_pushliteral(L, "interrupted!");
    return lua_error(L);
}

const char *
luampB_interrupted_at(void)
{
    return signals.place;
}

int
luampB_is_interrupt(lua_State *L, int index)
{
    static const char text[] = "interrupted!";
    size_t length;
    if (!signals.interrupted || lua_type(L, index) != LUA_TSTRING)
        return 0;
    const char *message = lua_tolstring(L, index, &length);
    return length >= sizeof text - 1 &&
           memcmp(message + length - (sizeof text - 1), text, sizeof text - 1) == 0;
}

/*
 * Registering.
 */

static int
check_signal(lua_State *L, int index)
{
    lua_Integer number = luampB_check_integer(L, index);
    luaL_argcheck(L, number >= 1 && number < SIGNALS, index, "no such signal");
    return (int) number;
}

/* The state is closed: signals that come from here on find nobody. */
static int
handlers_gc(lua_State *L)
{
    if (lua_topointer(L, LUA_REGISTRYINDEX) == signals.registry)
        signals.registry = NULL;
    return 0;
}

static void
push_handlers(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, handlers_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handlers_key);
}

/* This state handles signals from here on. */
static void
take_over(lua_State *L)
{
    if (lua_topointer(L, LUA_REGISTRYINDEX) == signals.registry)
        return;
    luampB_interruptible(L);
    signals.thread = (pid_t) syscall(SYS_gettid);
    signals.registry = lua_topointer(L, LUA_REGISTRYINDEX);
}

/* Handlers of signals are the main thread's business, as in Python. */
static void
check_main_thread(lua_State *L, const char *what)
{
    if (luampB_in_thread())
        luaL_error(L, "%s is for the main thread only: a thread gets no signals", what);
}

/* Of a program that luamp is embedded in some signals are its own; see luamp_Options. */
static void
check_permission(lua_State *L, int number)
{
    unsigned needed = number == SIGINT    ? LUAMP_SIGINT
                      : number == SIGCHLD ? LUAMP_SIGCHLD
                      : number == SIGQUIT ? LUAMP_SIGQUIT
                                          : LUAMP_SIGNALS_OTHER;
    if (!luampB_is_child() && !(luampB_options(L).signals & needed))
        luaL_error(L, "signal %d (%s) is left to the program that luamp is embedded in", number,
                   strsignal(number));
}

static void
push_handler(lua_State *L, int number)
{
    struct sigaction action;
    sigaction(number, NULL, &action);
    if (action.sa_handler == on_signal && number == SIGINT && signals.ends_by_interrupt)
        action.sa_handler = SIG_DFL;
    if (action.sa_handler == on_signal) {
        push_handlers(L);
        lua_rawgeti(L, -1, number);
        lua_remove(L, -2);
    } else if (action.sa_handler == SIG_IGN) {
        lua_pushinteger(L, IGNORE);
    } else if (action.sa_handler == SIG_DFL) {
        lua_pushinteger(L, DEFAULT);
    } else {
        lua_pushnil(L); /* the embedding program's own */
    }
}

/* Whether the script handles the signal: its handler may end any wait. */
static void
note_handled(int number, bool is_handled)
{
    if (signals.is_handled[number] == is_handled)
        return;
    signals.is_handled[number] = is_handled;
    atomic_fetch_add(&amp_outsiders, is_handled ? 1 : -1);
}

/* The handler at the index becomes the signal's. */
static void
set_handler(lua_State *L, int number, int index)
{
    index = lua_absindex(L, index);
    /* No SA_RESTART: a read that is under way ends, so that the handler runs at once. */
    struct sigaction action = {.sa_handler = on_signal};
    sigfillset(&action.sa_mask);
    if (lua_isfunction(L, index)) {
        push_handlers(L);
        take_over(L);
        lua_pushvalue(L, index);
        lua_rawseti(L, -2, number);
        lua_pop(L, 1);
    } else {
        action.sa_handler = lua_tointeger(L, index) == IGNORE ? SIG_IGN : SIG_DFL;
    }
    if (sigaction(number, &action, NULL) != 0)
        luaL_error(L, "signal %d cannot be handled or ignored", number);
    note_handled(number, lua_isfunction(L, index) && lua_tocfunction(L, index) != luampB_interrupt);
    if (number == SIGINT) {
        signals.leaves_interrupts = false;
        signals.is_interrupt = lua_tocfunction(L, index) == luampB_interrupt;
        signals.ends_by_interrupt = false;
    }
}

static int
signal_signal(lua_State *L)
{
    int number = check_signal(L, 1);
    check_main_thread(L, "signal.signal");
    if (number == luampB_nudge_signal())
        return luaL_error(L, "signal %d is luamp's own: by it threads are ended", number);
    check_permission(L, number);
    if (!lua_isfunction(L, 2) &&
        !(lua_isinteger(L, 2) &&
          (lua_tointeger(L, 2) == DEFAULT || lua_tointeger(L, 2) == IGNORE)))
        return luaL_error(L, "bad argument #2 to 'signal' (a function, signal.SIG_DFL or "
                          "signal.SIG_IGN expected, got %s)", luaL_typename(L, 2));
    push_handler(L, number);
    set_handler(L, number, 2);
    return 1;
}

static int
signal_getsignal(lua_State *L)
{
    push_handler(L, check_signal(L, 1));
    return 1;
}

static struct timeval
seconds_argument(lua_State *L, int index, lua_Number default_value)
{
    lua_Number seconds = lua_isnoneornil(L, index) ? default_value : luampB_check_number(L, index);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e9, index, "a number of seconds, not negative");
    struct timeval value = {
        .tv_sec = (time_t) seconds,
        .tv_usec = (suseconds_t) lrint((seconds - floor(seconds)) * 1e6),
    };
    if (value.tv_usec >= 1000000) {
        value.tv_sec++;
        value.tv_usec = 0;
    }
    if (seconds > 0 && value.tv_sec == 0 && value.tv_usec == 0)
        value.tv_usec = 1;
    return value;
}

static lua_Number
to_seconds(struct timeval value)
{
    return (lua_Number) value.tv_sec + (lua_Number) value.tv_usec / 1e6;
}

/* alarm(s): what was left of the one before, in whole seconds, not rounded to nothing. */
static int
signal_alarm(lua_State *L)
{
    luampB_check_number(L, 1);
    struct itimerval timer = {.it_value = seconds_argument(L, 1, 0)}, old;
    setitimer(ITIMER_REAL, &timer, &old);
    lua_pushinteger(L, (lua_Integer) ceil(to_seconds(old.it_value)));
    return 1;
}

static int
signal_setitimer(lua_State *L)
{
    luampB_check_number(L, 1);
    struct itimerval timer = {
        .it_value = seconds_argument(L, 1, 0),
        .it_interval = seconds_argument(L, 2, 0),
    };
    struct itimerval old;
    setitimer(ITIMER_REAL, &timer, &old);
    lua_pushnumber(L, to_seconds(old.it_value));
    lua_pushnumber(L, to_seconds(old.it_interval));
    return 2;
}

static int
signal_pause(lua_State *L)
{
    check_main_thread(L, "signal.pause");
    if (!lua_isnoneornil(L, 1))
        return luaL_error(L, "pause takes no timeout; to wait for a time, use process.sleep, or set "
                          "signal.alarm before");
    if (amp_self.tid == 0)
        amp_thread_enter();
    /* A signal that came just before this call counts. */
    amp_sleep(AMP_FOREVER);
    luampB_run_handlers(L);
    return 0;
}

static int
signal_kill(lua_State *L)
{
    lua_Integer pid = luampB_check_integer(L, 1);
    int number = luampB_is_integer(L, 2, 0, 0) ? 0 : check_signal(L, 2);
    if (kill((pid_t) pid, number) != 0) {
        int error = errno;
        return luaL_error(L, "cannot send signal %d to process %I: %s", number, pid,
                          strerror(error));
    }
    luampB_run_handlers(L); /* one sent to ourselves is handled before the next line */
    return 0;
}

static int
signal_raise(lua_State *L)
{
    int number = check_signal(L, 1);
    if (luampB_in_thread()) /* to the process, whose main thread handles it */
        kill(getpid(), number);
    else
        raise(number);
    luampB_run_handlers(L);
    return 0;
}

static int
signal_strsignal(lua_State *L)
{
    lua_pushstring(L, strsignal(check_signal(L, 1)));
    return 1;
}

/*
 * Children, and the host.
 */

/* A child of the thread that handles signals inherits its handlers. One of another thread has a state
   that knows none of them: the signals have their default actions. */
void
luampB_signals_in_child(lua_State *L)
{
    memset((void *) signals.pending, 0, sizeof signals.pending);
    signals.interrupted = false;
    luampB_interrupts_anew();
    if (signals.leaves_interrupts)
        sigaction(SIGINT, &signals.left, NULL);
    signals.leaves_interrupts = false;
    const void *registry = signals.registry;
    bool is_ours = registry == NULL || lua_topointer(L, LUA_REGISTRYINDEX) == registry;
    for (int number = 1; number < SIGNALS && !is_ours; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == on_signal)
            signal(number, SIG_DFL);
        note_handled(number, false);
    }
    signals.registry = is_ours ? registry : NULL;
    signals.thread = getpid(); /* it is the only thread */
    if (is_ours && signals.is_interrupt) /* the handler stays: to change it would cost each child a page of code */
        signals.ends_by_interrupt = true;
    signals.is_interrupt = false;
}

void
luampB_leave_interrupts(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &action, &signals.left);
    signals.leaves_interrupts = true;
}

void
luampB_handle_interrupt(lua_State *L)
{
    struct sigaction action;
    sigaction(SIGINT, NULL, &action);
    if (action.sa_handler != SIG_DFL)
        return; /* ignored by who started us: a job in the background */
    lua_pushcfunction(L, luampB_interrupt);
    set_handler(L, SIGINT, -1);
    lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"signal", signal_signal},
    {"getsignal", signal_getsignal},
    {"alarm", signal_alarm},
    {"setitimer", signal_setitimer},
    {"pause", signal_pause},
    {"kill", signal_kill},
    {"raise", signal_raise},
    {"strsignal", signal_strsignal},
    {NULL, NULL},
};

#define NAMED(name) {#name, name}
static const struct {
    const char *name;
    int number;
} names[] = {
    NAMED(SIGHUP),    NAMED(SIGINT),  NAMED(SIGQUIT),   NAMED(SIGILL),  NAMED(SIGTRAP),
    NAMED(SIGABRT),   NAMED(SIGBUS),  NAMED(SIGFPE),    NAMED(SIGKILL), NAMED(SIGUSR1),
    NAMED(SIGSEGV),   NAMED(SIGUSR2), NAMED(SIGPIPE),   NAMED(SIGALRM), NAMED(SIGTERM),
    NAMED(SIGCHLD),   NAMED(SIGCONT), NAMED(SIGSTOP),   NAMED(SIGTSTP), NAMED(SIGTTIN),
    NAMED(SIGTTOU),   NAMED(SIGURG),  NAMED(SIGXCPU),   NAMED(SIGXFSZ), NAMED(SIGVTALRM),
    NAMED(SIGPROF),   NAMED(SIGWINCH), NAMED(SIGIO),    NAMED(SIGPWR),  NAMED(SIGSYS),
};

int
luampB_open_signal(lua_State *L)
{
    luaL_newlib(L, functions);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_pushinteger(L, names[i].number);
        lua_setfield(L, -2, names[i].name);
    }
    lua_pushinteger(L, SIGRTMIN);
    lua_setfield(L, -2, "SIGRTMIN");
    lua_pushinteger(L, SIGRTMAX);
    lua_setfield(L, -2, "SIGRTMAX");
    lua_pushinteger(L, DEFAULT);
    lua_setfield(L, -2, "SIG_DFL");
    lua_pushinteger(L, IGNORE);
    lua_setfield(L, -2, "SIG_IGN");
    return 1;
}
