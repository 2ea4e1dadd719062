-- sync.Condition.

local family = require "luamp.members"
local members = require "members"
local t = require "tap"

-- Processes that wait, one after the other, and then put their number and what wait returned.
local function waiters(c, n, told)
    local asks, ps = ipc.Queue(), {}
    for i = 1, n do
        ps[i] = members.spawn(function()
            c:acquire()
            asks:put(i)
            told:put({i, c:wait()})
            c:release()
        end)
        asks:get()
        members.until_asleep(ps[i])
        c:acquire() -- it has let go of the lock: it waits
        c:release()
    end
    return ps
end

local function join(ps)
    for i, p in ipairs(ps) do
        t.is({p:join(30)}, {true}, "waiter " .. i .. " ends")
    end
end

t.test("has an RLock of its own, or the Lock or RLock that it is given", function()
    local c = sync.Condition()
    t.ok(c:acquire() == c and c:acquire() == c, "its own is recursive")
    t.is(c:locked(), true, "locked")
    c:release()
    t.is(c:locked(), true, "held once more")
    c:release()
    t.is(c:locked(), false, "free")
    for _, class in ipairs {"Lock", "RLock"} do
        local lock = sync[class]()
        local d = sync.Condition(lock)
        d:acquire()
        t.is(lock:locked(), true, class .. ": the condition's lock is that lock")
        lock:release()
        t.is(d:locked(), false, class .. ": and the other way round")
        t.is(sync.Condition{lock = lock}:locked(), false, class .. ": by name")
    end
    t.raises(function() sync.Condition(5) end, "Lock or RLock expected, got number", "a number")
    t.raises(function() sync.Condition(sync.Semaphore()) end, "Lock or RLock expected",
        "a semaphore")
    t.raises(function() sync.Condition{lok = sync.Lock()} end, "did you mean 'lock'?", "misspelt")
end)

t.test("acquire, with and closable variables are the lock's", function()
    local c = sync.Condition{name = "c"}
    t.is(c:with(function(x) return c:locked() and x end, "held"), "held", "with")
    t.is(c:locked(), false, "free after it")
    do
        local _ <close> = c:acquire()
        t.is(tostring(c), 'Condition "c" (held by MainProcess)', "printed")
    end
    t.is(tostring(c), 'Condition "c" (free)', "printed when it is free")
    local has, go = sync.Event(), sync.Event()
    local p = members.spawn(function()
        c:acquire()
        has:set()
        go:wait()
        c:release()
    end)
    has:wait()
    t.is({c:acquire(0.01)}, {nil, "timeout"}, "one that gives up")
    t.raises(function() c:release() end, 'cannot release Condition "c": it is held by ' ..
        (members.kind == "processes" and "Process" or "Thread"), "another's release")
    go:set()
    p:join()
end)

t.test("without the lock wait, wait_for and notify raise", function()
    local c = sync.Condition{name = "c"}
    local line = "sync_condition.lua:%d+: "
    t.raises(function() c:wait() end, line .. 'cannot wait for Condition "c": acquire it first',
        "wait")
    t.raises(function() c:wait_for(print) end, line .. "cannot wait for", "wait_for")
    t.raises(function() c:notify() end, line .. "cannot notify", "notify")
    t.raises(function() c:notify_all() end, line .. "cannot notify", "notify_all")
    t.raises(function() c:release() end, line .. "cannot release", "release")
    c:acquire()
    t.raises(function() c:notify(-1) end, "a number of waiters expected", "a negative number")
    t.raises(function() c:notify("x") end, "number expected", "no number")
    t.raises(function() c:wait("x") end, "number expected", "no time")
    t.is(c:locked(), true, "and the lock is still held")
    c:notify()
    c:notify_all()
    c:notify(0)
    c:release()
end)

