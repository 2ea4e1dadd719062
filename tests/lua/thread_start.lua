-- thread.Thread: making, starting, what a thread is given and what it has of its own.

local t = require "tap"
local cli = require "host.cli"

local Thread = thread.Thread

local function script(text)
    cli.file("script.lua", text)
    return cli.run "script.lua"
end

-- Runs f(...) in a thread; gives what it returned, by a queue.
local results = ipc.Queue()
local function in_thread(f, ...)
    local th = Thread{
        target = function(...) results:put(table.pack(f(...))) end,
        args = table.pack(...),
    }
    th:start()
    local _, failure = th:join()
    if failure then
        error(failure, 0)
    end
    local got = results:get()
    return table.unpack(got, 1, got.n)
end

t.test("a thread runs its target with args and kwargs, nils included", function()
    local seen = ipc.Queue()
    local th = Thread{
        target = function(...) seen:put(table.pack(...)) end,
        args = {1, nil, "three", nil, n = 4},
        kwargs = {colour = "red"},
    }
    t.is(tostring(th), ('Thread "%s" (not started)'):format(th.name), "printed before")
    t.is(th:is_alive(), false, "not alive")
    t.is({th.ident, th.native_id}, {}, "no numbers")
    t.ok(th:start() == th, "start returns it")
    t.is({th:join()}, {true}, "joined")
    t.is(seen:get(), {1, nil, "three", nil, {colour = "red"}, n = 5}, "what it was given")
    t.is(th:is_alive(), false, "it has ended")
    t.is(tostring(th), ('Thread "%s" (ended)'):format(th.name), "printed after")
    t.ok(math.type(th.ident) == "integer" and math.type(th.native_id) == "integer", "numbers")
end)

t.test("it may be joined again", function()
    local th = Thread{target = function() end}
    th:start()
    t.is({th:join()}, {true}, "once")
    t.is({th:join(0)}, {true}, "and again")
end)

t.test("a thread that has nothing to run is not started", function()
    t.raises(function() Thread{target = misspelt}:start() end,
        'thread_start.lua:%d+: thread "Thread%-%d+" has no target, and its class no run', "without a target")
    t.raises(function() Thread{name = "idle"}:start() end, 'thread "idle" has no target', "named")
    t.raises(function() Thread:extend "Idle"():start() end, "has no target", "nor a class with a run")
end)

t.test("it is in the same process, and in a thread of its own", function()
    local pid, ident, native_id, name = in_thread(function()
        local me = thread.current_thread()
        return process.getpid(), me.ident, me.native_id, me.name
    end)
    t.is(pid, process.getpid(), "the pid")
    t.ok(ident ~= 1 and native_id ~= pid, "ident and native_id are its own")
    t.ok(name:find "^Thread%-%d+$", "its name: " .. name)
    local main = thread.current_thread()
    t.is({main.name, main.ident, main.native_id, main.daemon, main:is_alive()},
        {"MainThread", 1, process.getpid(), false, true}, "the main thread")
    t.ok(main == thread.current_thread(), "is the same each time")
    t.is(tostring(main), 'Thread "MainThread" (running)', "printed")
end)

t.test("the thread's own view of itself is as its starter's", function()
    local ask, answer = sync.Event(), ipc.Queue()
    local th = Thread{name = "worker", daemon = true, target = function()
        local me = thread.current_thread()
        answer:put{me.name, me.daemon, me.ident, me.native_id, me:is_alive(), tostring(me),
            me == thread.current_thread()}
        ask:wait()
    end}
    th:start()
    local got = answer:get()
    t.is(got, {"worker", true, th.ident, th.native_id, true, 'Thread "worker" (running)', true},
        "name, daemon, numbers")
    t.is(tostring(th), 'Thread "worker" (running)', "printed by the starter")
    t.is({th:join(0.01)}, {false, "timeout"}, "a join with a timeout")
    t.is({th:join(0)}, {false, "timeout"}, "and one that does not wait")
    t.is({th:join(-1)}, {false, "timeout"}, "less does not, either")
    t.is(th:is_alive(), true, "it runs on")
    ask:set()
    t.is({th:join(60)}, {true}, "then it ends")
end)

t.test("upvalues and arguments are copied, luamp objects shared", function()
    local copied, given, shared = {n = 1}, {n = 1}, ipc.Value("i", 1)
    local lock = sync.Lock()
    lock:acquire()
    local n, m, locked = in_thread(function(given)
        copied.n, given.n = copied.n + 1, given.n + 1
        shared:add(1)
        return copied.n, given.n, lock:locked()
    end, given)
    t.is({n, m, locked}, {2, 2, true}, "seen in the thread")
    t.is({copied.n, given.n, shared.value}, {1, 1, 2}, "and here")
    lock:release()
end)

t.test("globals are the thread's own; standard libraries and luamp's modules are there", function()
    a_global = "the main thread's"
    local seen, modules = in_thread(function()
        local before = a_global
        a_global = "the thread's"
        return before, type(string.format) == "function" and require "luamp.sync" == sync and
            require "thread" == thread and type(pool.Pool) == "function"
    end)
    t.is(seen, nil, "a global of the main thread's")
    t.is(a_global, "the main thread's", "is not changed")
    t.is(modules, true, "modules, by both names")
    a_global = nil
end)

