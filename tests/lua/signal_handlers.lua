-- Handlers: how they are registered, when they run, and what they may do.

local t = require "tap"

local USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2
local me = process.getpid()

t.test("signal registers a handler and gives the one before", function()
    local function f() end
    local function g() end
    t.is(signal.signal(USR1, f), signal.SIG_DFL, "at first the default")
    t.ok(signal.getsignal(USR1) == f, "getsignal gives it")
    t.ok(signal.signal(USR1, g) == f, "the one before")
    t.ok(signal.signal(USR1, signal.SIG_IGN) == g, "ignored")
    t.is(signal.getsignal(USR1), signal.SIG_IGN, "getsignal says so")
    t.is(signal.signal(USR1, signal.SIG_DFL), signal.SIG_IGN, "default")
    t.is(signal.getsignal(USR1), signal.SIG_DFL, "getsignal says so")
end)

t.test("signals are there by name", function()
    for name, number in pairs {SIGHUP = 1, SIGINT = 2, SIGKILL = 9, SIGTERM = 15} do
        t.is(signal[name], number, name)
    end
    for _, name in ipairs {"SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM", "SIGPIPE", "SIGSTOP",
        "SIGCONT", "SIGSEGV", "SIGQUIT", "SIGWINCH", "SIGRTMIN", "SIGRTMAX"} do
        t.is(math.type(signal[name]), "integer", name)
    end
    t.is(signal.strsignal(signal.SIGKILL), "Killed", "strsignal")
end)

