-- alarm, setitimer and pause.

local t = require "tap"

local ALRM = signal.SIGALRM

t.test("alarm sends SIGALRM after its seconds, once", function()
    local n = 0
    signal.signal(ALRM, function() n = n + 1 end)
    local before = process.monotonic()
    t.is(signal.alarm(0.03), 0, "nothing was left")
    signal.pause()
    t.ok(process.monotonic() - before >= 0.03, "not before")
    t.is(n, 1, "the handler ran")
    process.sleep(0.1)
    t.is(n, 1, "once")
end)

t.test("alarm gives what was left of the one before, and replaces it", function()
    signal.signal(ALRM, function() end)
    signal.alarm(100)
    local left = signal.alarm(200)
    t.is(math.type(left), "integer", "whole seconds")
    t.ok(left == 100 or left == 99, "of the first: " .. left)
    left = signal.alarm(0)
    t.ok(left == 200 or left == 199, "of the second: " .. left)
    t.is(signal.alarm(0), 0, "alarm(0) cancels")
    signal.alarm(0.3)
    t.is(signal.alarm(0), 1, "a fraction that is left is not nothing")
end)

t.test("an alarm ends a process that does not handle it", function()
    local p = process.spawn(function()
        signal.signal(ALRM, signal.SIG_DFL)
        signal.alarm(0.01)
        while true do end
    end)
    p:join()
    t.is(p.exitcode, -ALRM, "exitcode")
end)

t.test("a child does not inherit its parent's alarm", function()
    signal.signal(ALRM, signal.SIG_DFL)
    signal.alarm(100)
    local q = ipc.Queue()
    local p = process.spawn(function() q:put(signal.alarm(0)) end)
    t.is(q:get(30), 0, "nothing is left in the child")
    p:join()
    t.ok(signal.alarm(0) > 90, "but in the parent")
end)

t.test("setitimer sends SIGALRM again and again", function()
    local n = 0
    signal.signal(ALRM, function() n = n + 1 end)
    local before = process.monotonic()
    signal.setitimer(0.01, 0.005)
    while n < 5 do end
    t.ok(process.monotonic() - before >= 0.03, "in its interval")
    local left, interval = signal.setitimer(0)
    t.ok(left <= 0.005 and left >= 0, "setitimer(0) ends it, and gives what was left: " .. left)
    t.is(interval, 0.005, "and the interval")
    local seen = n
    process.sleep(0.03)
    t.is(n, seen, "no more")
    t.is({signal.setitimer(0)}, {0.0, 0.0}, "nothing is left")
end)

t.test("setitimer without an interval fires once", function()
    local n = 0
    signal.signal(ALRM, function() n = n + 1 end)
    signal.setitimer(0.005)
    process.sleep(0.05)
    t.is(n, 1, "once")
end)

t.test("a handler of a timer runs inside a coroutine that computes", function()
    local n = 0
    signal.signal(ALRM, function() n = n + 1 end)
    signal.setitimer(0.002, 0.002)
    local deadline = process.monotonic() + 20
    coroutine.wrap(function()
        while n < 5 and process.monotonic() < deadline do
            for _ = 1, 10000 do end
        end
    end)()
    t.ok(n >= 5, "five times: " .. n)
    -- many switches while it fires
    local gen = coroutine.wrap(function() while true do coroutine.yield(1) end end)
    local target, sum = n + 20, 0
    while n < target and process.monotonic() < deadline do
        for _ = 1, 100 do sum = sum + gen() end
    end
    t.ok(n >= target, "and between switches: " .. n)
    signal.setitimer(0)
end)

t.test("pause waits for a signal with a handler, and for no other", function()
    local me, got = process.getpid(), nil
    signal.signal(signal.SIGUSR1, function() got = "USR1" end)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    local p = process.spawn(function()
        process.sleep(0.03)
        signal.kill(me, signal.SIGUSR2)
        process.sleep(0.03)
        signal.kill(me, signal.SIGUSR1)
    end)
    local before = process.monotonic()
    signal.pause()
    t.is(got, "USR1", "the handler has run when it returns")
    t.ok(process.monotonic() - before >= 0.05, "what is ignored does not end it")
    p:join()
    signal.signal(signal.SIGUSR1, function() error("by signal", 0) end)
    p = process.spawn(function()
        process.sleep(0.03)
        signal.kill(me, signal.SIGUSR1)
    end)
    t.is({pcall(signal.pause)}, {false, "by signal"}, "a handler that raises raises from pause")
    p:join()
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
end)

t.done()
