-- Connections and listeners that several processes have, and signals in the middle of a message.

local members = require "members"
local t = require "tap"

local number = 0
local function abstract()
    number = number + 1
    return ("@luamp-shared-%d-%d"):format(process.getpid(), number)
end

local function pair(options)
    local l <close> = assert(ipc.Listener(abstract(), options))
    local c = assert(ipc.Client(l.address, options))
    return c, assert(l:accept())
end

t.test("a fork shares a connection, and messages stay whole", function()
    local c, s = pair()
    local writers = {}
    local N, BIG = 40, 100000
    for i = 1, 3 do
        writers[i] = members.spawn(function()
            for n = 1, N do
                c:send({i, n, (string.char(64 + i)):rep(BIG + n)})
            end
        end)
    end
    local got = ipc.Queue()
    local readers = {}
    for i = 1, 2 do
        readers[i] = members.spawn(function()
            c:close()
            for m in function() return s:recv() end do
                local whole = #m[3] == BIG + m[2] and not m[3]:find("[^" .. m[3]:sub(1, 1) .. "]")
                got:put(whole and m[1] or 0)
            end
        end)
    end
    for _, p in ipairs(writers) do
        p:join()
    end
    c:close()
    local counts = {[0] = 0, 0, 0, 0}
    for _ = 1, 3 * N do
        local i = got:get(30)
        counts[i or 0] = counts[i or 0] + 1
    end
    t.is(counts, {[0] = 0, N, N, N}, "each once, and whole")
    for _, p in ipairs(readers) do
        t.is({p:join(30)}, {true}, "the readers see the end")
    end
    t.is(s:recv() == nil, true, "here as well")
end)

t.test("the end comes when the last process has closed", function()
    local c, s = pair()
    local e, closed = sync.Event(), sync.Event()
    local p = members.spawn(function()
        s:close()
        closed:set()
        e:wait()
        c:close()
    end)
    c:close()
    closed:wait()
    t.is(s:poll(0.05), false, "the child still has it")
    e:set()
    t.is({s:recv()}, {nil, "closed"}, "nobody has it")
    p:join()
end)

members.test_of_processes("what a child does not hold it does not keep open", function()
    local c, s = pair()
    c:close() -- before the fork
    local e = sync.Event()
    local p = process.spawn(function() e:wait() end)
    t.is({s:recv()}, {nil, "closed"}, "closed before the fork")
    local d, r = pair()
    d:send(1)
    p:kill()
    p:join()
    t.is(r:recv(), 1, "nothing to do with a later one")
end)

t.test("several processes accept at one listener", function()
    local l = assert(ipc.Listener(abstract(), {authkey = "k"}))
    local workers, served = {}, ipc.Queue()
    for i = 1, 3 do
        workers[i] = members.spawn(function()
            while true do
                local c <close> = assert(l:accept())
                local question = c:recv()
                if question == "stop" then
                    break
                end
                c:send(question * 2)
                served:put(i)
            end
        end)
    end
    local good = true
    for n = 1, 30 do
        local c <close> = assert(ipc.Client(l.address, {authkey = "k"}))
        c:send(n)
        good = good and c:recv() == 2 * n
    end
    t.ok(good, "all are answered")
    for _ = 1, 3 do
        local c <close> = assert(ipc.Client(l.address, {authkey = "k"}))
        c:send("stop")
        c:recv()
    end
    for _, p in ipairs(workers) do
        t.is({p:join(30)}, {true}, "a worker ends")
    end
    t.is(served:qsize(), 30, "each by one")
    l:close()
end)

members.test_of_processes("a connection in a message arrives where its descriptor is", function()
    local c, s = pair()
    local q = ipc.Queue()
    q:put({c})
    local same = q:get()[1]
    t.ok(same == c, "the same object")
    q:put(c)
    c:close()
    c = q:get()
    c:send("after a trip")
    t.is(s:recv(), "after a trip", "nobody held it meanwhile")
    local p = process.spawn(function()
        local finished, why = pcall(q.get, q)
        t.ok(not finished and why:find("cannot receive a Connection: its socket belongs to process %d+; " ..
            "fork shares it"), "not in a process that was forked before")
        finished, why = pcall(q.get, q)
        t.ok(not finished and why:find("cannot receive a Listener: its socket belongs to process"),
            "nor a listener")
        q:put("done")
    end)
    members.until_asleep(p)
    local d = pair()
    local l <close> = assert(ipc.Listener(abstract()))
    q:put(d)
    q:put(l)
    p:join()
    t.is(q:get(30), "done", "the queue goes on")
end)

