/*
 * signal: signals for scripts.
 *
 * The C handler only takes a note: it marks the signal, ends a wait that is under way (wait.h), and
 * sets a hook, as Lua's own interpreter does for SIGINT. The script's handler runs from the hook,
 * between two instructions, or from the call that was blocked, with nothing held. Handlers belong
 * to the state that registered them, and run in the thread that did; another thread that gets the
 * signal passes it on.
 *
 * Lua keeps a hook for each coroutine, and does not tell which one runs. So coroutine.resume and
 * .wrap are replaced, in a state that has handlers, by ones that do what Lua's own do and take a
 * note: the hook is always on the coroutine that runs, and on no other.
 *
 * Nothing of the process is touched before the script, or the host, asks for it.
 */
#include "bind.h"

#include "process.h"

#include <lualib.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
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
    lua_State *L; /* main thread of the state that handles signals, or NULL */
    const void *registry; /* its registry, by which its coroutines are known */
    lua_State *volatile running; /* the coroutine of it that runs, as far as resume() knows */
    lua_State *volatile hooked; /* has our hook in place of the one below; or NULL */
    lua_Hook old_hook;
    int old_mask, old_count;
    pid_t thread; /* in which it runs */
    volatile sig_atomic_t pending[SIGNALS];
    volatile sig_atomic_t interrupted; /* Ctrl-C has raised an error */
    int deferred; /* how deep in what handlers must not disturb */
} signals;

/*
 * From the signal to the handler.
 */

static void
put_back_hook(lua_State *L)
{
    lua_sethook(L, signals.old_hook, signals.old_mask, signals.old_count);
}

static void
run_from_hook(lua_State *L, lua_Debug *ar)
{
    (void) ar;
    put_back_hook(L); /* also of a coroutine that was made just then, and so inherited the hook */
    if (L == signals.hooked)
        signals.hooked = NULL;
    luampB_run_handlers(L);
}

static void
hook(lua_State *L)
{
    signals.old_hook = lua_gethook(L);
    signals.old_mask = lua_gethookmask(L);
    signals.old_count = lua_gethookcount(L);
    signals.hooked = L;
    lua_sethook(L, run_from_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* Also called by the C handler. */
static void
set_hook(void)
{
    if (signals.hooked == NULL && signals.L != NULL)
        hook(signals.running);
}

/* From here on this coroutine runs. A signal that comes meanwhile finds a hook that is set, or sets
   it on the right one. */
static void
switch_to(lua_State *L)
{
    signals.running = L;
    lua_State *late = signals.hooked; /* the signal came before the handler could be run there */
    if (late != NULL && late != L) {
        put_back_hook(late);
        hook(L);
    }
}

/* lua_resume, for a coroutine of any state. */
static int
resume(lua_State *co, lua_State *L, int nargs, int *nresults)
{
    if (lua_topointer(L, LUA_REGISTRYINDEX) != signals.registry)
        return lua_resume(co, L, nargs, nresults);
    lua_State *before = signals.running;
    switch_to(co);
    int status = lua_resume(co, L, nargs, nresults);
    switch_to(before);
    return status;
}

/* Resumes the coroutine with the topmost values, and moves what it gives, or its error, here: how
   many values, or -1. */
static int
resume_with(lua_State *L, lua_State *co, int nargs)
{
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    int nresults;
    int status = resume(co, L, nargs, &nresults);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, nresults + 1)) {
        lua_pop(co, nresults);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, nresults);
    return nresults;
}

static int
coroutine_resume(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    int n = resume_with(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, n >= 0);
    if (n < 0)
        n = 1;
    lua_insert(L, -n - 1);
    return n + 1;
}

/* What coroutine.wrap gives: its errors are raised, with the place of the call before a message. */
static int
resume_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int n = resume_with(L, co, lua_gettop(L));
    if (n >= 0)
        return n;
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = lua_resetthread(co); /* closes what is to be closed */
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int
coroutine_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, resume_wrapped, 1);
    return 1;
}