t.test("a wait that runs out is false and \"timeout\", with the lock held as before", function()
    local c = sync.Condition()
    c:acquire()
    c:acquire()
    t.is({c:wait(0)}, {false, "timeout"}, "no time")
    local before = process.monotonic()
    t.is({c:wait(0.1)}, {false, "timeout"}, "a tenth of a second")
    t.ok(process.monotonic() - before >= 0.1, "not less")
    c:release()
    t.is(c:locked(), true, "held as often as before")
    c:release()
    t.is(c:locked(), false, "and no oftener")
end)

t.test("a wait lets go of a lock that is held several times, and has it as often again", function()
    local c, told = sync.Condition(), ipc.Queue()
    c:acquire()
    c:acquire()
    c:acquire()
    local p = members.spawn(function()
        c:acquire()
        told:put("notifies")
        c:notify()
        c:release()
    end)
    t.is({c:wait(30)}, {true}, "notified")
    t.is(told:get(false), "notifies", "by one that had the lock meanwhile")
    for i = 1, 3 do
        t.is(c:locked(), true, "held " .. 4 - i)
        c:release()
    end
    t.is(c:locked(), false, "free")
    p:join()
end)

t.test("notify wakes in the order of the waits, as many as it was told", function()
    local c, told = sync.Condition(), ipc.Queue()
    local ps = waiters(c, 5, told)
    c:with(function() c:notify() end)
    t.is(told:get(), {1, true}, "the first")
    c:with(function() c:notify(2) end)
    local pair = {told:get()[1], told:get()[1]}
    table.sort(pair)
    t.is(pair, {2, 3}, "the next two")
    t.is(told:get(0.05), nil, "and no more")
    c:with(function() c:notify_all() end)
    pair = {told:get()[1], told:get()[1]}
    table.sort(pair)
    t.is(pair, {4, 5}, "the rest")
    join(ps)
end)

t.test("a notification that finds nobody is forgotten", function()
    local c = sync.Condition()
    c:acquire()
    c:notify()
    c:notify_all()
    t.is({c:wait(0.05)}, {false, "timeout"}, "a later wait does not get it")
    c:release()
end)

members.test_of_processes("a killed waiter gets no notification that another could have had", function()
    local c, told = sync.Condition(), ipc.Queue()
    local ps = waiters(c, 3, told)
    ps[1]:kill()
    ps[1]:join()
    c:with(function() c:notify() end)
    t.is(told:get(30), {2, true}, "the next one is woken")
    c:acquire() -- and one that is killed when it was notified but could not yet have the lock
    c:notify()
    ps[3]:kill()
    ps[3]:join()
    t.is({c:wait(0.05)}, {false, "timeout"}, "one that waits later is not")
    c:release()
    t.is({ps[2]:join(30)}, {true}, "waiter 2 ends")
end)

-- Waits until the process, which was notified, queues for the lock.
local function until_it_queues(p)
    local waits_for
    repeat
        process.sleep(0.002)
        for _, member in ipairs(family.list()) do
            if member.pid == p.pid then waits_for = member.waits_for end
        end
    until waits_for and waits_for:find("^RLock")
end

members.test_of_processes("one that is killed before it has the lock passes the notification on", function()
    for _, moment in ipairs {"just as it was notified", "as it queues for the lock"} do
        local c, told = sync.Condition(), ipc.Queue()
        local ps = waiters(c, 2, told)
        c:acquire()
        c:notify()
        if moment == "as it queues for the lock" then until_it_queues(ps[1]) end
        ps[1]:kill()
        ps[1]:join()
        c:release()
        t.is(told:get(30), {2, true}, moment .. ": the other has it")
        join({ps[2]})
    end
end)

t.test("a notifier that dies holding the lock leaves both usable", function()
    local c, told = sync.Condition(), ipc.Queue()
    local ps = waiters(c, 1, told)
    members.spawn(function()
        c:acquire()
        c:notify()
        members.die()
    end):join()
    t.is(told:get(30), {1, true}, "the notified one gets the lock")
    join(ps)
end)

