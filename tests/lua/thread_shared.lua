-- What threads share: every luamp object works between threads as between processes. Owners are threads.

local t = require "tap"
t.file_of_forks("what threads share")

local Thread = thread.Thread
local seen = ipc.Queue()

local function start(f, ...)
    return Thread{target = f, args = table.pack(...)}:start()
end

-- A thread that holds the lock until the event is set.
local function holder_of(lock, release)
    local held = sync.Event()
    local th = start(function()
        lock:acquire()
        held:set()
        release:wait()
        lock:release()
    end)
    held:wait()
    return th
end

for _, class in ipairs {"Lock", "RLock"} do
    t.test(class .. " belongs to a thread", function()
        local lock, release = sync[class]{name = "door"}, sync.Event()
        local th = holder_of(lock, release)
        t.is({lock:acquire(false)}, {nil, "timeout"}, "another does not get it")
        t.is({lock:acquire(0.01)}, {nil, "timeout"}, "by waiting, neither")
        t.raises(function() lock:release() end, "thread_shared.lua:%d+: cannot release " .. class ..
            ' "door": it is held by ' .. th.name:gsub("%-", "%%-") .. " in MainProcess",
            "nor may another release it")
        t.is(tostring(lock), ('%s "door" (held by %s in MainProcess)'):format(class, th.name), "printed")
        release:set()
        t.is({lock:acquire()}, {lock}, "then it is free")
        lock:release()
        th:join()
    end)

    t.test(class .. ' of a thread that ended without a release: "owner died"', function()
        local lock = sync[class]()
        start(function() lock:acquire() end):join()
        t.is({lock:acquire()}, {lock, "owner died"}, "ended")
        lock:release()
        start(function() lock:acquire() os.exit() end):join()
        t.is({lock:acquire()}, {lock, "owner died"}, "by os.exit")
        lock:release()
        local asks = sync.Event()
        local th = start(function() -- asleep, or about to be, when the owner goes
            asks:wait()
            seen:put(select(2, lock:acquire()) or "nothing")
            lock:release()
        end)
        start(function() lock:acquire() asks:set() process.sleep(0.02) end):join()
        t.is(seen:get(), "owner died", "told to one that waits")
        th:join()
        t.is({lock:acquire()}, {lock}, "once")
        lock:release()
    end)

    t.test(class .. ": threads that add under it lose nothing", function()
        local lock, total, list = sync[class](), ipc.Value("q", 0), {}
        for i = 1, 4 do
            list[i] = start(function()
                for _ = 1, 5000 do
                    local _ <close> = lock:acquire()
                    total.value = total.value + 1
                end
            end)
        end
        for _, th in ipairs(list) do th:join() end
        t.is(total.value, 20000, "the total")
    end)

    t.test(class .. ": a deadlock of two threads is an error that names both", function()
        local a, b = sync[class]{name = "a"}, sync[class]{name = "b"}
        local both = sync.Barrier(2)
        local function take(first, second)
            first:acquire()
            both:wait()
            local ok, message = pcall(second.acquire, second)
            if ok then second:release() else seen:put(message) end
            first:release()
        end
        local p, q = start(take, a, b), start(take, b, a)
        p:join()
        q:join()
        local message = seen:get(false) or ""
        t.ok(message:find("deadlock: ", 1, true), "it is told")
        t.ok(message:find(('%s in MainProcess waits for the lock "b", held by %s in MainProcess'):format(
            p.name, q.name), 1, true), "one half")
        t.ok(message:find(('%s in MainProcess waits for the lock "a", held by %s in MainProcess'):format(
            q.name, p.name), 1, true), "the other half: " .. message)
        seen:get(false)
    end)
end

t.test("a deadlock of a thread and a process, too", function()
    local a, b, both = sync.Lock{name = "a"}, sync.Lock{name = "b"}, sync.Barrier(2)
    local function take(first, second)
        first:acquire()
        both:wait()
        local ok, message = pcall(second.acquire, second)
        if ok then second:release() else seen:put(message) end
        first:release()
    end
    local p = process.spawn(take, a, b)
    local th = start(take, b, a)
    p:join()
    th:join()
    local message = seen:get(false) or ""
    t.ok(message:find("deadlock: ", 1, true) and message:find(p.name, 1, true) and
        message:find(th.name .. " in MainProcess", 1, true), message)
    seen:get(false)
end)