t.test("handlers run during every wait; one that raises ends it", function()
    local c, s = pair()
    local l <close> = assert(ipc.Listener(abstract()))
    local stays = sync.Event()
    local other = process.spawn(function() stays:wait() end) -- so that nobody here answers for it
    local full = ("x"):rep(10000000)
    local calls = {
        recv = function() s:recv() end,
        recv_bytes = function() s:recv_bytes() end,
        poll = function() s:poll(30) end,
        accept = function() while true do l:accept() end end, -- clients that gave up are told first
        connect = function() ipc.Client(l.address) end,
        wait = function() ipc.wait({s}) end,
    }
    local old = signal.signal(signal.SIGALRM, function() error("enough") end)
    for name, call in pairs(calls) do
        signal.setitimer(0.02)
        t.raises(call, "enough", name)
    end
    signal.signal(signal.SIGALRM, function() c:send("from the handler") end)
    signal.setitimer(0.02)
    t.is(s:recv(), "from the handler", "a handler that returns lets it go on")
    -- in the middle of a message that is sent
    signal.signal(signal.SIGALRM, function() error("enough") end)
    signal.setitimer(0.05)
    t.raises(function() c:send_bytes(full) end, "enough", "send")
    local p = members.spawn(function()
        t.is(#s:recv_bytes(), #full, "what was begun arrives whole")
        t.is(s:recv(), "next", "before the next one")
    end)
    c:send("next")
    p:join()
    -- a handler that returns, and one that sends itself
    local runs = 0
    signal.signal(signal.SIGALRM, function()
        runs = runs + 1
        if runs == 1 then
            members.spawn(function()
                t.is(#s:recv_bytes(), #full, "whole, with a handler")
                t.is(s:recv(), "from inside", "then the handler's")
                t.is(s:recv(), "last", "then the rest")
                stays:set()
            end)
            c:send("from inside")
        end
    end)
    signal.setitimer(0.05)
    t.is({c:send_bytes(full)}, {true}, "send goes on")
    c:send("last")
    t.is({stays:wait(30)}, {true}, "all arrived")
    signal.signal(signal.SIGALRM, old)
    other:join()
end)

members.test_of_processes("a receive that a handler ended in the middle is gone on with", function()
    local c, s = pair()
    local e = sync.Event()
    local full = ("x"):rep(10000000)
    local p = process.spawn(function()
        signal.signal(signal.SIGUSR1, function() e:wait() end) -- stops it in the middle
        c:send_bytes(full)
        c:send("next")
    end)
    t.ok(s:poll(30), "it has begun")
    members.until_asleep(p)
    signal.kill(p.pid, signal.SIGUSR1)
    local parts = 0
    local old = signal.signal(signal.SIGALRM, function()
        parts = parts + 1
        e:set()
        error("enough")
    end)
    signal.setitimer(0.1)
    t.raises(function() s:recv_bytes() end, "enough", "ended")
    signal.signal(signal.SIGALRM, old)
    t.is(#s:recv_bytes(), #full, "nothing of it was lost")
    t.is(s:recv(), "next", "nor of the next")
    p:join()
end)

members.test_of_processes("who dies in the middle of a message closes the connection for all", function()
    -- a writer: half its message is under way
    local c, s = pair()
    local p = process.spawn(function() c:send_bytes(("x"):rep(10000000)) end)
    t.ok(s:poll(30), "it has begun")
    members.until_asleep(p)
    p:kill()
    p:join()
    t.is({c:send("more")}, {false, "closed"}, "another writer")
    t.is({s:recv()}, {nil, "closed"}, "the reader")
    -- a reader
    local d, r = pair()
    local reader = process.spawn(function() r:recv_bytes() end)
    local writer = process.spawn(function()
        signal.signal(signal.SIGUSR1, function() signal.pause() end) -- stops in the middle
        d:send_bytes(("x"):rep(10000000))
    end)
    members.until_asleep(reader)
    process.spawn(function()
        r:close()
        d:close()
    end):join()
    reader:kill()
    reader:join()
    writer:kill()
    writer:join()
    d:close()
    local v, why = r:recv_bytes()
    t.ok(v == nil and why == "closed", "no part of a message is taken for one")
end)

members.test_of_processes("a reader that waits for a message and is killed takes nothing with it", function()
    local c, s = pair()
    local p = process.spawn(function() s:recv() end)
    members.until_asleep(p)
    p:kill()
    p:join()
    c:send("for the next")
    t.is(s:recv(), "for the next", "the next one has it")
end)

t.done()
