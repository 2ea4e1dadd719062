-- What makes Python's multiprocessing hang, each by its name. More of each kind stands where its class is
-- tried: tests/lua/pool_deaths.lua, process_daemon.lua, sync_*.lua.

local t = require "tap"

local LONG = 60 -- seconds: whoever takes longer hangs

-- The letter that the kernel shows for the process: S asleep, T stopped.
local function state_of(pid)
    local f <close> = assert(io.open(("/proc/%d/stat"):format(pid)))
    return f:read("a"):match("%) (%a)")
end

local function is_gone_soon(pid)
    local deadline = process.monotonic() + LONG
    while pcall(signal.kill, pid, 0) do
        if process.monotonic() > deadline then return false end
        process.sleep(0.002)
    end
    return true
end

local function until_state(p, state)
    local deadline = process.monotonic() + LONG
    while state_of(p.pid) ~= state do
        if process.monotonic() > deadline then error("never came to state " .. state) end
        process.sleep(0.001)
    end
end

t.test("an idle worker of a pool is killed", function()
    local p <close> = pool.Pool(2)
    local one, other = table.unpack(process.active_children())
    until_state(one, "S")
    one:kill()
    t.is(p:map(function(x) return x * x end, {1, 2, 3, 4}), {1, 4, 9, 16}, "the next tasks are done")
    other:kill()
    local r = p:apply_async(function(x) return x end, {5})
    t.is({pcall(r.get, r, LONG)}, {true, 5}, "also when the other is gone, too")
end)

t.test("the parent of a running pool is killed", function()
    local pids = ipc.Queue()
    local parent = process.spawn(function()
        local p = pool.Pool(2)
        local r = p:map_async(function()
            pids:put(process.getpid())
            process.sleep(600)
        end, {1, 2}, 1)
        r:get()
    end)
    local workers = {pids:get(LONG), pids:get(LONG)}
    parent:kill()
    t.is({parent:join(LONG)}, {true}, "it ends")
    for i, pid in ipairs(workers) do t.ok(is_gone_soon(pid), "and with it worker " .. i) end
end)

t.test("the holder of a lock is killed", function()
    local lock, held, got = sync.Lock(), ipc.Queue(), ipc.Queue()
    local holder = process.spawn(function()
        lock:acquire()
        held:put(true)
        process.sleep(600)
    end)
    held:get(LONG)
    local waiter = process.spawn(function()
        local _, what = lock:acquire()
        lock:release()
        got:put(what)
    end)
    until_state(waiter, "S")
    holder:kill()
    t.is(got:get(LONG), "owner died", "who waits has it, and is told")
    holder:join()
    t.is({waiter:join(LONG)}, {true}, "and ends")
end)

t.test("a waiter of an event is killed, then the event is set", function()
    local e, waiters = sync.Event(), {}
    for i = 1, 3 do
        waiters[i] = process.spawn(function() e:wait() end)
        until_state(waiters[i], "S")
    end
    waiters[2]:kill()
    waiters[2]:join()
    e:set()
    t.is({waiters[1]:join(LONG)}, {true}, "the first is woken")
    t.is({waiters[3]:join(LONG)}, {true}, "and the third")
end)

t.test("a party of a barrier is killed", function()
    local b, told = sync.Barrier(3), ipc.Queue()
    local party = process.spawn(function()
        local _, what = b:wait()
        told:put(what)
    end)
    local victim = process.spawn(function() b:wait() end)
    local deadline = process.monotonic() + LONG
    while b.n_waiting < 2 and process.monotonic() < deadline do process.sleep(0.001) end
    victim:kill()
    t.is(told:get(LONG), "broken", "the other is told")
    victim:join()
    t.is({party:join(LONG)}, {true}, "and ends")
end)

t.test("a waiter of a condition is killed, then notify_all", function()
    local c, ready, woken = sync.Condition(), ipc.Queue(), ipc.Queue()
    local waiters = {}
    for i = 1, 3 do
        waiters[i] = process.spawn(function()
            c:acquire()
            ready:put(i) -- the lock is free again only when this one waits
            c:wait()
            c:release()
            woken:put(i)
        end)
        ready:get(LONG)
        c:with(function() end)
    end
    waiters[2]:kill()
    waiters[2]:join()
    c:with(function() c:notify_all() end)
    t.is({waiters[1]:join(LONG)}, {true}, "the first is woken")
    t.is({waiters[3]:join(LONG)}, {true}, "and the third")
    t.is(woken:qsize(), 2, "by the one call")
end)

