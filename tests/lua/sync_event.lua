-- sync.Event.

local members = require "members"
local t = require "tap"

t.test("set, clear and is_set", function()
    local e = sync.Event()
    t.is(e:is_set(), false, "new")
    e:set()
    e:set()
    t.is(e:is_set(), true, "set twice")
    t.is({e:wait()}, {true}, "a wait is over at once")
    t.is({e:wait(0)}, {true}, "also one that would not wait")
    e:clear()
    e:clear()
    t.is(e:is_set(), false, "cleared twice")
    t.is({e:wait(0)}, {false, "timeout"}, "a wait of no time")
    t.is({e:wait(-1)}, {false, "timeout"}, "less than no time")
    local before = process.monotonic()
    t.is({e:wait(0.1)}, {false, "timeout"}, "a tenth of a second")
    t.ok(process.monotonic() - before >= 0.1, "and not less")
    t.is(tostring(sync.Event{name = "go"}), 'Event "go" (not set)', "printed")
    t.raises(function() e:wait("x") end, "number expected, got string", "a wrong time")
    t.raises(function() sync.Event(true) end, "at most 0 arguments", "a wrong argument")
end)

t.test("a set wakes all that wait, though it is cleared at once", function()
    local e, asks, done = sync.Event(), ipc.Queue(), ipc.Queue()
    local ps = {}
    for i = 1, 5 do
        ps[i] = members.spawn(function()
            asks:put(i)
            done:put(e:wait())
        end)
        asks:get()
        members.until_asleep(ps[i])
    end
    e:set()
    for i = 1, 5 do
        t.is(done:get(5), true, "waiter " .. i)
    end
    for i = 1, 5 do
        ps[i]:join()
    end
end)

t.test("setter and waiter may play ping-pong for long", function()
    local ping, pong, n = sync.Event(), sync.Event(), 2000
    local p = members.spawn(function()
        for _ = 1, n do
            ping:wait()
            ping:clear()
            pong:set()
        end
    end)
    local rounds = 0
    for _ = 1, n do
        ping:set()
        if not pong:wait(30) then
            break
        end
        pong:clear()
        rounds = rounds + 1
    end
    t.is(rounds, n, "all rounds")
    p:join()
end)

t.test("handlers run at once during a wait, which then goes on with what is left", function()
    local e, calls = sync.Event(), 0
    local old = signal.signal(signal.SIGALRM, function() calls = calls + 1 end)
    signal.setitimer(0.02, 0.02)
    local before = process.monotonic()
    t.is({e:wait(0.3)}, {false, "timeout"}, "it ends by its own time")
    local took = process.monotonic() - before
    signal.setitimer(0)
    t.ok(took >= 0.3, "not earlier: " .. took)
    t.ok(calls >= 3, "handlers ran meanwhile: " .. calls)
    signal.signal(signal.SIGALRM, function() e:set() end)
    signal.setitimer(0.02)
    t.is({e:wait()}, {true}, "a handler may set what is waited for")
    e:clear()
    signal.signal(signal.SIGALRM, function() error({"mine"}) end)
    signal.setitimer(0.02)
    local ok, what = pcall(e.wait, e)
    t.is({ok, what}, {false, {"mine"}}, "one that raises ends it with its own error")
    signal.signal(signal.SIGALRM, old)
end)

members.test_of_processes("a killed waiter is missed by nobody", function()
    local e, asks = sync.Event(), ipc.Queue()
    local ps = {}
    for i = 1, 3 do
        ps[i] = members.spawn(function()
            asks:put(i)
            e:wait()
        end)
        asks:get()
        members.until_asleep(ps[i])
    end
    ps[2]:kill()
    ps[2]:join()
    e:set()
    for _, i in ipairs {1, 3} do
        t.is({ps[i]:join(10)}, {true}, "waiter " .. i)
    end
end)

t.done()
