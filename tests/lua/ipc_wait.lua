-- ipc.wait, and a connection's descriptor.

local members = require "members"
local t = require "tap"

t.test("tells what is ready, in the order of the list", function()
    local q, e = ipc.Queue(), sync.Event()
    local r, w = ipc.Pipe(false)
    local p = process.spawn(function() end)
    p:join()
    t.is(ipc.wait({q, e, r}, 0), {}, "nothing")
    q:put(1)
    local ready = ipc.wait({q, e, r})
    t.ok(#ready == 1 and ready[1] == q, "a queue with a message")
    e:set()
    w:send(1)
    ready = ipc.wait({e, p, r, q, p.sentinel}, 0)
    t.ok(#ready == 5 and ready[1] == e and ready[2] == p and ready[3] == r and ready[4] == q and
        ready[5] == p.sentinel, "event, process, connection, queue and descriptor")
    q:get()
    r:recv()
    e:clear()
    ready = ipc.wait({q, e, r, p}, 0)
    t.ok(#ready == 1 and ready[1] == p, "not what has been taken")
    q:close()
    w:close()
    t.is(#ipc.wait({q, r}, 0), 2, "what is closed is ready: a get would not wait")
end)

t.test("waits no longer than it is told, and then returns an empty list", function()
    local q, e = ipc.Queue(), sync.Event()
    local p = process.spawn(function() e:wait() end)
    for name, list in pairs {words = {q}, descriptors = {p}, both = {q, p}, none = {}} do
        local before = process.monotonic()
        t.is(ipc.wait(list, 0.1), {}, name .. ": empty")
        t.ok(process.monotonic() - before >= 0.1, name .. ": after its time")
        t.is(ipc.wait(list, 0), {}, name .. ": no time")
        t.is(ipc.wait(list, -1), {}, name .. ": less")
    end
    e:set()
    p:join()
end)

t.test("is ended by the first that becomes ready, whatever it is", function()
    local kinds = {
        queue = function()
            local q = ipc.Queue()
            return q, function() q:put(1) end
        end,
        event = function()
            local e = sync.Event()
            return e, function() e:set() end
        end,
        connection = function()
            local a, b = ipc.Pipe()
            return a, function() b:send(1) end
        end,
        ["closed queue"] = function()
            local q = ipc.Queue()
            return q, function() q:close() end
        end,
    }
    local others = {ipc.Queue(), sync.Event(), (ipc.Pipe())}
    local stays = sync.Event()
    local sleeper = process.spawn(function() stays:wait() end)
    for name, make in pairs(kinds) do
        for _, mixed in ipairs {false, true} do
            local object, act = make()
            local list = {others[1], others[2], object, others[3], mixed and sleeper or nil}
            local p = members.spawn(function()
                process.sleep(0.02)
                act()
            end)
            local ready = ipc.wait(list, 30)
            t.ok(#ready == 1 and ready[1] == object,
                name .. (mixed and ", beside a process" or ""))
            p:join()
        end
    end
    local short = process.spawn(process.sleep, 0.02)
    local ready = ipc.wait({others[1], sleeper, short}, 30)
    t.ok(#ready == 1 and ready[1] == short, "process, beside a queue")
    short = process.spawn(process.sleep, 0.02)
    ready = ipc.wait({sleeper, short.sentinel}, 30)
    t.ok(#ready == 1 and ready[1] == short.sentinel, "descriptor alone")
    stays:set()
    sleeper:join()
    short:join()
end)

t.test("handlers run meanwhile; one that raises ends it", function()
    local q, e = ipc.Queue(), sync.Event()
    local stays = sync.Event()
    local p = process.spawn(function() stays:wait() end)
    local old = signal.signal(signal.SIGALRM, function() q:put("from the handler") end)
    for _, list in ipairs {{q, e}, {q, p}} do
        signal.setitimer(0.02)
        t.ok(ipc.wait(list, 30)[1] == q, "it goes on")
        q:get()
    end
    signal.signal(signal.SIGALRM, function() error("enough") end)
    for _, list in ipairs {{q, e}, {p}, {q, p}, {}} do
        signal.setitimer(0.02)
        t.raises(function() ipc.wait(list) end, "enough", "raised")
    end
    signal.signal(signal.SIGALRM, old)
    stays:set()
    p:join()
end)

t.test("what cannot be waited for raises", function()
    t.raises(function() ipc.wait() end, "table expected", "no list")
    t.raises(function() ipc.wait({sync.Lock()}) end, "ipc_wait.lua:%d+: ipc.wait cannot wait for a Lock",
        "a lock")
    t.raises(function() ipc.wait({"x"}) end, "waits for connections, queues.*not for a string", "a string")
    t.raises(function() ipc.wait({{}}) end, "not for a table", "a table")
    t.raises(function() ipc.wait({-1}) end, "not for a number", "no descriptor")
    t.raises(function() ipc.wait({1 << 40}) end, "not for a number", "far from it")
    t.raises(function() ipc.wait({9999}) end, "descriptor 9999 is not open", "one that is not open")
    t.raises(function() ipc.wait({ipc.Queue(), 9999}) end, "descriptor 9999 is not open",
        "beside a queue")
    t.raises(function() ipc.wait({process.Process{name = "later", target = print}}) end,
        'cannot wait for Process "later" %(not started%)', "a process not yet started")
    t.raises(function() ipc.wait({select(2, ipc.Pipe(false))}) end, "can only send", "a sending end")
    t.raises(function() ipc.wait({}, "x") end, "number expected", "no time")
    local many = {}
    for i = 1, 200 do
        many[i] = sync.Event()
    end
    t.raises(function() ipc.wait(many, 0) end, "at most 126", "too many")
    many = table.move(many, 1, 126, 1, {})
    many[126]:set()
    local ready = ipc.wait(many, 10)
    t.ok(#ready == 1 and ready[1] == many[126], "126 are not")
    many[126]:clear()
    t.is(ipc.wait(many, 0.01), {}, "with waiting")
end)

t.test("several may wait for one thing; each looks, one takes", function()
    local q, told = ipc.Queue(), ipc.Queue()
    local ps = {}
    for i = 1, 3 do
        ps[i] = members.spawn(function()
            local n = 0
            while true do
                ipc.wait({q, sync.Event()})
                local v, why = q:get(false)
                if v then
                    n = n + v
                elseif why == "closed" then
                    break
                end
            end
            told:put(n)
        end)
    end
    for i = 1, 500 do
        q:put(i)
    end
    q:close()
    t.is(told:get(60) + told:get(60) + told:get(60), 125250, "nothing is lost")
    for i = 1, 3 do
        ps[i]:join()
    end
end)

-- Whether the descriptor can be read; ipc.wait polls it like any other.
local function is_readable(descriptor, time)
    return #ipc.wait({descriptor}, time or 0) == 1
end

t.test("a connection's descriptor is readable while something can be received", function()
    local r, w = ipc.Pipe(false)
    local descriptor = r:fileno()
    t.is(math.type(descriptor), "integer", "a number")
    t.is(r:fileno(), descriptor, "always the same")
    t.is(is_readable(descriptor), false, "nothing there")
    w:send(1)
    t.is(is_readable(descriptor, 30), true, "a message")
    w:send(2)
    t.is(r:recv(), 1, "one is received")
    t.is(is_readable(descriptor), true, "another is there")
    t.is(r:recv(), 2, "received")
    t.is(is_readable(descriptor), false, "none is, at once")
    for i = 1, 200 do
        local p = i % 50 == 0 and members.spawn(function() w:send(i) end) or w:send(i) and nil
        if not is_readable(descriptor, 30) then
            t.ok(false, "message " .. i)
        end
        if r:recv() ~= i or is_readable(descriptor) then
            t.ok(false, "received " .. i)
        end
        if p then
            p:join()
        end
    end
    w:close()
    t.is(is_readable(descriptor, 30), true, "the end can be received")
    t.is({r:recv()}, {nil, "closed"}, "as it is")
    t.is(is_readable(descriptor), true, "again and again")
    r:close()
    t.raises(function() ipc.wait({descriptor}, 0) end, "is not open", "it is closed with the connection")
    t.raises(function() w:fileno() end, "this Connection is closed", "a closed one has none")
    t.raises(function() select(2, ipc.Pipe(false)):fileno() end, "can only send", "a sending one neither")
end)

t.test("a message that was there before the first fileno shows at once", function()
    local r, w = ipc.Pipe(false)
    w:send(1)
    t.is(is_readable(r:fileno()), true, "readable")
end)

t.test("a descriptor shows that another process took the message", function()
    local r, w = ipc.Pipe(false)
    local descriptor = r:fileno()
    w:send(1)
    t.is(is_readable(descriptor, 30), true, "readable")
    members.spawn(function() r:recv() end):join()
    local n = 0
    while is_readable(descriptor) and n < 5000 do
        process.sleep(0.002)
        n = n + 1
    end
    t.is(is_readable(descriptor), false, "no more")
end)

members.test_of_processes("a child has a descriptor of its own, of the same number", function()
    local r, w = ipc.Pipe(false)
    local other, other_w = ipc.Pipe(false)
    local descriptor = r:fileno()
    other:fileno()
    local told = ipc.Queue()
    local p = members.spawn(function()
        told:put(r:fileno() == descriptor)
        told:put(is_readable(descriptor))
        told:put("ready")
        told:put(is_readable(descriptor, 30))
        told:put(r:recv())
        told:put(is_readable(descriptor))
        r:close()
        other:close() -- never used here
    end)
    t.is({told:get(), told:get(), told:get()}, {true, false, "ready"}, "made in the child")
    w:send("to the child")
    t.is({told:get(30), told:get(30), told:get(30)}, {true, "to the child", false}, "and works")
    p:join()
    t.is(p.exitcode, 0, "the child ends well")
    w:send("to the parent")
    other_w:send(1)
    t.is(is_readable(descriptor, 30), true, "the parent's is as it was")
    t.is(is_readable(other:fileno(), 30), true, "also of one that the child closed")
    t.is(r:recv(), "to the parent", "received")
    t.is(is_readable(descriptor), false, "nothing more")
end)

t.test("descriptors go with their connections", function()
    local function count() -- not by io.popen, whose own descriptors come and go
        local name, n = os.tmpname(), 0
        local pid = process.getpid()
        os.execute(("ls /proc/%d/fd /proc/%d/task > %s"):format(pid, pid, name))
        for _ in io.lines(name) do
            n = n + 1
        end
        os.remove(name)
        return n
    end
    collectgarbage()
    local before = count()
    for i = 1, 50 do
        local a, b = ipc.Pipe()
        a:fileno()
        b:fileno()
        if i % 2 == 0 then
            a:close()
        end
    end
    collectgarbage()
    collectgarbage()
    -- A system's thread whose thread ended before is there for a moment.
    local deadline = process.monotonic() + 30
    while count() > before and process.monotonic() < deadline do process.sleep(0.01) end
    local after = count()
    t.ok(after <= before, ("descriptors and threads: %d, were %d"):format(after, before))
end)

t.test("a signal's handler runs in the script's thread, whoever has a descriptor", function()
    local r, w = ipc.Pipe(false)
    r:fileno()
    local calls = 0
    local old = signal.signal(signal.SIGALRM, function() calls = calls + 1 end)
    for _ = 1, 10 do
        local before = calls
        signal.setitimer(0.005)
        sync.Event():wait(0.1)
        t.is(calls, before + 1, "it interrupts the wait")
    end
    signal.signal(signal.SIGALRM, old)
    w:close()
end)

t.done()