t.test("a handler gets the signal's number, and runs before the next line", function()
    local got
    signal.signal(USR1, function(...) got = table.pack(...) end)
    signal.raise(USR1)
    t.is(got, {USR1, n = 1}, "raise")
    got = nil
    signal.kill(me, USR1)
    t.is(got, {USR1, n = 1}, "kill of oneself")
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("one handler can be for several signals", function()
    local got = {}
    local function f(number) got[#got + 1] = number end
    signal.signal(USR1, f)
    signal.signal(USR2, f)
    signal.raise(USR2)
    signal.raise(USR1)
    t.is(got, {USR2, USR1}, "each comes")
    signal.signal(USR1, signal.SIG_DFL)
    signal.signal(USR2, signal.SIG_DFL)
end)

-- A child that sends a signal to this process once it is told to.
local function sender(number, delay)
    return process.spawn(function()
        process.sleep(delay or 0.02)
        signal.kill(me, number)
    end)
end

t.test("a handler runs between two instructions of a loop that calls nothing", function()
    local done = false
    signal.signal(USR1, function() done = true end)
    local p = sender(USR1)
    local n = 0
    while not done do n = n + 1 end
    t.ok(n > 0, "the loop was left")
    p:join()
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("a handler runs inside a coroutine that computes", function()
    local done = false
    signal.signal(USR1, function() done = true end)
    local function compute()
        local deadline = process.monotonic() + 20
        while not done do
            for _ = 1, 1000 do end
            if process.monotonic() > deadline then return "too late" end
        end
        return "at once"
    end
    local p = sender(USR1)
    t.is(coroutine.wrap(compute)(), "at once", "wrap")
    p:join()
    done = false
    p = sender(USR1)
    t.is({coroutine.resume(coroutine.create(compute))}, {true, "at once"}, "resume")
    p:join()
    done = false
    p = sender(USR1)
    t.is(coroutine.wrap(function()
        return coroutine.wrap(compute)()
    end)(), "at once", "a coroutine in a coroutine")
    p:join()
    done = false
    p = sender(USR1)
    local inner = coroutine.wrap(function() coroutine.yield() end)
    t.is(coroutine.wrap(function()
        inner()
        return compute()
    end)(), "at once", "after another one came back")
    p:join()
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("a handler that raises ends a coroutine as any error does", function()
    signal.signal(USR1, function() error("by signal", 0) end)
    local p = sender(USR1)
    local co = coroutine.create(function() while true do end end)
    t.is({coroutine.resume(co)}, {false, "by signal"}, "resume tells")
    t.is(coroutine.status(co), "dead", "it is dead")
    p:join()
    p = sender(USR1)
    local ok, message = pcall(coroutine.wrap(function() while true do end end))
    t.ok(not ok and message:find "by signal$", "wrap raises: " .. tostring(message))
    p:join()
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("coroutines are what they always are", function()
    local co = coroutine.create(function(a, b)
        local c, d = coroutine.yield(a + b, nil)
        t.is(coroutine.isyieldable(), true, "isyieldable")
        return c, d, nil
    end)
    t.is({coroutine.resume(co, 1, 2)}, {true, 3, nil}, "arguments and yield")
    t.is(coroutine.status(co), "suspended", "status")
    t.is(select("#", coroutine.resume(co, 5, 6)), 4, "results, nils too")
    t.is({coroutine.resume(co)}, {false, "cannot resume dead coroutine"}, "a dead one")
    local self
    self = coroutine.create(function() return coroutine.resume(self) end)
    t.is({coroutine.resume(self)}, {true, false, "cannot resume non-suspended coroutine"}, "itself")
    t.raises(function() coroutine.resume(5) end, "bad argument #1 to 'resume' %(coroutine expected",
        "no coroutine")
    t.raises(function() coroutine.wrap(5) end, "bad argument #1 to 'wrap' %(function expected",
        "no function")
    local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
    t.is({gen(), gen(), gen(), gen()}, {1, 2, 3}, "wrap")
    t.raises(gen, "cannot resume dead coroutine", "a dead wrap")
    local closed = false
    local failing = coroutine.wrap(function()
        local _ <close> = setmetatable({}, {__close = function() closed = true end})
        error {code = 5}
    end)
    local ok, e = pcall(failing)
    t.is({ok, e, closed}, {false, {code = 5}, true},
        "an error in a wrap closes what is to be closed")
    t.raises(coroutine.wrap(function() error "x" end), "signal_handlers.lua:%d+: .*x",
        "with its place")
    local many = {}
    for i = 1, 200 do many[i] = i end
    t.is(select("#", coroutine.resume(coroutine.create(function(...) return ... end),
        table.unpack(many))), 201, "many values")
    local depth = 0
    local function nest()
        depth = depth + 1
        return coroutine.wrap(nest)()
    end
    t.raises(nest, "C stack overflow", "too many inside each other")
    t.ok(depth > 100, "but not a few: " .. depth)
end)

t.test("a hook of the script stays its hook", function()
    local lines = 0
    debug.sethook(function() lines = lines + 1 end, "l")
    local hook = debug.gethook()
    local done = false
    signal.signal(USR1, function() done = true end)
    signal.raise(USR1)
    local before = lines
    local x = 1
    x = x + 1
    t.ok(lines > before, "it is called after a signal")
    t.ok(debug.gethook() == hook, "and is what it was")
    debug.sethook()
    t.is(done, true, "the handler ran")
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("a handler may do what any function may", function()
    local q = ipc.Queue()
    signal.signal(USR1, function()
        local p = process.spawn(function() q:put "from a handler's child" end)
        p:join()
        process.sleep(0.01)
        q:put "from the handler"
    end)
    signal.raise(USR1)
    t.is({q:get(), q:get()}, {"from a handler's child", "from the handler"},
        "start, join, sleep, put")
    signal.signal(USR1, function() signal.signal(USR1, function() q:put "the second" end) end)
    signal.raise(USR1)
    signal.raise(USR1)
    t.is(q:get(), "the second", "register another")
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("a handler that is interrupted by another one goes on afterwards", function()
    local order = {}
    signal.signal(USR1, function()
        order[#order + 1] = "begin"
        signal.raise(USR2)
        order[#order + 1] = "end"
    end)
    signal.signal(USR2, function() order[#order + 1] = "inner" end)
    signal.raise(USR1)
    t.is(order, {"begin", "inner", "end"}, "in this order")
    signal.signal(USR1, signal.SIG_DFL)
    signal.signal(USR2, signal.SIG_DFL)
end)

t.test("when a handler raises, those of other signals that came still run", function()
    local ran = false
    signal.signal(USR1, function() error("first", 0) end)
    signal.signal(USR2, function() ran = true end)
    local ok, e = pcall(function()
        local p = process.spawn(function()
            signal.kill(me, signal.SIGSTOP)
            signal.kill(me, USR1)
            signal.kill(me, USR2)
            signal.kill(me, signal.SIGCONT)
        end)
        local deadline = process.monotonic() + 20
        while process.monotonic() < deadline do end
        p:join()
    end)
    t.is({ok, e}, {false, "first"}, "the error arrives")
    local deadline = process.monotonic() + 20
    while not ran and process.monotonic() < deadline do end
    t.is(ran, true, "and the other handler ran")
    signal.signal(USR1, signal.SIG_DFL)
    signal.signal(USR2, signal.SIG_DFL)
    for _, p in ipairs(process.active_children()) do p:join() end
end)

t.test("a child inherits handlers, and what is ignored", function()
    local seen = ipc.Queue()
    signal.signal(USR1, function(number) seen:put {process.current_process().name, number} end)
    signal.signal(USR2, signal.SIG_IGN)
    local p = process.spawn(function()
        signal.kill(process.getpid(), USR2)
        seen:put(signal.getsignal(USR2))
        process.sleep(600)
    end)
    t.is(seen:get(30), signal.SIG_IGN, "ignored")
    p:send_signal(USR1)
    t.is(seen:get(30), {p.name, USR1}, "handled by the child")
    p:kill()
    p:join()
    signal.signal(USR1, signal.SIG_DFL)
    signal.signal(USR2, signal.SIG_DFL)
end)

t.test("a signal for the parent that has not been handled is not the child's", function()
    local seen = ipc.Queue()
    signal.signal(USR1, function()
        seen:put(process.current_process().name)
    end)
    for _ = 1, 20 do
        local p = process.spawn(function() for _ = 1, 1000 do end end)
        signal.kill(me, USR1)
        p:join()
    end
    local names = {}
    for _ = 1, 20 do names[seen:get(30)] = true end
    t.is(names, {MainProcess = true}, "only the parent handled it")
    t.is(seen:qsize(), 0, "once each")
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("in a child SIGINT has its default action, unless a handler is set", function()
    local p = process.spawn(function() process.sleep(600) end)
    p:interrupt()
    p:join()
    t.is(p.exitcode, -signal.SIGINT, "default")
    local q = ipc.Queue()
    p = process.spawn(function()
        signal.signal(signal.SIGINT, function() q:put "handled" end)
        q:put "ready"
        process.sleep(600)
    end)
    q:get()
    p:interrupt()
    t.is(q:get(30), "handled", "its own handler")
    p:kill()
    p:join()
    local old = signal.signal(signal.SIGINT, function() q:put(process.current_process().name) end)
    p = process.spawn(function()
        q:put "ready"
        process.sleep(600)
    end)
    q:get()
    p:interrupt()
    t.is(q:get(30), p.name, "an inherited one")
    p:kill()
    p:join()
    signal.signal(signal.SIGINT, old)
end)

t.test("many signals in a row are handled without one that is lost for ever", function()
    local n = 0
    signal.signal(USR1, function() n = n + 1 end)
    for _ = 1, 1000 do signal.raise(USR1) end
    t.is(n, 1000, "raised one by one, each is handled")
    n = 0
    local p = process.spawn(function()
        for _ = 1, 1000 do signal.kill(me, USR1) end
    end)
    while not p:join(0.001) do end
    t.ok(n >= 1, "those that come together may be one: " .. n)
    signal.signal(USR1, signal.SIG_DFL)
end)

local here = "signal_handlers.lua:%d+: "
for _, case in ipairs {
    {"no such signal", function() signal.signal(4711, print) end, here .. ".*no such signal"},
    {"signal 0", function() signal.signal(0, print) end, here .. ".*no such signal"},
    {"a signal's name in place of its number", function() signal.signal("SIGUSR1", print) end,
        here .. ".*number"},
    {"no handler", function() signal.signal(USR1) end,
        here .. ".*a function, signal.SIG_DFL or signal.SIG_IGN"},
    {"a handler that is no function", function() signal.signal(USR1, "x") end,
        here .. ".*function.*got string"},
    {"a number that is neither", function() signal.signal(USR1, 7) end, here .. ".*function"},
    {"SIGKILL, which cannot be handled", function() signal.signal(signal.SIGKILL, print) end,
        here .. ".*9 cannot be handled"},
    {"SIGSTOP, which cannot be ignored", function() signal.signal(signal.SIGSTOP,
        signal.SIG_IGN) end, here .. ".*cannot be handled"},
    {"getsignal of no such signal", function() signal.getsignal(-1) end,
        here .. ".*no such signal"},
    {"raise of no such signal", function() signal.raise(99) end, here .. ".*no such signal"},
    {"kill of no such process", function() signal.kill(0x3ffffffe, USR1) end,
        here .. ".*cannot send signal %d+ to process %d+: No such process"},
    {"kill without a signal", function() signal.kill(me) end, here .. ".*number"},
    {"alarm without a number", function() signal.alarm() end, here .. ".*number"},
    {"alarm in the past", function() signal.alarm(-1) end, here .. ".*seconds"},
    {"setitimer in the past", function() signal.setitimer(-1) end, here .. ".*seconds"},
    {"setitimer with a wrong interval", function() signal.setitimer(1, "x") end,
        here .. ".*number"},
} do
    t.raises(case[2], case[3], case[1] .. " raises at the caller's line")
end
t.is(signal.getsignal(signal.SIGKILL), signal.SIG_DFL, "what failed changed nothing")
t.ok(pcall(signal.kill, me, 0), "signal 0 asks whether a process is there")

t.done()