t.test("RLock: its thread takes it again, another does not", function()
    local lock, release, held = sync.RLock(), sync.Event(), sync.Event()
    local th = start(function()
        lock:acquire()
        lock:acquire()
        lock:release()
        held:set()
        release:wait()
        lock:release()
    end)
    held:wait()
    t.is(lock:acquire(false), nil, "one release of two is not enough")
    release:set()
    t.ok(lock:acquire() == lock, "the second is")
    lock:release()
    th:join()
end)

t.test("a Semaphore's permit may be given back by another thread, a bounded one's may not", function()
    local sem, bounded = sync.Semaphore(1), sync.BoundedSemaphore(1)
    sem:acquire()
    start(function() sem:release() end):join()
    t.is(sem:get_value(), 1, "a Semaphore's")
    bounded:acquire()
    start(function() seen:put(select(2, pcall(bounded.release, bounded))) end):join()
    t.ok(seen:get():find "BoundedSemaphore", "the error says so")
    bounded:release()
    start(function() bounded:acquire() end):join()
    t.is(bounded:get_value(), 1, "a thread that ends gives its permits back")
end)

t.test("an event wakes all threads that wait", function()
    local e, list = sync.Event(), {}
    for i = 1, 10 do list[i] = start(function() seen:put(e:wait()) end) end
    t.is({e:wait(0.01)}, {false, "timeout"}, "not yet")
    e:set()
    local n = 0
    for _, th in ipairs(list) do
        th:join()
        n = n + (seen:get() and 1 or 0)
    end
    t.is(n, 10, "ten")
end)

t.test("a condition between threads", function()
    local c, n = sync.Condition(), ipc.Value("i", 0)
    local th = start(function()
        local _ <close> = c:acquire()
        seen:put(c:wait_for(function() return n.value == 3 and "three" end))
    end)
    for _ = 1, 3 do
        local _ <close> = c:acquire()
        n:add(1)
        c:notify()
    end
    t.is(seen:get(), "three", "wait_for's value")
    th:join()
    t.raises(function() c:notify() end, "notify", "without the lock it raises")
end)