t.test("package.path is inherited, so a module's function is found by its name", function()
    local path = in_thread(function() return package.path end)
    t.is(path, package.path, "the path")
    t.is(in_thread(function() return type(require "tap".ok) end), "function", "a module of it")
end)

t.test("names count in the process, and can be set until the start", function()
    local a, b = Thread{target = function() end}, Thread{}
    local n = math.tointeger(a.name:match "^Thread%-(%d+)$")
    t.is(b.name, "Thread-" .. n + 1, "one after the other")
    a.name = "first"
    t.is(a.name, "first", "set")
    t.raises(function() a.name = 5 end, "thread_start.lua:%d+: a thread's name is a string", "no string")
    a:start()
    t.raises(function() a.name = "x" end,
        "thread_start.lua:%d+: the name of a thread cannot be changed once it is started", "too late")
    t.raises(function() a.daemon = true end,
        "thread_start.lua:%d+: 'daemon' has to be set before the thread is started", "daemon too late")
    t.raises(function() a.ident = 3 end, "thread_start.lua:%d+: 'ident' of a thread cannot be set",
        "ident")
    a:join()
    local inner = in_thread(function() return thread.Thread{}.name end)
    t.ok(inner:find "^Thread%-%d+$" and inner ~= a.name and inner ~= b.name,
        "those that a thread makes go on in the same row: " .. inner)
end)

t.test("daemon is inherited from the thread that makes one", function()
    t.is(Thread{}.daemon, false, "the main thread's are none")
    t.is(in_thread(function() return thread.Thread{}.daemon end), false, "those of one that is none")
    local answer = ipc.Queue()
    Thread{daemon = true, target = function()
        answer:put{thread.Thread{}.daemon, thread.Thread{daemon = false}.daemon}
    end}:start():join()
    t.is(answer:get(), {true, false}, "those of a daemon are, unless it says otherwise")
end)

t.test("active_count counts the main thread, and those that live", function()
    t.is(thread.active_count(), 1, "alone")
    local stop, list = sync.Event(), {}
    for i = 1, 3 do
        list[i] = Thread{target = function() stop:wait() end}:start()
    end
    t.is(thread.active_count(), 4, "with three others")
    stop:set()
    for _, th in ipairs(list) do th:join() end
    t.is(thread.active_count(), 1, "and alone again")
end)

t.test("what is misspelt, or of the wrong type, raises and is named", function()
    t.raises(function() Thread{taget = print} end, "thread_start.lua:%d+: unknown option 'taget' of " ..
        "thread.Thread; did you mean 'target'%?", "an option")
    t.raises(function() Thread{[1] = print} end, "unknown option '1' of thread.Thread; options have names: {target = f}$",
        "a place")
    t.raises(function() Thread{target = 1} end,
        "thread_start.lua:%d+: option 'target' of thread.Thread: a function expected, got number",
        "target")
    for option in pairs {args = 1, kwargs = 1, name = 1, daemon = 1} do
        t.raises(function() Thread{[option] = print} end, "option '" .. option ..
            "' of thread.Thread: a %a+ expected, got function", option)
    end
    t.raises(function() Thread(print) end,
        "thread_start.lua:%d+: thread.Thread takes one table of options, not a function", "no table")
    t.raises(function() Thread{}.join() end, "thread_start.lua:%d+: 'join' wants a thread to its left",
        "no colon")
end)

t.test("a method that is misspelt is told with the right one", function()
    local r = script [[thread.Thread{}:strat()]]
    cli.expect("the hint", r, {status = 1, err = {"hint: %a+%.%a+ has 'start'"}})
    r = script [[thread.Timer(1, print):cancle()]]
    cli.expect("of a timer", r, {status = 1, err = {"hint: thread.Thread has 'cancel'"}})
    r = script [[thread.Tread{}]]
    cli.expect("of a class, too", r, {status = 1, err = {"hint: thread has 'Thread'"}})
end)

t.test("what is done in the wrong order raises", function()
    local th = Thread{name = "twice", target = function() end}
    t.raises(function() th:join() end,
        'thread_start.lua:%d+: thread "twice" is not started; call start%(%) first', "join before start")
    th:start()
    t.raises(function() th:start() end,
        'thread_start.lua:%d+: thread "twice" was started already', "a second start")
    th:join()
    t.raises(function() th:start() end, "was started already", "and one after its end")
    t.raises(function() thread.current_thread():join() end,
        "thread_start.lua:%d+: a thread cannot join itself", "the main thread joins itself")
    t.raises(function() thread.current_thread():start() end, "was started already",
        "or starts itself")
    t.raises(function() th:join("x") end, "thread_start.lua:%d+: join takes a number of seconds",
        "a join for a string")
    t.is(in_thread(function()
        return select(2, pcall(function() thread.current_thread():join() end))
    end):match ":%d+: (.*)", "a thread cannot join itself, nor the main thread", "a thread itself")
end)

