/*
 * embed: a program in C with a Lua state of its own, linked with libluamp. Prints TAP.
 */
#include "luamp.h"

#include <lauxlib.h>
#include <lualib.h>

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int count;
static int failed;

static void
ok(int kept, const char *promise)
{
    count++;
    if (!kept)
        failed++;
    printf("%s %d - %s\n", kept ? "ok" : "not ok", count, promise);
    fflush(stdout);
}

static int
succeeds(lua_State *L, const char *text)
{
    if (luaL_dostring(L, text) == LUA_OK)
        return 1;
    printf("# %s\n", lua_tostring(L, -1));
    lua_settop(L, 0);
    return 0;
}

static lua_State *
new_state(const luamp_Options *options)
{
    lua_State *L = luaL_newstate();

    if (L == NULL)
        exit(EXIT_FAILURE);
    luaL_openlibs(L);
    if (options)
        luamp_openlibs_with(L, options);
    else
        luamp_openlibs(L);
    return L;
}

/* Runs the text with the objects as its arguments; its results stay on the stack. */
static int
runs_with(lua_State *L, const char *text, luamp_Object *first, luamp_Object *second)
{
    int n = 0;

    lua_settop(L, 0);
    if (luaL_loadstring(L, text) == LUA_OK) {
        if (first)
            luamp_push(L, first), n++;
        if (second)
            luamp_push(L, second), n++;
        if (lua_pcall(L, n, LUA_MULTRET, 0) == LUA_OK)
            return 1;
    }
    printf("# %s\n", lua_tostring(L, -1));
    lua_settop(L, 0);
    return 0;
}

/*
 * Objects that go from C to Lua and back.
 */

static void
test_objects(void)
{
    lua_State *L = new_state(NULL);
    luamp_Object *o[7], *back;
    int right = 1;

    luamp_new_lock("l", &o[0]);
    luamp_new_rlock("r", &o[1]);
    luamp_new_semaphore("s", 2, &o[2]);
    luamp_new_bounded_semaphore("b", 2, &o[3]);
    luamp_new_event("e", &o[4]);
    luamp_new_value("v", 'i', &o[5]);
    luamp_new_queue("q", 3, &o[6]);
    for (int i = 0; i < 7; i++) {
        luamp_push(L, o[i]);
        luamp_push(L, o[i]);
        right = right && lua_rawequal(L, -1, -2) && luamp_to(L, -1, &back) == LUAMP_OK &&
                luamp_kind(back) == luamp_kind(o[i]);
        luamp_close(back);
        lua_pop(L, 1);
    }
    ok(right, "each kind of object is one value of Lua, and comes back");
    lua_settop(L, 0);
    ok(runs_with(L, "local l, q = ... assert(l:acquire(0) == l) assert(q:put('x'))", o[0], o[6]) &&
           luamp_release(o[0]) == LUAMP_OK && luamp_queue_size(o[6]) == 1,
       "a script and C use the same lock, and the same queue");
    ok(runs_with(L, "local s, v = ... s:acquire() v.value = 41", o[3], o[5]) &&
           luamp_release(o[3]) == LUAMP_OK && luamp_value_add(o[5], 1, NULL) == LUAMP_OK &&
           runs_with(L, "local e, v = ... assert(v.value == 42 and not e:is_set())", o[4], o[5]),
       "and the same semaphore, value and event");
    ok(luamp_acquire(o[5], LUAMP_NOW) == LUAMP_OK &&
           runs_with(L, "local v = ... v:get_lock():acquire() v:get_lock():release()", o[5], NULL) &&
           luamp_release(o[5]) == LUAMP_OK,
       "the lock of a value is the same, too");
    for (int i = 0; i < 7; i++)
        luamp_close(o[i]);

    ok(runs_with(L, "kept = require('luamp.ipc').Queue() kept:put(5) return kept", NULL, NULL) &&
           luamp_to(L, -1, &back) == LUAMP_OK,
       "C takes a handle of what a script made");
    luamp_Reader *reader = luamp_reader_new();
    int64_t n = 0;
    ok(succeeds(L, "kept = nil collectgarbage() collectgarbage()") &&
           luamp_get(back, reader, LUAMP_NOW) == LUAMP_OK &&
           luamp_read_integer(reader, &n) == LUAMP_OK && n == 5,
       "which keeps the object when the script has lost it");
    luamp_close(back);
    ok(runs_with(L, "return require('luamp.sync').Condition(), 5, 'x'", NULL, NULL) &&
           luamp_to(L, 1, &back) == LUAMP_WRONG_KIND && back == NULL &&
           luamp_to(L, 2, &back) == LUAMP_WRONG_KIND && luamp_to(L, 9, &back) == LUAMP_WRONG_KIND,
       "and of nothing else");
    luamp_reader_free(reader);
    lua_close(L);
}