/* Puts ours in the place of Lua's own, but not of what the program has put there. */
static void
replace_resume(lua_State *L)
{
    static const luaL_Reg ours[] = {
        {"resume", coroutine_resume}, {"wrap", coroutine_wrap}, {NULL, NULL},
    };
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, LUA_COLIBNAME) == LUA_TTABLE) {
        for (const luaL_Reg *f = ours; f->name != NULL; f++) {
            lua_getfield(L, -1, f->name);
            if (lua_iscfunction(L, -1)) {
                lua_pushcfunction(L, f->func);
                lua_setfield(L, -3, f->name);
            }
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 2);
}

static void
on_signal(int number)
{
    int error = errno;
    if (amp_self.tid != 0 && (pid_t) syscall(SYS_gettid) != signals.thread) {
        syscall(SYS_tgkill, getpid(), signals.thread, number);
    } else {
        signals.pending[number] = 1;
        amp_signal_arrived();
        set_hook();
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

void
luampB_defer_handlers(bool on)
{
    signals.deferred += on ? 1 : -1;
    if (signals.deferred == 0 && next_pending() != 0) {
        amp_self.signalled = 1;
        set_hook();
    }
}

void
luampB_run_handlers(lua_State *L)
{
    amp_self.signalled = 0;
    if (signals.deferred > 0)
        return;
    int number;
    while ((number = next_pending()) != 0) {
        signals.pending[number] = 0;
        if (next_pending() != 0) { /* should this handler raise, the others still run */
            amp_self.signalled = 1;
            set_hook();
        }
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

static int
run_protected(lua_State *L)
{
    luampB_run_handlers(L);
    return 0;
}

bool
luampB_run_handlers_protected(lua_State *L)
{
    lua_pushcfunction(L, run_protected);
    return lua_pcall(L, 0, 0, 0) != LUA_OK;
}

int
luampB_interrupt(lua_State *L)
{
    signals.interrupted = 1;
    lua_pushliteral(L, "interrupted!");
    return lua_error(L);
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
    lua_Integer number = luaL_checkinteger(L, index);
    luaL_argcheck(L, number >= 1 && number < SIGNALS, index, "no such signal");
    return (int) number;
}

/* The state is closed: signals that come from here on find nobody. */
static int
handlers_gc(lua_State *L)
{
    if (lua_topointer(L, LUA_REGISTRYINDEX) == signals.registry) {
        signals.L = NULL;
        signals.registry = NULL;
        signals.hooked = NULL;
    }
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
    replace_resume(L);
}

/* This state handles signals from here on. */
static void
take_over(lua_State *L)
{
    if (lua_topointer(L, LUA_REGISTRYINDEX) == signals.registry)
        return;
    if (amp_self.tid == 0)
        amp_thread_enter();
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    signals.running = lua_tothread(L, -1);
    signals.hooked = NULL;
    signals.thread = (pid_t) syscall(SYS_gettid);
    signals.registry = lua_topointer(L, LUA_REGISTRYINDEX);
    signals.L = lua_tothread(L, -1);
    lua_pop(L, 1);
}

static void
push_handler(lua_State *L, int number)
{
    struct sigaction action;
    sigaction(number, NULL, &action);
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
}

static int
signal_signal(lua_State *L)
{
    int number = check_signal(L, 1);
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
    lua_Number seconds = luaL_optnumber(L, index, default_value);
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
    luaL_checknumber(L, 1);
    struct itimerval timer = {.it_value = seconds_argument(L, 1, 0)}, old;
    setitimer(ITIMER_REAL, &timer, &old);
    lua_pushinteger(L, (lua_Integer) ceil(to_seconds(old.it_value)));
    return 1;
}

static int
signal_setitimer(lua_State *L)
{
    luaL_checknumber(L, 1);
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
    lua_Integer pid = luaL_checkinteger(L, 1);
    int number = lua_isinteger(L, 2) && lua_tointeger(L, 2) == 0 ? 0 : check_signal(L, 2);
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
    raise(check_signal(L, 1));
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

void
luampB_signals_in_child(lua_State *L)
{
    memset((void *) signals.pending, 0, sizeof signals.pending);
    signals.interrupted = 0;
    signals.deferred = 0;
    if (signals.hooked != NULL) {
        put_back_hook(signals.hooked);
        signals.hooked = NULL;
    }
    signals.thread = (pid_t) syscall(SYS_gettid);
    push_handler(L, SIGINT);
    if (lua_tocfunction(L, -1) == luampB_interrupt)
        signal(SIGINT, SIG_DFL);
    lua_pop(L, 1);
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