t.test("a producer is killed in the middle of a put of 10 MB", function()
    local q, size = ipc.Queue(), 10 * 1000 * 1000
    local text = ("0123456789"):rep(size // 10)
    local puts = ipc.Value("i")
    local whole = true
    for i = 1, 12 do
        local before = puts.value
        local p = process.spawn(function()
            while true do
                q:put(text)
                puts:add(1)
            end
        end)
        -- In this put, or between two: where it is, is left to chance.
        local deadline = process.monotonic() + LONG
        while puts.value == before and process.monotonic() < deadline do process.sleep(0.0005) end
        process.sleep(math.random() * 0.005)
        p:kill()
        p:join()
        t.ok(q:qsize() >= puts.value - before, "what was put is there, " .. i)
        repeat
            local got = q:get(false)
            whole = whole and (got == nil or got == text)
        until not got
    end
    t.ok(whole, "whole")
    q:put("small")
    t.is(q:get(LONG), "small", "and the queue goes on")
end)

t.test("a consumer is killed inside get while a message is there", function()
    local q = ipc.Queue()
    for i = 1, 10 do
        local consumer = process.spawn(function() q:get() end)
        until_state(consumer, "S")
        consumer:send_signal(signal.SIGSTOP)
        until_state(consumer, "T")
        q:put(i) -- it is woken for it, and cannot run
        consumer:kill()
        consumer:join()
        t.is(q:get(LONG), i, "the next who asks has it")
    end
end)

t.test("a consumer is killed inside get while another one waits, and a message comes", function()
    local q, got = ipc.Queue(), ipc.Queue()
    local first = process.spawn(function() q:get() end)
    until_state(first, "S")
    local second = process.spawn(function() got:put(q:get()) end)
    until_state(second, "S")
    first:send_signal(signal.SIGSTOP)
    until_state(first, "T")
    first:kill()
    q:put("x")
    first:join()
    t.is(got:get(LONG), "x", "the other has it")
    t.is({second:join(LONG)}, {true}, "and ends")
end)

t.test("a process is joined before its queue is read", function()
    local q = ipc.Queue()
    local p = process.spawn(function()
        q:put(("x"):rep(10 * 1000 * 1000))
        for i = 1, 1000 do q:put(i) end
    end)
    t.is({p:join(LONG)}, {true}, "it ends")
    t.is(#q:get(false), 10 * 1000 * 1000, "the large message is there")
    local sum = 0
    for _ = 1, 1000 do sum = sum + q:get(false) end
    t.is(sum, 500500, "and the small ones")
end)

t.test("a program ends with a queue that nobody reads", function()
    local program = process.spawn(function()
        local q = ipc.Queue()
        local child = process.spawn(function()
            q:put(("x"):rep(10 * 1000 * 1000))
            for i = 1, 1000 do q:put(i) end
        end)
        child:join()
        q:put("one more")
    end)
    t.is({program:join(LONG)}, {true}, "it ends")
    t.is(program.exitcode, 0, "well")
end)

t.test("a grandchild that outlives the child does not delay join", function()
    local pids, farewell, bye = ipc.Queue(), ipc.Queue(), ipc.Queue()
    local child = process.spawn(function()
        local grandchild = process.spawn(function()
            farewell:get()
            bye:put("bye")
        end)
        pids:put(grandchild.pid)
        signal.kill(process.getpid(), signal.SIGKILL)
    end)
    local pid = pids:get(LONG)
    t.is({child:join(LONG)}, {true}, "join returns")
    t.is(child.exitcode, -signal.SIGKILL, "the child has ended")
    t.ok(pcall(signal.kill, pid, 0), "the grandchild lives")
    farewell:put("go")
    t.is(bye:get(LONG), "bye", "and can be talked to")
    is_gone_soon(pid)
end)

t.done()