/* One thread with two states. */
static void
test_two_states(void)
{
    lua_State *A = new_state(NULL), *B = new_state(NULL);
    luamp_Object *queue;

    luamp_new_queue("q", 0, &queue);
    luamp_push(A, queue);
    lua_setglobal(A, "q");
    luamp_push(B, queue);
    lua_setglobal(B, "q");
    luamp_close(queue);
    ok(succeeds(A, "q:put('from A') q = nil collectgarbage() collectgarbage()"), "one state drops it");
    ok(succeeds(B, "assert(q:get() == 'from A') q:put(1)"), "and the other goes on");
    lua_close(A);
    ok(succeeds(B, "assert(q:get() == 1)"), "also when the first is closed");
    lua_close(B);
}

/*
 * One format: C reads what Lua writes, and Lua what C writes.
 */

static void
test_messages(void)
{
    lua_State *L = new_state(NULL);
    luamp_Object *q, *object;
    luamp_Writer *w = luamp_writer_new();
    luamp_Reader *r = luamp_reader_new();
    luamp_Item item;
    const char *bytes;
    size_t length, items, id;
    int64_t n = 0;

    luamp_new_queue("q", 0, &q);
    luamp_write_table(w);
    luamp_write_text(w, "list");
    luamp_write_list(w);
    luamp_write_integer(w, -1000);
    luamp_write_nil(w);
    luamp_write_number(w, 0.5);
    luamp_write_string(w, "a\0b", 3);
    luamp_write_end(w);
    luamp_write_boolean(w, 1);
    luamp_write_object(w, q);
    luamp_write_end(w);
    ok(luamp_put(q, w, LUAMP_NOW) == LUAMP_OK &&
           runs_with(L, "local q = ... local t = q:get() assert(#t.list == 4 and t.list[1] == -1000 and "
                        "t.list[2] == nil and t.list[3] == 0.5 and math.type(t.list[3]) == 'float' and "
                        "t.list[4] == 'a\\0b' and t[true] == q and next(t, next(t, next(t))) == nil)",
                     q, NULL),
       "what C writes is what Lua reads");
    ok(luamp_put_bytes(q, "text", 4, LUAMP_NOW) == LUAMP_OK &&
           runs_with(L, "assert((...):get() == 'text')", q, NULL),
       "bytes are a string");

    ok(runs_with(L, "local q = ... local long = ('x'):rep(100) local shared = {7} "
                    "q:put {shared, shared, long, long, q, q, print, function() return q, long end, "
                    "{name = 'name'}, {name = 'name'}, n = 1}", q, NULL) &&
           luamp_get(q, r, LUAMP_NOW) == LUAMP_OK,
       "C gets what Lua has put");
    int right = luamp_read_table(r, &items) == LUAMP_OK && items == 10;
    right = right && luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TTABLE &&
            item.as.table.items == 1;
    id = item.as.table.id;
    right = right && luamp_read_integer(r, &n) == LUAMP_OK && n == 7 && luamp_read_end(r) == LUAMP_OK;
    right = right && luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TSAME &&
            item.as.table.id == id;
    ok(right, "a table that is shared is told once");
    for (int i = 0; i < 2; i++)
        right = right && luamp_read_string(r, &bytes, &length) == LUAMP_OK && length == 100 &&
                bytes[99] == 'x';
    ok(right, "a string that is shared, each time");
    for (int i = 0; i < 2; i++) {
        right = right && luamp_read_object(r, &object) == LUAMP_OK && luamp_kind(object) == LUAMP_QUEUE;
        luamp_close(right ? object : NULL);
    }
    ok(right, "and so is an object");
    for (int i = 0; i < 2; i++)
        right = right && luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TOTHER;
    ok(right, "functions are told to be something else");
    for (int i = 0; i < 2; i++) {
        right = right && luamp_read_table(r, &items) == LUAMP_OK;
        for (int k = 0; k < 2; k++)
            right = right && luamp_read_string(r, &bytes, &length) == LUAMP_OK && length == 4 &&
                    memcmp(bytes, "name", 4) == 0;
        right = right && luamp_read_end(r) == LUAMP_OK;
    }
    right = right && luamp_read_string(r, &bytes, &length) == LUAMP_OK &&
            luamp_read_integer(r, &n) == LUAMP_OK && n == 1 && luamp_read_end(r) == LUAMP_OK &&
            luamp_read(r, &item) == LUAMP_OK && item.type == LUAMP_TNONE;
    ok(right, "and strings that Lua writes in short are whole");
    luamp_reader_free(r);
    luamp_writer_free(w);
    luamp_close(q);
    lua_close(L);
}

