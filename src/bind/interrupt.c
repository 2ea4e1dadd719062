/*
 * interrupt: what comes from outside gets in between two instructions of a script.
 *
 * Signals (signal.c) and orders to a thread (thread.c) arrive in a handler of the process, which may
 * do next to nothing: it marks what has come, ends a wait that is under way (wait.h), and sets a
 * hook, as Lua's own interpreter does for SIGINT. From the hook, or from the call that was blocked,
 * luampB_run_handlers then does the rest, with nothing held.
 *
 * Each operating-system thread has at most one state that can be interrupted; what is known of it is
 * the thread's own, so a handler that runs in a thread touches that thread's state and no other.
 *
 * Lua keeps a hook for each coroutine, and does not tell which one runs. So coroutine.resume and
 * .wrap are replaced, in a state that can be interrupted, by ones that do what Lua's own do and take
 * a note: the hook is always on the coroutine that runs, and on no other.
 */
#include "bind.h"

#include <limits.h>

#include <lualib.h>

static const char guard_key; /* registry: a userdata that is collected when the state is closed */

static __thread struct {
    lua_State *L;                  /* the state's main thread, or NULL: there is none */
    const void *registry;          /* its registry, by which its coroutines are known */
    lua_State *volatile running;   /* the coroutine that runs, as far as resume() knows */
    lua_State *volatile hooked;    /* has our hook in place of the one below; or NULL */
    lua_Hook old_hook;
    int old_mask, old_count;
    int deferred;                  /* how deep in what handlers must not disturb */
    bool holds_collector;          /* in what finalizers must not disturb */
} state;

/*
 * The hook.
 */

static void
put_back_hook(lua_State *L)
{
    lua_sethook(L, state.old_hook, state.old_mask, state.old_count);
}

static void
run_from_hook(lua_State *L, lua_Debug *ar)
{
    (void) ar;
    put_back_hook(L); /* also of a coroutine that was made just then, and so inherited the hook */
    if (L == state.hooked)
        state.hooked = NULL;
    luampB_run_handlers(L);
}

/* A thread is told nothing but to end, by an error at each next instruction. C functions are let in
   peace there: those that close a lock, or another thing, do it. */
static void
hook(lua_State *L)
{
    int mask = LUA_MASKCOUNT;
    if (!luampB_in_thread())
        mask |= LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE;
    state.old_hook = lua_gethook(L);
    state.old_mask = lua_gethookmask(L);
    state.old_count = lua_gethookcount(L);
    state.hooked = L;
    lua_sethook(L, run_from_hook, mask, 1);
}

void
luampB_interrupt_soon(void)
{
    amp_signal_arrived();
    if (state.hooked == NULL && state.L != NULL)
        hook(state.running);
}

void
luampB_interrupt_no_more(void)
{
    if (state.hooked != NULL)
        put_back_hook(state.hooked);
    state.hooked = NULL;
    amp_self.signalled = 0;
}

/*
 * Coroutines.
 */

/* From here on this coroutine runs. A signal that comes meanwhile finds a hook that is set, or sets
   it on the right one. */
static void
switch_to(lua_State *L)
{
    state.running = L;
    lua_State *late = state.hooked; /* the signal came before the handler could be run there */
    if (late != NULL && late != L) {
        put_back_hook(late);
        hook(L);
    }
}

/* lua_resume, for a coroutine of any state. */
static int
resume(lua_State *co, lua_State *L, int nargs, int *nresults)
{
    if (!luampB_is_interruptible(L))
        return lua_resume(co, L, nargs, nresults);
    lua_State *before = state.running;
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

/*
 * States.
 */

/* The state is closed: what comes from here on finds nobody. */
static int
guard_gc(lua_State *L)
{
    if (luampB_is_interruptible(L)) {
        state.L = NULL;
        state.registry = NULL;
        state.hooked = NULL;
    }
    return 0;
}

bool
luampB_is_interruptible(lua_State *L)
{
    return state.L != NULL && lua_topointer(L, LUA_REGISTRYINDEX) == state.registry;
}

void
luampB_interruptible(lua_State *L)
{
    if (luampB_is_interruptible(L))
        return;
    if (amp_self.tid == 0)
        amp_thread_enter();
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &guard_key) != LUA_TUSERDATA) {
        lua_newuserdatauv(L, 0, 0);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, guard_gc);
        lua_setfield(L, -2, "__gc");
        lua_setmetatable(L, -2);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &guard_key);
        replace_resume(L);
    }
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    state.running = lua_tothread(L, -1);
    state.hooked = NULL;
    state.registry = lua_topointer(L, LUA_REGISTRYINDEX);
    state.L = lua_tothread(L, -1);
    lua_pop(L, 1);
}

/*
 * What has come.
 */

void
luampB_defer_handlers(bool on)
{
    state.deferred += on ? 1 : -1;
    if (state.deferred == 0 && (luampB_signals_are_pending(state.registry) || luampB_thread_is_ordered()))
        luampB_interrupt_soon();
}

/* The collector's clock is put back by so much, and later forward again: in between it does not run, and then it goes
   on as if nothing had been. (Stopped and restarted, it would begin to run at each restart.) */
enum { LONG = INT_MAX }; /* kilobytes to be allocated */

static bool
hold_collector(lua_State *L)
{
    if (state.holds_collector || lua_gc(L, LUA_GCISRUNNING) != 1)
        return false;
    lua_gc(L, LUA_GCSTEP, -LONG);
    return state.holds_collector = true;
}

void
luampB_release_collector(lua_State *L)
{
    if (!state.holds_collector)
        return;
    state.holds_collector = false;
    lua_gc(L, LUA_GCSTEP, LONG);
}

int
luampB_undisturbed(lua_State *L)
{
    luampB_defer_handlers(true);
    bool holds_collector = hold_collector(L);
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    luampB_defer_handlers(false); /* first: a finalizer that waits can be disturbed */
    if (holds_collector)
        luampB_release_collector(L);
    if (status != LUA_OK)
        return lua_error(L);
    return lua_gettop(L);
}

void
luampB_run_handlers(lua_State *L)
{
    amp_self.signalled = 0;
    if (state.deferred > 0)
        return;
    luampB_obey_orders(L);
    luampB_handle_signals(L);
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

void
luampB_interrupts_anew(void)
{
    state.deferred = 0;
    luampB_interrupt_no_more();
}
