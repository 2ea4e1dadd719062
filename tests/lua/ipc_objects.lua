-- Objects inside messages, and how long they live.

local members = require "members"
local t = require "tap"

local function collect()
    collectgarbage()
    collectgarbage()
end

local makers = {
    Lock = function() return sync.Lock() end,
    RLock = function() return sync.RLock() end,
    Semaphore = function() return sync.Semaphore(2) end,
    BoundedSemaphore = function() return sync.BoundedSemaphore(2) end,
    Event = function() return sync.Event() end,
    Condition = function() return sync.Condition() end,
    Barrier = function() return sync.Barrier(2) end,
    Queue = function() return ipc.Queue(3) end,
    JoinableQueue = function() return ipc.JoinableQueue() end,
    SimpleQueue = function() return ipc.SimpleQueue() end,
    Connection = function() return (ipc.Pipe()) end,
    Value = function() return ipc.Value("i", 5) end,
    Array = function() return ipc.Array("i", 5) end,
    Dict = function() return ipc.Dict({a = 1}) end,
    List = function() return ipc.List({1}) end,
    ["a value's lock"] = function() return ipc.Value("i"):get_lock() end,
    ["an array's lock"] = function() return ipc.Array("i", 1):get_lock() end,
}

for name, make in pairs(makers) do
    t.test(name .. ": arrives as the same object, wherever it stands", function()
        local q, object = ipc.Queue(), make()
        q:put(object)
        t.ok(q:get() == object, "alone")
        q:put({object, {deep = object}, [object] = object})
        local m = q:get()
        t.ok(m[1] == object and m[2].deep == object and m[object] == object, "in tables, and as a key")
        q:put(function() return object end)
        t.ok(q:get()() == object, "as a function's upvalue")
        local r, w = ipc.Pipe(false)
        w:send({object})
        t.ok(r:recv()[1] == object, "through a pipe")
        local d = ipc.Dict()
        d.x = object
        t.ok(d.x == object, "in a Dict")
        local said = tostring(object)
        local there, back = ipc.Queue(), ipc.Queue()
        local p = members.spawn(function()
            local got = there:get()
            back:put({tostring(got), got})
        end)
        local fresh = make() -- the child has not inherited this one
        there:put(fresh)
        local answer = back:get(30)
        t.is(answer[1], tostring(fresh), "in another process it prints the same")
        t.ok(answer[2] == fresh, "and comes back as itself")
        p:join()
        t.is(tostring(object), said, "as it was")
    end)
end

t.test("an object in a message that nobody else has lives until it is got", function()
    local q = ipc.Queue()
    local p = members.spawn(function()
        local inner = ipc.Queue{name = "inner"}
        inner:put("from the dead")
        q:put({inner, ipc.Value("i", 42)})
    end)
    p:join()
    for _ = 1, 100 do -- what would take its place if it were gone
        ipc.Queue():put(1)
        ipc.Value("i", 1)
    end
    collect()
    local m = q:get()
    t.is({tostring(m[1]), m[1]:get(), m[2].value}, {'Queue "inner" (1)', "from the dead", 42}, "whole")
end)

t.test("messages in a queue in a message in a queue live with it", function()
    local outer = ipc.Queue()
    do
        local middle, inner = ipc.Queue(), ipc.Queue()
        inner:put({sync.Event(), "deep"})
        middle:put(inner)
        outer:put(middle)
    end
    collect()
    for _ = 1, 50 do
        sync.Event()
        ipc.Queue()
    end
    local m = outer:get():get():get()
    t.is({m[1]:is_set(), m[2]}, {false, "deep"}, "down to the last")
end)

t.test("a lock that is held in one process is held in the one that receives it", function()
    local q, lock = ipc.Queue(), nil
    local told = ipc.Queue()
    local p = members.spawn(function()
        local l = q:get()
        told:put({l:acquire(false) == nil, tostring(l)})
        told:put(select(2, pcall(l.release, l)))
        l:acquire()
        told:put("has it")
        l:release()
    end)
    lock = sync.Lock{name = "passed"}
    lock:acquire()
    q:put(lock)
    t.is(told:get(30), {true, 'Lock "passed" (held by MainProcess)'}, "held")
    t.ok(told:get(30):find("it is held by MainProcess", 1, true), "and another's")
    lock:release()
    t.is(told:get(30), "has it", "until it is released")
    p:join()
end)

t.test("answers come through a queue that came with the question", function()
    local questions = ipc.Queue()
    local p = members.spawn(function()
        for m in questions:iter() do
            m.reply:put(m.x * m.x)
        end
    end)
    local good = true
    for i = 1, 200 do
        local reply = ipc.Queue()
        questions:put({x = i, reply = reply})
        good = good and reply:get(30) == i * i
    end
    t.ok(good, "two hundred")
    questions:close()
    p:join()
end)

t.test("a class whose module was not used so far in the receiver arrives, too", function()
    local f <close> = io.popen((os.getenv("LUAMP") or "luamp") .. [[ -e '
        local a, b = ipc.Pipe()
        local p = process.spawn(function() -- here nobody has said sync so far
            local lock = b:recv()
            b:send(tostring(lock) .. " " .. tostring(lock:acquire() == lock))
        end)
        local lock = sync.Lock{name = "late"}
        a:send(lock)
        print(a:recv())
        p:join()' 2>&1]])
    t.is(f:read("a"), 'Lock "late" (free) true\n', "sync")
end)

members.test_of_processes("a receiver that is killed with an object in hand leaves it to the others", function()
    local q, said = ipc.Queue(), ipc.Queue()
    local lock = sync.Lock()
    for _ = 1, 20 do
        q:put({lock})
        local p = members.spawn(function()
            local got = q:get()
            said:put(got[1] == lock)
            signal.kill(process.getpid(), signal.SIGKILL)
        end)
        if not said:get(30) then
            t.ok(false, "another lock arrived")
        end
        p:join()
    end
    t.ok(lock:acquire(false), "it is as good as before")
    lock:release()
end)

t.test("what is in a message that is never got goes with the queue", function()
    for _ = 1, 2000 do -- more would not fit if they stayed
        local q = ipc.Queue()
        q:put({q2 = ipc.Queue(), v = ipc.Array("d", 100000)})
    end
    collect()
    t.ok(ipc.Array("d", 1 << 20), "there is room")
end)

t.test("an object that carries itself can be sent and read", function()
    local q = ipc.Queue()
    q:put({q})
    t.ok(q:get()[1] == q, "a queue through itself")
    local a, b = ipc.Pipe()
    a:send(b)
    t.ok(b:recv() == b, "an end through its own pipe")
end)

t.done()