/*
 * Options.
 */

static int hooked;

static void
note_child(lua_State *L, void *data)
{
    (void) L;
    hooked++;
    ++*(int *) data;
}

static int
get_hooked(lua_State *L)
{
    lua_pushinteger(L, hooked);
    return 1;
}

static int
open_with(lua_State *L)
{
    luamp_openlibs_with(L, lua_touserdata(L, 1));
    return 0;
}

static int
accepts(lua_State *L, void *options)
{
    lua_settop(L, 0);
    lua_pushcfunction(L, open_with);
    lua_pushlightuserdata(L, options);
    return lua_pcall(L, 1, 0, 0) == LUA_OK;
}

static void
test_options(void)
{
    luamp_Options options = LUAMP_OPTIONS_INIT;
    struct {
        luamp_Options known;
        void *new_one;
    } future = {LUAMP_OPTIONS_INIT, NULL};
    int *calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int before;
    lua_State *L;

    options.in_child = note_child;
    options.data = calls;
    L = new_state(&options);
    lua_register(L, "hooked", get_hooked);
    ok(succeeds(L, "local process, ipc = require 'luamp.process', require 'luamp.ipc' local q = ipc.Queue() "
                   "process.spawn(function() q:put(hooked()) end) assert(q:get() == 1)") &&
           hooked == 0 && *calls == 1,
       "in_child is called in a child, and only there");
    ok(succeeds(L, "local pool = require 'luamp.pool' "
                   "assert(pool.map(function() return hooked() end, {1})[1] == 1)"),
       "in the workers of a pool as well");
    before = *calls;
    ok(succeeds(L, "local thread = require 'luamp.thread' "
                   "local t = thread.Thread {target = function() "
                   "  local p = require 'luamp.process'.spawn(function() end) p:join() end} "
                   "t:start() t:join()") && *calls == before + 1,
       "and where a thread starts them");
    ok(succeeds(L, "local signal = require 'luamp.signal' "
                   "for _, name in ipairs {'SIGINT', 'SIGCHLD', 'SIGQUIT'} do "
                   "  local done, why = pcall(signal.signal, signal[name], signal.SIG_IGN) "
                   "  assert(not done and why:find 'is left to the program', why) end "
                   "signal.signal(signal.SIGUSR1, signal.SIG_DFL)"),
       "SIGINT, SIGCHLD and SIGQUIT are the program's");
    ok(succeeds(L, "local signal, process = require 'luamp.signal', require 'luamp.process' "
                   "local p = process.spawn(function() signal.signal(signal.SIGINT, signal.SIG_IGN) end) "
                   "p:join() assert(p.exitcode == 0)"),
       "but not in a child");
    ok(succeeds(L, "require 'luamp' assert(not pcall(require 'luamp.signal'.signal, 2, 0))"),
       "require \"luamp\" changes nothing of that");
    lua_close(L);

    options.in_child = NULL;
    options.signals |= LUAMP_SIGINT;
    options.short_names = 1;
    L = new_state(&options);
    ok(succeeds(L, "signal.signal(signal.SIGINT, signal.SIG_DFL) "
                   "assert(not pcall(signal.signal, signal.SIGQUIT, signal.SIG_DFL))"),
       "what is handed over is the script's, and short names are there");
    lua_close(L);

    L = luaL_newstate();
    luaL_openlibs(L);
    options.size = 0;
    ok(!accepts(L, &options), "options without a size are refused");
    options.size = offsetof(luamp_Options, signals);
    options.signals = 0;
    ok(accepts(L, &options) &&
           succeeds(L, "local s = require 'luamp.signal' s.signal(s.SIGUSR1, s.SIG_DFL)"),
       "of an older program those that it does not know are as ever");
    future.known.size = sizeof future;
    ok(accepts(L, &future), "a newer one is served");
    future.new_one = &future;
    ok(!accepts(L, &future), "unless it sets what is not known here");
    lua_close(L);

    L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "luamp", luaopen_luamp, 0);
    ok(succeeds(L, "local s = require 'luamp.signal' s.signal(s.SIGQUIT, s.SIG_DFL)"),
       "in stock Lua all signals are the script's");
    lua_close(L);
}