t.test("wait_for returns the predicate's last value", function()
    local c, v = sync.Condition(), ipc.Value("i", 0)
    c:acquire()
    t.is(c:wait_for(function() return "there" end), "there", "at once")
    local calls = 0
    t.is(c:wait_for(function() calls = calls + 1 return false end, 0.1), false, "false after its time")
    t.ok(calls >= 2, "looked at in the beginning and in the end: " .. calls)
    t.is(c:wait_for(function() return nil end, 0), nil, "or nil")
    local p = members.spawn(function()
        for i = 1, 5 do
            c:with(function()
                v.value = i
                c:notify()
            end)
        end
    end)
    t.is(c:wait_for(function() return v.value >= 5 and "five: " .. v.value end), "five: 5",
        "what it waited for")
    t.is(c:locked(), true, "with the lock")
    t.raises(function() c:wait_for(function() error("oops") end) end, "oops", "its error is raised")
    t.is(c:locked(), true, "with the lock")
    t.raises(function() c:wait_for() end, "function expected, got no value", "none")
    c:release()
    p:join()
end)

t.test("handlers run without the lock during a wait, which then goes on", function()
    local c = sync.Condition()
    local free
    local old = signal.signal(signal.SIGALRM, function()
        free = not c:locked()
        c:with(function() c:notify() end) -- wakes the very wait that it interrupts
    end)
    c:acquire()
    signal.setitimer(0.02)
    t.is({c:wait(30)}, {true}, "notified by the handler")
    t.is(free, true, "the lock was free")
    signal.signal(signal.SIGALRM, function() error("enough") end)
    signal.setitimer(0.02)
    t.raises(function() c:wait() end, "enough", "one that raises ends it")
    t.is(c:locked(), true, "with the lock held, as behind any wait")
    signal.setitimer(0.02)
    t.raises(function() c:wait_for(function() end) end, "enough", "and wait_for")
    c:release()
    t.is(c:locked(), false, "held once")
    signal.signal(signal.SIGALRM, old)
end)

members.test_of_processes("a handler that raises does not take the notification with it", function()
    local c, told, go = sync.Condition(), ipc.Queue(), sync.Event()
    local p = members.spawn(function()
        signal.signal(signal.SIGUSR1, function() error("mine") end)
        c:acquire()
        told:put("waits")
        told:put(select(2, pcall(c.wait, c)))
        c:release()
    end)
    told:get()
    members.until_asleep(p)
    local other = waiters(c, 1, told)
    c:acquire()
    p:send_signal(signal.SIGUSR1)
    c:notify() -- may reach p before or after its handler raised
    c:release()
    local got = {told:get(30), told:get(1)}
    if got[2] == nil then -- the notification was p's, in time: then the other still waits
        t.is(got[1], true, "p was notified")
        c:with(function() c:notify() end)
        t.is(told:get(30), {1, true}, "the other is next")
    else
        t.ok(true, "both went on")
    end
    p:join()
    join(other)
end)

t.test("many producers and consumers lose and double nothing", function()
    local c, stock, made, used = sync.Condition(), ipc.Value("i", 0), ipc.Value("i", 0),
        ipc.Value("i", 0)
    local n, each = 3, 300
    local ps = {}
    for i = 1, n do
        ps[#ps + 1] = members.spawn(function()
            for _ = 1, each do
                c:acquire()
                while stock.value >= 5 do
                    c:wait()
                end
                stock.value = stock.value + 1
                made.value = made.value + 1
                c:notify_all()
                c:release()
            end
        end)
        ps[#ps + 1] = members.spawn(function()
            for _ = 1, each do
                c:acquire()
                c:wait_for(function() return stock.value > 0 end)
                stock.value = stock.value - 1
                used.value = used.value + 1
                c:notify_all()
                c:release()
            end
        end)
    end
    join(ps)
    t.is({made.value, used.value, stock.value}, {n * each, n * each, 0}, "the sums")
end)

t.done()