t.test("a barrier of threads and processes", function()
    local all, places, list = sync.Barrier(6), ipc.List(), {}
    for i = 1, 3 do
        list[#list + 1] = start(function() places:append(all:wait()) end)
    end
    for i = 1, 2 do
        list[#list + 1] = process.spawn(function() places:append(all:wait()) end)
    end
    places:append(all:wait())
    for _, one in ipairs(list) do one:join() end
    local got = {}
    for i = 1, #places do got[i] = places[i] end
    table.sort(got)
    t.is(got, {1, 2, 3, 4, 5, 6}, "each its own number")
end)

t.test("a thread that is told to end while it waits in a barrier takes its place with it", function()
    local gate = sync.Barrier(2)
    process.spawn(function() -- at the end of this process its thread is told to end
        thread.Thread{daemon = true, target = function() gate:wait() end}:start()
        while gate.n_waiting == 0 do process.sleep(0.001) end
    end):join()
    t.is({gate.n_waiting, gate.broken}, {0, false}, "nobody waits")
end)

t.test("a queue between threads: many writers, many readers, nothing lost", function()
    local q, results, list = ipc.Queue(10), ipc.Queue(), {}
    for i = 1, 4 do
        list[i] = start(function() for j = 1, 500 do q:put{i, j, ("x"):rep(j)} end end)
    end
    local readers = {}
    for i = 1, 3 do
        readers[i] = start(function()
            local n, sum = 0, 0
            for message in q:iter() do
                n, sum = n + 1, sum + #message[3]
            end
            results:put{n, sum}
        end)
    end
    for _, th in ipairs(list) do th:join() end
    q:close()
    local n, sum = 0, 0
    for _, th in ipairs(readers) do
        th:join()
        local one = results:get()
        n, sum = n + one[1], sum + one[2]
    end
    t.is({n, sum}, {2000, 4 * 500 * 501 // 2}, "all messages")
end)

t.test("a pipe between threads; the end of one that ended is closed", function()
    local ours, theirs = ipc.Pipe()
    local th = start(function(c)
        local v = c:recv()
        c:send(v * 2)
    end, theirs)
    theirs:close()
    ours:send(21)
    t.is(ours:recv(), 42, "both ways")
    th:join()
    t.is({ours:recv()}, {nil, "closed"}, "closed by its end")
end)

t.test("shared tables, values and arrays", function()
    local d, l, v, a = ipc.Dict(), ipc.List(), ipc.Value("i", 0), ipc.Array("i", 4)
    local list = {}
    for i = 1, 4 do
        list[i] = start(function()
            for j = 1, 250 do
                d:update("sum", function(old) return (old or 0) + 1 end)
                l:append(i)
                v:add(1)
                a[i] = j
            end
        end)
    end
    for _, th in ipairs(list) do th:join() end
    t.is({d.sum, #l, v.value, a:totable()}, {1000, 1000, 1000, {250, 250, 250, 250}}, "all there")
end)

t.test("SharedMemory", function()
    local m <close> = ipc.SharedMemory{create = true, size = 10}
    start(function(name)
        local m <close> = ipc.SharedMemory{name = name}
        m:write(1, "thread")
    end, m.name):join()
    t.is(m:read(1, 6), "thread", "by its name")
    m:unlink()
end)

t.test("a pool in a thread, and many pools in many", function()
    local list = {}
    for i = 1, 3 do
        list[i] = start(function()
            local p <close> = pool.Pool(2)
            local r = p:map(function(x) return x * i end, {1, 2, 3})
            seen:put{i, r[1] + r[2] + r[3]}
        end)
    end
    local sums = {}
    for _ = 1, 3 do
        local one = seen:get()
        sums[one[1]] = one[2]
    end
    for _, th in ipairs(list) do th:join() end
    t.is(sums, {6, 12, 18}, "three")
    start(function() seen:put(pool.map(function(x) return x + 1 end, {1, 2})) end):join()
    t.is(seen:get(), {2, 3}, "pool.map")
end)

t.test("ipc.wait in a thread", function()
    local q, e = ipc.Queue(), sync.Event()
    local th = start(function()
        local ready = ipc.wait{q, e}
        seen:put(#ready == 1 and ready[1] == q)
    end)
    q:put(1)
    t.is(seen:get(), true, "the queue")
    th:join()
end)

-- Signals ----------------------------------------------------------------------------------------------

t.test("a handler runs in the main thread, also when a thread sent the signal", function()
    local where
    local old = signal.signal(signal.SIGUSR1, function() where = thread.current_thread().name end)
    start(function() signal.raise(signal.SIGUSR1) end):join()
    local deadline = process.monotonic() + 60
    while not where and process.monotonic() < deadline do process.sleep(0.001) end
    t.is(where, "MainThread", "by raise")
    where = nil
    start(function() signal.kill(process.getpid(), signal.SIGUSR1) end):join()
    while not where and process.monotonic() < deadline do process.sleep(0.001) end
    t.is(where, "MainThread", "by kill")
    signal.signal(signal.SIGUSR1, old)
end)

t.test("signal.signal and pause are for the main thread; the rest works anywhere", function()
    start(function()
        seen:put(select(2, pcall(signal.signal, signal.SIGUSR1, print)))
        seen:put(select(2, pcall(signal.pause)))
        seen:put{signal.getsignal(signal.SIGUSR2), signal.strsignal(signal.SIGKILL), signal.alarm(0)}
    end):join()
    t.ok(seen:get():find "signal.signal is for the main thread only", "signal.signal")
    t.ok(seen:get():find "signal.pause is for the main thread only", "pause")
    t.is(seen:get(), {signal.SIG_DFL, signal.strsignal(signal.SIGKILL), 0}, "others")
end)

t.test("an alarm that a thread sets is the main thread's to handle", function()
    local rang
    local old = signal.signal(signal.SIGALRM, function() rang = true end)
    start(function() signal.setitimer(0.02) end):join()
    local deadline = process.monotonic() + 60
    while not rang and process.monotonic() < deadline do process.sleep(0.001) end
    t.ok(rang, "it rang")
    signal.signal(signal.SIGALRM, old)
end)

t.test("signals to the main thread do not disturb a thread's wait", function()
    local n = 0
    local old = signal.signal(signal.SIGALRM, function() n = n + 1 end)
    local e = sync.Event()
    local th = start(function() seen:put{e:wait(60)} end)
    signal.setitimer(0.002, 0.002)
    while n < 20 do signal.pause() end
    signal.setitimer(0)
    t.is(th:is_alive(), true, "it waits")
    e:set()
    t.is(seen:get(), {true}, "until it is set")
    th:join()
    signal.signal(signal.SIGALRM, old)
end)

t.done()