/* The allocation that is refused, counted from here; negative: none. It is refused to our own process only, and
   again when Lua has collected its garbage for it. */
static long allocations_left = -1;
static int refusals;
static pid_t refused;

static void *
allocate(void *unused, void *block, size_t old, size_t size)
{
    int grows = block == NULL || size > old;

    (void) unused;
    if (size == 0) {
        free(block);
        return NULL;
    }
    if (grows && allocations_left >= 0 && getpid() == refused && allocations_left-- == 0) {
        allocations_left = ++refusals % 2 == 1 ? 0 : -1;
        return NULL;
    }
    return realloc(block, size);
}

/* refuse(n): the allocation after n others. The last one: was it reached? */
static int
refuse(lua_State *L)
{
    lua_pushboolean(L, refusals > 0);
    refusals = 0;
    allocations_left = (long) luaL_checkinteger(L, 1);
    return 1;
}

/* A state with luamp, and with refuse(). */
static lua_State *
open_refusing(void)
{
    lua_State *L = lua_newstate(allocate, NULL);

    if (L == NULL)
        exit(EXIT_FAILURE);
    refused = getpid();
    luaL_openlibs(L);
    luamp_openlibs(L);
    lua_register(L, "refuse", refuse);
    return L;
}

/* A pool's iterator brings every item, or an error, and ends, whichever allocation is refused while it is read. */
static void
test_memory(void)
{
    lua_State *L = open_refusing();

    ok(succeeds(L,
                "local pool, signal = require 'luamp.pool', require 'luamp.signal'\n"
                "local p <close> = pool.Pool(1)\n"
                "local function same(x) if x == 7 then error('seven', 0) end return x end\n"
                "local function listed(x) return {same(x)} end\n"
                "local function two(x) return same(x), x end\n"
                "local list = {}\n"
                "for i = 1, 40 do list[i] = i end\n"
                "signal.signal(signal.SIGALRM, signal.SIG_DFL)\n"
                "for way, f in ipairs {same, listed, two} do\n"
                "    for size = 1, 4, 3 do\n"
                "        local n = 0\n"
                "        repeat\n"
                "            local it = p:imap(f, list, size)\n"
                "            signal.alarm(60)\n" /* ends the test, where it waits for ever */
                "            refuse(n)\n"
                "            local seen, failures, has_failed = 0, 0, false\n"
                "            repeat\n"
                "                local ok, i, v = pcall(it)\n"
                "                if ok and i then\n"
                "                    seen = seen + 1\n"
                "                    assert((way == 2 and v[1] or v) == list[i])\n"
                "                elseif not ok then\n"
                "                    failures = failures + 1\n"
                "                    has_failed = has_failed or i ~= 'seven'\n"
                "                end\n"
                "            until ok and not i\n"
                "            local is_reached = refuse(-1)\n"
                "            signal.alarm(0)\n"
                "            assert(failures > 0 and (has_failed or seen + failures == #list))\n"
                "            n = n + 1\n"
                "        until not is_reached\n"
                "    end\n"
                "end"),
       "an iterator of a pool ends, with an error, when it had no memory for an item");
    lua_close(L);
}

