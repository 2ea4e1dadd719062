-- Signals and calls that block: handlers run at once, the wait goes on; one that raises ends it.

local t = require "tap"

local USR1 = signal.SIGUSR1
local me = process.getpid()

-- What blocks: a function that waits for ever, and one that lets it go on, both given by make().
local waits = {
    lock = function()
        local l = sync.Lock()
        local held, free = sync.Event(), sync.Event()
        process.spawn(function() l:acquire() held:set() free:wait() l:release() end)
        held:wait()
        return function()
            local got = l:acquire() ~= nil
            l:release()
            return got
        end, function() free:set() end
    end,
    ["RLock:with"] = function()
        local l = sync.RLock()
        local held, free = sync.Event(), sync.Event()
        process.spawn(function() l:acquire() held:set() free:wait() l:release() end)
        held:wait()
        return function() return l:with(function() return true end) end, function() free:set() end
    end,
    semaphore = function()
        local s = sync.Semaphore(0)
        return function() return s:acquire() ~= nil end, function() s:release() end
    end,
    event = function()
        local e = sync.Event()
        return function() return e:wait() end, function() e:set() end
    end,
    condition = function()
        local c, go = sync.Condition(), ipc.Value("i", 0)
        return function()
            c:acquire()
            local _ <close> = setmetatable({}, {__close = function() c:release() end})
            return c:wait_for(function() return go.value == 1 end)
        end, function()
            go.value = 1
            c:with(function() c:notify() end)
        end
    end,
    barrier = function()
        local b = sync.Barrier(2)
        return function() return b:wait() ~= nil end, function() b:wait() end
    end,
    ["queue get"] = function()
        local q = ipc.Queue()
        return function() return q:get() end, function() q:put(true) end
    end,
    ["queue put"] = function()
        local q = ipc.Queue(1)
        q:put(1)
        return function() return q:put(2) end, function() q:get() end
    end,
    ["queue join"] = function()
        local q = ipc.JoinableQueue()
        q:put(1)
        return function() return q:join() end, function() q:get() q:task_done() end
    end,
    ["pipe recv"] = function()
        local a, b = ipc.Pipe()
        return function() return a:recv() end, function() b:send(true) end
    end,
    ["pipe poll"] = function()
        local a, b = ipc.Pipe()
        return function() return a:poll(600) end, function() b:send(true) end
    end,
    ["ipc.wait"] = function()
        local e, q = sync.Event(), ipc.Queue()
        return function() return #ipc.wait {e, q} == 1 end, function() e:set() end
    end,
    join = function()
        local e = sync.Event()
        local p = process.spawn(function() e:wait() end)
        return function() return p:join() end, function() e:set() end
    end,
    ["ipc.wait of a process"] = function()
        local e = sync.Event()
        local p = process.spawn(function() e:wait() end)
        return function() return ipc.wait {p}[1] == p end, function() e:set() end
    end,
    ["pool get"] = function()
        local p, e = pool.Pool(1), sync.Event()
        local r = p:apply_async(function() return e:wait() end)
        return function() return r:get() end, function() e:set() end
    end,
    ["pool map"] = function()
        local p, e = pool.Pool(1), sync.Event()
        return function() return p:map(function() return e:wait() end, {1})[1] end,
            function() e:set() end
    end,
    ["pool imap"] = function()
        local p, e = pool.Pool(1), sync.Event()
        local next = p:imap(function() return e:wait() end, {1})
        return function() return next() == 1 end, function() e:set() end
    end,
}