t.test("a value that cannot be sent raises in start, with the path to it", function()
    for _, case in ipairs {
        {{target = print, args = {1, {log = io.stdout}}},
            "cannot send args%[2%].log: a file handle belongs to its process"},
        {{target = print, kwargs = {co = coroutine.create(print)}}, "cannot send kwargs.co: a coroutine"},
        {{target = print, args = {setmetatable({}, {})}}, "cannot send args%[1%]: it has a metatable"},
    } do
        local th = Thread(case[1])
        t.raises(function() th:start() end, "thread_start.lua:%d+: " .. case[2], case[2])
        t.is(th:is_alive(), false, "it is not started")
        t.is(th.ident, nil, "and has no number")
    end
    local file = io.stdout
    t.raises(function() Thread{target = function() return file end}:start() end,
        "cannot send target.*file.*: a file handle belongs to its process", "an upvalue, by its name")
    t.is(thread.active_count(), 1, "none was left")
end)

t.test("a thread starts threads, and hands itself around", function()
    local deep = ipc.Queue()
    local function nest(n)
        if n == 0 then
            deep:put("bottom")
        else
            thread.Thread{target = nest, args = {n - 1}}:start():join()
            deep:put(n)
        end
    end
    nest(5)
    local order = {}
    for i = 1, 6 do order[i] = deep:get() end
    t.is(order, {"bottom", 1, 2, 3, 4, 5}, "five deep")

    local stop = sync.Event()
    local th = Thread{name = "other", target = function() stop:wait() end}
    th:start()
    local name, ident, alive, gave_up, ended = in_thread(function(other)
        local alive, _, why = other:is_alive(), other:join(0)
        stop:set()
        return other.name, other.ident, alive, why, (other:join())
    end, th)
    t.is({name, ident, alive, gave_up, ended}, {"other", th.ident, true, "timeout", true},
        "a thread that is an argument can be joined")
end)

t.test_of_forks("another process may join a thread", function()
    local stop, q, answers = sync.Event(), ipc.Queue(), ipc.Queue()
    local p = process.spawn(function()
        local th = q:get()
        answers:put{th.name, th:is_alive(), th.ident or "unknown", select(2, th:join(0))}
        stop:set()
        answers:put{th:join(60), th:is_alive()}
    end)
    q:put(Thread{name = "seen from afar", target = function() stop:wait() end}:start())
    t.is(answers:get(), {"seen from afar", true, "unknown", "timeout"}, "while it runs")
    t.is(answers:get(), {true, false}, "and when it has ended")
    p:join()
end)

t.test("luamp objects go both ways: one made in a thread outlives it", function()
    local q = in_thread(function()
        local q = ipc.Queue()
        q:put("left in it")
        return q
    end)
    t.is(q:get(), "left in it", "a queue")
end)

t.test("the target may be a library function, or one of luamp's", function()
    t.is({Thread{target = process.sleep, args = {0.001}}:start():join()}, {true}, "process.sleep")
    t.is({Thread{target = table.sort, args = {{3, 1, 2}}}:start():join()}, {true}, "table.sort")
end)

-- Not by the time that they take, which says more about the machine than about us: with a lock that
-- lets only one of them run, the other would be asleep at each look.
t.test("two threads that compute both run, or are ready to", function()
    local begun, stop = sync.Semaphore(0), ipc.Value("i", 0)
    local threads = {}
    for i = 1, 2 do
        threads[i] = thread.Thread{target = function()
            begun:release()
            local x = 0
            while stop.value == 0 do
                for k = 1, 100000 do x = x + k % 7 end
            end
        end}:start()
    end
    begun:acquire()
    begun:acquire()
    local asleep = 0
    for _ = 1, 50 do
        for _, thread in ipairs(threads) do
            local f <close> = assert(io.open(("/proc/self/task/%d/stat"):format(thread.native_id)))
            if f:read("a"):match("%) (%a)") ~= "R" then asleep = asleep + 1 end
        end
        process.sleep(0.002)
    end
    stop.value = 1
    for _, thread in ipairs(threads) do thread:join() end
    t.ok(asleep <= 2, ("asleep at %d of 100 looks"):format(asleep)) -- a page may be waited for
end)

t.test("each thread's math.random begins elsewhere", function()
    local a = in_thread(function() return math.random(0) end)
    local b = in_thread(function() return math.random(0) end)
    t.ok(a ~= b, "two threads")
end)

t.test("coroutines, closures and goto work there as everywhere", function()
    local sum = in_thread(function()
        local gen = coroutine.wrap(function() for i = 1, 10 do coroutine.yield(i) end end)
        local sum = 0
        for i in gen do sum = sum + i end
        return sum
    end)
    t.is(sum, 55, "a generator")
end)

t.test("--no-short-names holds in threads, too", function()
    cli.file("script.lua", [[
local thread = require "luamp.thread"
thread.Thread{target = function()
    print(process, sync, thread ~= nil, pcall(require, "process"))
end}:start():join()]])
    local r = cli.run "--no-short-names script.lua"
    cli.expect("no globals", r, {status = 0, out = {"^nil\tnil\ttrue\tfalse\t"}})
end)

cli.done()