/* What could not be noted for want of memory was not started, whichever allocation is refused. */
static void
test_starts(void)
{
    lua_State *L = open_refusing();

    succeeds(L,
             "local luamp, members = require 'luamp', require 'luamp.members'\n"
             "local process, thread, pool = luamp.process, luamp.thread, luamp.pool\n"
             "local go\n"
             "local function wait() go:wait() end\n"
             "starts = {\n"
             "    process = function() return process.spawn(wait) end,\n"
             "    thread = function() return thread.Thread{target = go.wait, args = {go}}:start() end,\n"
             "    pool = function() return pool.Pool(2) end,\n"
             "}\n"
             "function try(what)\n"
             "    local n, failures = 0, 0\n"
             "    repeat\n"
             "        go = luamp.sync.Event()\n"
             "        refuse(n)\n"
             "        local ok, started = pcall(starts[what])\n"
             "        local is_reached = refuse(-1)\n"
             "        local others = #members.list() - 1\n"
             "        go:set()\n"
             "        if ok then\n"
             "            if what == 'pool' then started:terminate() else started:join() end\n"
             "        else\n"
             "            failures = failures + 1\n"
             "            assert(others == 0, started)\n"
             "        end\n"
             "        n = n + 1\n"
             "    until not is_reached\n"
             "    assert(failures > 3)\n"
             "end");
    ok(succeeds(L, "try 'process'"), "a process whose start fails for want of memory does not run");
    ok(succeeds(L, "try 'thread'"), "nor does a thread");
    ok(succeeds(L, "try 'pool'"), "nor do the workers of a pool");
    lua_close(L);
}

/* Each descriptor of /dev/null, which may be one that luamp keeps for its children, becomes one of another file:
   true if there was any. */
static int
replace_null_devices(int file)
{
    int replaced = 0;

    for (int number = STDERR_FILENO + 1; number < 64; number++) {
        char path[32], target[16];
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        ssize_t length = readlink(path, target, sizeof target);
        if (number != file && length == 9 && memcmp(target, "/dev/null", 9) == 0)
            replaced += dup2(file, number) == number;
    }
    return replaced > 0;
}

static void
test_stdin(void)
{
    const char *script = "local process = require 'luamp.process' "
                         "local p = process.spawn(function() assert(io.read 'a' == '') end) "
                         "p:join() assert(p.exitcode == 0)";
    lua_State *L = new_state(NULL);
    int file = memfd_create("not empty", 0);

    ok(file >= 0 && write(file, "text", 4) == 4 && lseek(file, 0, SEEK_SET) == 0 && succeeds(L, script),
       "a child's stdin is empty");
    ok(replace_null_devices(file) && succeeds(L, script),
       "also when what is kept for it has become another file");
    close(file);
    lua_close(L);
}

int
main(void)
{
    lua_State *L = luaL_newstate();

    if (L == NULL)
        return EXIT_FAILURE;
    luaL_openlibs(L);
    ok(strcmp(luamp_version(), LUAMP_VERSION) == 0, "the library is of the header's version");
    succeeds(L, "before = {} for name in pairs(_G) do before[name] = true end");
    luamp_openlibs(L);
    ok(succeeds(L, "for name in pairs(_G) do assert(before[name] or name == 'before', name) end"),
        "luamp_openlibs sets no global variable");
    ok(succeeds(L, "for _, name in ipairs {'process', 'signal', 'sync', 'ipc', 'pool'} do "
                   "assert(type(require('luamp.' .. name)) == 'table') end"),
        "every module can be required by its full name");
    ok(succeeds(L, "assert(type(require 'luamp') == 'table')"), "and so can all of them as one");
    lua_close(L);

    L = luaL_newstate();
    if (L == NULL)
        return EXIT_FAILURE;
    luaL_openlibs(L);
    luaL_requiref(L, "luamp", luaopen_luamp, 0);
    ok(lua_istable(L, -1), "luaopen_luamp gives the modules' table");
    lua_close(L);

    fflush(stdout);
    test_objects();
    test_two_states();
    test_messages();
    test_options();
    test_stdin();
    test_memory();
    test_starts();

    printf("1..%d\n", count);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