local names = {}
for name in pairs(waits) do names[#names + 1] = name end
table.sort(names)

-- A child that sends signals to this process until it is told to stop.
local function disturb(run)
    local stop = sync.Event()
    local p = process.spawn(function()
        while not stop:wait(0.005) do signal.kill(me, USR1) end
    end)
    local results = table.pack(run())
    stop:set()
    p:join()
    return table.unpack(results, 1, results.n)
end

for _, name in ipairs(names) do
    t.test("handlers run inside of " .. name .. ", which then goes on", function()
        local handled = 0
        local wait, go = waits[name]()
        signal.signal(USR1, function()
            handled = handled + 1
            if handled == 5 then process.spawn(go) end
        end)
        local result = disturb(wait)
        t.is(result, true, "it ends as it should")
        t.ok(handled >= 5, "after five handlers at least")
        signal.signal(USR1, signal.SIG_DFL)
    end)
    t.test("a handler that raises ends " .. name .. ", with nothing taken", function()
        local wait, go = waits[name]()
        signal.signal(USR1, function() error("by signal", 0) end)
        local p = process.spawn(function()
            process.sleep(0.02)
            signal.kill(me, USR1)
        end)
        t.is({pcall(wait)}, {false, "by signal"}, "the error arrives")
        signal.signal(USR1, signal.SIG_IGN)
        p:join()
        signal.signal(USR1, signal.SIG_DFL)
        if name ~= "barrier" and name ~= "pool imap" then
            p = process.spawn(go)
            t.is(wait(), true, "and the same call works afterwards")
            p:join()
        end
    end)
end

t.test("a pool is whole after handlers that raised at any moment", function()
    local p = pool.Pool(2)
    local list, expected = {}, {}
    for i = 1, 50 do list[i], expected[i] = i, i * 2 end
    local function double(x) return x * 2 end
    local raising, raised, right, odd = false, 0, 0, nil
    signal.signal(signal.SIGALRM, function()
        if raising then error("by signal", 0) end
    end)
    local async = p:map_async(double, list, 1)
    for _ = 1, 200 do
        local ok, result = pcall(function()
            raising = true
            signal.setitimer(math.random() * 0.004 + 0.00001)
            local got = p:map(double, list, 1)
            raising = false
            return got
        end)
        raising = false
        if ok and #result == 50 and result[50] == 100 then
            right = right + 1
        elseif result == "by signal" then
            raised = raised + 1
        else
            odd = ("%s %s"):format(ok, result)
        end
    end
    signal.setitimer(0)
    t.diag(("%d raised, %d did not"):format(raised, right))
    t.is(odd, nil, "each call raised or was right")
    t.ok(raised > 0, "some raised")
    t.is(async:get(30), expected, "what was under way is right")
    t.is(p:map(double, list), expected, "and what comes then")
    p:close()
    t.is(p:join(30), true, "and the end: nothing is lost that the workers owe")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
end)

t.test("a timeout goes on with what is left", function()
    signal.signal(USR1, function() end)
    local q, e, l = ipc.Queue(), sync.Event(), sync.Lock()
    local child = process.spawn(function() l:acquire() e:wait() end)
    while not l:locked() do process.sleep(0.001) end
    for name, wait in pairs {
        sleep = function() process.sleep(0.2) end,
        get = function() q:get(0.2) end,
        event = function() e:wait(0.2) end,
        lock = function() l:acquire(0.2) end,
        join = function() child:join(0.2) end,
        ["ipc.wait"] = function() ipc.wait({q, child}, 0.2) end,
    } do
        local before = process.monotonic()
        disturb(wait)
        local took = process.monotonic() - before
        t.ok(took >= 0.2 and took < 10, ("%s takes as long as it should: %.3f"):format(name, took))
    end
    signal.signal(USR1, signal.SIG_DFL)
    child:kill()
    child:join()
end)

t.test("io.read ends, so that the handler runs at once", function()
    local handled = false
    signal.signal(USR1, function() handled = true end)
    local pipe <close> = io.popen(("sleep 0.1; kill -USR1 %d; sleep 0.1; echo line"):format(me))
    pipe:read "l"
    t.is(handled, true, "it ran")
    signal.signal(USR1, signal.SIG_DFL)
end)

t.test("processes that are stopped and continued go on", function()
    local q = ipc.Queue()
    local p = process.spawn(function()
        q:put "ready"
        q:put {ipc.Queue():get(0.3)}
        process.sleep(600)
    end)
    q:get()
    p:send_signal(signal.SIGSTOP)
    process.sleep(0.05)
    p:send_signal(signal.SIGCONT)
    t.is(q:get(30), {nil, "timeout"}, "its wait went on")
    p:send_signal(signal.SIGSTOP)
    repeat -- a signal that comes before it has stopped may end it
        local f <close> = assert(io.open(("/proc/%d/stat"):format(p.pid)))
    until f:read "a":match "%) (%a)" == "T"
    p:terminate()
    t.is({p:join(0.05)}, {false, "timeout"}, "a stopped one does not end by SIGTERM yet")
    p:send_signal(signal.SIGCONT)
    t.is(p:join(30), true, "but when it is continued")
end)

t.done()
