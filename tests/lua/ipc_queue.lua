-- ipc.Queue, ipc.SimpleQueue and ipc.JoinableQueue.

local members = require "members"
local t = require "tap"

for _, class in ipairs {"Queue", "SimpleQueue", "JoinableQueue"} do
    local Queue = ipc[class]

    t.test(class .. ": what was put comes out in that order", function()
        local q = Queue()
        for i = 1, 100 do
            t.is({q:put(i)}, {true}, "put is true")
        end
        t.is(q:qsize(), 100, "qsize")
        local got = {}
        for i = 1, 100 do
            got[i] = q:get()
        end
        local same = true
        for i = 1, 100 do
            same = same and got[i] == i
        end
        t.ok(same, "in order")
        t.is({q:empty(), q:full(), q:qsize()}, {true, false, 0}, "and it is empty")
    end)

    t.test(class .. ": a get that gives up is nil and \"empty\", or \"timeout\" if it waited", function()
        local q = Queue()
        for _, args in ipairs {{false}, {0}, {-1}, {true, 0}, {false, 5}, {0 / 0}} do
            t.is({q:get(args[1], args[2])}, {nil, "empty"}, ("get(%s, %s)"):format(args[1], args[2]))
        end
        t.is({q:get_nowait()}, {nil, "empty"}, "get_nowait")
        for _, args in ipairs {{0.02}, {true, 0.02}, {nil, 0.02}} do
            t.is({q:get(args[1], args[2])}, {nil, "timeout"}, ("get(%s, %s)"):format(args[1], args[2]))
        end
        local before = process.monotonic()
        q:get(0.1)
        t.ok(process.monotonic() - before >= 0.1, "it waits as long as it was told")
        t.raises(function() q:get("x") end, "bad argument #1 to 'get'", "a wrong flag")
        t.raises(function() q:get(true, "x") end, "number expected", "a wrong time")
    end)

    t.test(class .. ": a put that gives up is false and \"full\", or \"timeout\" if it waited", function()
        local q = Queue(2)
        t.is({q:put(1), q:put(2)}, {true, true}, "two find room")
        t.is({q:full(), q:qsize()}, {true, 2}, "full")
        for _, args in ipairs {{false}, {0}, {-1}, {true, 0}, {false, 5}} do
            t.is({q:put(3, args[1], args[2])}, {false, "full"},
                ("put(3, %s, %s)"):format(args[1], args[2]))
        end
        t.is({q:put_nowait(3)}, {false, "full"}, "put_nowait")
        for _, args in ipairs {{0.02}, {true, 0.02}, {nil, 0.02}} do
            t.is({q:put(3, args[1], args[2])}, {false, "timeout"},
                ("put(3, %s, %s)"):format(args[1], args[2]))
        end
        t.is({q:get(), q:get(), q:get(false)}, {1, 2, nil, "empty"}, "and what was there is there")
    end)

    t.test(class .. ": nil is no message", function()
        local q = Queue()
        t.raises(function() q:put(nil) end, "ipc_queue.lua:%d+: nil is not a message.*close the queue",
            "nil")
        t.raises(function() q:put() end, "put wants a value", "nothing")
        t.raises(function() q:put_nowait(nil) end, "nil is not a message", "put_nowait")
        t.is(q:qsize(), 0, "nothing was put")
        t.ok(q:put(false), "but false is one")
        t.is({q:get()}, {false}, "and arrives")
    end)

    t.test(class .. ": what cannot be sent raises with its path and leaves the queue as it was",
        function()
            local q = Queue()
            q:put("before")
            t.raises(function() q:put(io.stdout) end,
                "ipc_queue.lua:%d+: cannot send value: a file handle belongs to its process", "a file")
            t.raises(function() q:put({list = {1, {io.stdout}}}) end,
                "cannot send value.list%[2%]%[1%]", "deep in tables")
            t.raises(function() q:put(coroutine.create(print)) end, "cannot send value: a coroutine",
                "a coroutine")
            t.raises(function() q:put(setmetatable({}, {})) end, "cannot send value", "a metatable")
            t.is(q:qsize(), 1, "one message, as before")
            q:put("after")
            t.is({q:get(), q:get()}, {"before", "after"}, "which is whole")
        end)

    t.test(class .. ": after close nobody puts, gets drain it, then it is \"closed\"", function()
        local q, other = Queue{name = "q"}, ipc.Queue()
        q:put(1)
        q:put(2)
        members.spawn(function() q:close() end):join()
        t.is({q:put(3)}, {false, "closed"}, "put")
        t.is({q:put_nowait(3)}, {false, "closed"}, "put_nowait")
        t.is({q:put_many({3})}, {0, "closed"}, "put_many")
        local not_done = class == "JoinableQueue" and ", 2 not done" or ""
        t.is(tostring(q), class .. ' "q" (2' .. not_done .. ", closed)", "printed")
        t.is(q:get(), 1, "the first")
        t.is(q:get(false), 2, "the second")
        t.is({q:get()}, {nil, "closed"}, "get")
        t.is({q:get(false)}, {nil, "closed"}, "get that does not wait")
        t.is({q:get_nowait()}, {nil, "closed"}, "get_nowait")
        t.is({q:get(0.1)}, {nil, "closed"}, "get with a time")
        t.is({q:get_many(3)}, {nil, "closed"}, "get_many")
        q:close()
        t.is({q:get()}, {nil, "closed"}, "to close it twice is no mistake")
        local n = 0
        for _ in q:iter() do
            n = n + 1
        end
        t.is(n, 0, "nothing to go through")
        t.raises(function() q:put(nil) end, "nil is not a message", "a mistake is one still")
        t.is(other:empty(), true, "other queues do not care")
    end)

    t.test(class .. ": close wakes those who wait to get and to put", function()
        local q, full, told = Queue(), Queue(1), ipc.Queue()
        full:put("x")
        local ps = {
            members.spawn(function() told:put("g") told:put({q:get()}) end),
            members.spawn(function() told:put("g") told:put({q:get()}) end),
            members.spawn(function() told:put("p") told:put({full:put("y")}) end),
            members.spawn(function() told:put("p") told:put({full:put("y")}) end),
        }
        for i = 1, 4 do
            told:get()
        end
        for i = 1, 4 do
            members.until_asleep(ps[i])
        end
        q:close()
        for _ = 1, 2 do
            t.is(told:get(30), {nil, "closed"}, "a get")
        end
        full:close()
        for _ = 1, 2 do
            t.is(told:get(30), {false, "closed"}, "a put")
        end
        t.is(full:get(), "x", "what was there")
        t.is({full:get()}, {nil, "closed"}, "is all there was")
        for i = 1, 4 do
            ps[i]:join()
        end
    end)

    t.test(class .. ": iter goes on until it is closed and drained", function()
        local q, sum = Queue(), ipc.Value("q", 0)
        local ps = {}
        for i = 1, 3 do
            ps[i] = members.spawn(function()
                for v in q:iter() do
                    sum:add(v)
                end
            end)
        end
        for i = 1, 1000 do
            q:put(i)
        end
        q:close()
        for i = 1, 3 do
            ps[i]:join()
        end
        t.is(sum.value, 500500, "all were got")
    end)

    t.test(class .. ": many producers and consumers: every message once, each producer's in order",
        function()
            local q, results = Queue(50), ipc.Queue()
            local producers, consumers, each = 4, 3, 2000
            local ps, cs = {}, {}
            for i = 1, producers do
                ps[i] = members.spawn(function()
                    for k = 1, each do
                        q:put({from = i, k = k, text = ("%d:%d"):format(i, k):rep(k % 20)})
                    end
                end)
            end
            for i = 1, consumers do
                cs[i] = members.spawn(function()
                    local last, counts, faults = {0, 0, 0, 0}, {0, 0, 0, 0}, 0
                    for m in q:iter() do
                        if m.k <= last[m.from] or
                            m.text ~= ("%d:%d"):format(m.from, m.k):rep(m.k % 20) then
                            faults = faults + 1
                        end
                        last[m.from] = m.k
                        counts[m.from] = counts[m.from] + m.k
                    end
                    results:put({counts, faults})
                end)
            end
            for i = 1, producers do
                ps[i]:join()
            end
            q:close()
            local sums, faults = {0, 0, 0, 0}, 0
            for _ = 1, consumers do
                local counts = results:get()
                for i = 1, producers do
                    sums[i] = sums[i] + counts[1][i]
                end
                faults = faults + counts[2]
            end
            local sum = each * (each + 1) // 2
            t.is(sums, {sum, sum, sum, sum}, "the sums")
            t.is(faults, 0, "order and content")
            for i = 1, consumers do
                cs[i]:join()
            end
        end)

    t.test(class .. ": never holds more than maxsize, and the producer goes on as there is room",
        function()
            local q = Queue{maxsize = 3, name = "jobs"}
            local p = members.spawn(function()
                for i = 1, 200 do
                    q:put(i)
                end
            end)
            local most, good = 0, true
            for i = 1, 200 do
                most = math.max(most, q:qsize())
                good = good and q:get(30) == i
            end
            t.ok(good and most <= 3, "at most three: " .. most)
            p:join()
            q:put("x")
            local not_done = class == "JoinableQueue" and ", 201 not done" or ""
            t.is(tostring(q), class .. ' "jobs" (1/3' .. not_done .. ")", "printed")
        end)

    t.test(class .. ": put_many and get_many", function()
        local q = Queue()
        t.is({q:put_many({1, "two", {3}, false})}, {4}, "four put")
        t.is(q:get_many(3), {1, "two", {3}}, "three of them")
        t.is(q:get_many(100), {false}, "the rest, without waiting for more")
        t.is({q:get_many(1, 0)}, {nil, "empty"}, "none, without waiting")
        t.is({q:get_many(1, 0.02)}, {nil, "timeout"}, "none, with waiting")
        t.is({q:put_many({})}, {0}, "nothing put")
        local list = {}
        for i = 1, 1000 do -- of all sizes, with what is no number in between
            list[i] = i % 17 == 0 and "s" .. i or i % 19 == 0 and {i} or i % 23 == 0 and i / 7 or
                i % 29 == 0 and (i % 2 == 0) or (i % 2 == 0 and 1 or -1) << i % 63
        end
        t.is({q:put_many(list)}, {1000}, "a thousand put")
        local back = {}
        while #back < 1000 do
            for _, v in ipairs(q:get_many(#back % 150 + 1, 0)) do back[#back + 1] = v end
        end
        t.is(back, list, "and got, many at a time")
        local small = Queue(3)
        t.is({small:put_many({1, 2, 3, 4, 5}, 0)}, {3, "full"}, "as many as have room")
        t.is({small:put_many({4}, 0.02)}, {0, "timeout"}, "none in time")
        t.is(small:get_many(9), {1, 2, 3}, "those are there")
        t.raises(function() q:put_many() end, "table expected", "no list")
        t.raises(function() q:put_many({1}, "x") end, "number expected", "no time")
        t.raises(function() q:get_many() end, "number expected", "no number")
        t.raises(function() q:get_many(0) end, "at least 1 expected", "none wanted")
        t.is(q:qsize(), 0, "nothing was put")
        t.raises(function() q:put_many({1, 2, io.stdout, 4}) end,
            "ipc_queue.lua:%d+: cannot send list%[3%].*: a file handle", "one that cannot be sent")
        t.is(q:get_many(9), {1, 2}, "those before it are there")
        t.raises(function() q:put_many(setmetatable({1}, {__len = function() return 2 end})) end,
            "list%[2%]", "nil in the list, and which")
        q:get_many(9)
        local p = members.spawn(function()
            local list = {}
            for i = 1, 1000 do
                list[i] = i
            end
            small:put_many(list)
        end)
        local n, good = 0, true
        while n < 1000 do
            for _, v in ipairs(small:get_many(10)) do
                n = n + 1
                good = good and v == n
            end
        end
        t.ok(good, "through a small queue, in order")
        p:join()
    end)

    t.test(class .. ": a message put by a member that dies at once is delivered", function()
        local q = Queue()
        for i = 1, 30 do
            members.spawn(function()
                q:put({i, ("x"):rep(i * 1000)})
                members.die()
            end):join()
            local got = q:get_nowait()
            if not (got and got[1] == i and #got[2] == i * 1000) then
                t.ok(false, "message " .. i)
            end
        end
        t.is(q:empty(), true, "each once")
    end)

    members.test_of_processes(class .. ": producers and consumers killed anywhere leave a whole queue", function()
        local q = Queue(20)
        local ps = {}
        local function start(i)
            return members.spawn(i % 2 == 0 and function()
                local k = 0
                while true do
                    k = k + 1
                    q:put({k, ("x"):rep(k % 5000)})
                end
            end or function()
                for m in q:iter() do
                    if #m[2] ~= m[1] % 5000 then
                        process.exit(3)
                    end
                end
            end)
        end
        for i = 1, 4 do
            ps[i] = start(i)
        end
        local torn = 0
        for round = 1, 24 do
            process.sleep(0.003)
            local i = round % 4 + 1
            ps[i]:kill()
            ps[i]:join()
            torn = torn + (ps[i].exitcode == 3 and 1 or 0)
            ps[i] = start(i)
        end
        for i = 1, 4 do
            ps[i]:kill()
            ps[i]:join()
            torn = torn + (ps[i].exitcode == 3 and 1 or 0)
        end
        t.is(torn, 0, "no message was torn")
        local left = q:qsize()
        t.ok(left <= 20, "no more than its size: " .. left)
        for _ = 1, left do
            local m = q:get(10)
            if not m or #m[2] ~= m[1] % 5000 then
                t.ok(false, "what is left is whole")
            end
        end
        t.is({q:get(false)}, {nil, "empty"}, "and as many as it said")
        t.is(q:put("alive", 1), true, "it can be put to")
        t.is(q:get(1), "alive", "and got from")
    end)

    members.test_of_processes(class .. ": a killed waiter takes no message with it", function()
        local q, told = Queue(), ipc.Queue()
        local ps = {}
        for i = 1, 3 do
            ps[i] = members.spawn(function()
                told:put(i)
                q:get()
                told:put(-i)
            end)
            told:get()
            members.until_asleep(ps[i])
        end
        ps[1]:kill()
        ps[1]:join()
        q:put("a")
        q:put("b")
        local who = {told:get(30), told:get(30)}
        table.sort(who)
        t.is(who, {-3, -2}, "the others get both")
        ps[2]:join()
        ps[3]:join()
    end)

    t.test(class .. ": takes a maxsize and a name", function()
        t.raises(function() Queue("x") end, "number expected, got string", "a string")
        t.raises(function() Queue(1, 2) end, "takes at most 1 argument, not 2", "two")
        t.raises(function() Queue{max_size = 1} end,
            "unknown option 'max_size' of ipc." .. class .. "; did you mean 'maxsize'?", "misspelt")
        t.raises(function() Queue(1 << 40) end, "smaller maxsize", "too large")
        t.is(Queue(0):put(1, false), true, "0 is any")
        t.is(Queue(-5):put(1, false), true, "and so is less")
    end)

    t.test(class .. ": handlers run during waits; one that raises ends it with nothing taken", function()
        local q, full = Queue(), Queue(1)
        full:put("x")
        local old = signal.signal(signal.SIGALRM, function()
            q:put("from the handler")
            full:get()
        end)
        signal.setitimer(0.02)
        t.is(q:get(), "from the handler", "a get goes on")
        full:put("x")
        signal.setitimer(0.02)
        local big = {("b"):rep(100)}
        t.is(full:put(big), true, "a put goes on")
        t.is(full:get(), big, "with what it was given")
        q:get()
        signal.signal(signal.SIGALRM, function() error("enough") end)
        signal.setitimer(0.02)
        t.raises(function() q:get() end, "enough", "raised in a get")
        full:put("x")
        signal.setitimer(0.02)
        t.raises(function() full:put("y") end, "enough", "raised in a put")
        signal.setitimer(0.02)
        t.raises(function() q:get_many(5) end, "enough", "raised in get_many")
        signal.setitimer(0.02)
        t.raises(function() full:put_many({1, 2}) end, "enough", "raised in put_many")
        signal.signal(signal.SIGALRM, old)
        t.is({q:qsize(), full:qsize(), full:get()}, {0, 1, "x"}, "nothing came or went")
    end)
end

t.test("large messages arrive whole, more than one at a time", function()
    local q = ipc.Queue()
    local n = 12 << 20
    local unit = "0123456789abcdef"
    local p = members.spawn(function()
        for i = 1, 3 do
            q:put(unit:rep(n // 16) .. i)
        end
        local list = {}
        for i = 1, 200000 do
            list[i] = i * 7
        end
        q:put({list = list, text = unit:rep(n // 16)})
    end)
    for i = 1, 3 do
        local s = q:get()
        t.ok(#s == n + 1 and s == unit:rep(n // 16) .. i, "12 MiB, message " .. i)
    end
    local m = q:get()
    local good = #m.list == 200000 and #m.text == n
    for i = 1, #m.list do
        good = good and m.list[i] == i * 7
    end
    t.ok(good, "a table of the kind")
    p:join()
    q:put(("x"):rep(n))
    q:put("small")
    t.is(#q:get(), n, "also in one's own queue")
    t.is(q:get(), "small", "and what is behind it")
end)

t.test("a hundred thousand messages arrive in order", function()
    local q, n = ipc.Queue(), 100000
    local p = members.spawn(function()
        for i = 1, n do
            q:put(i)
        end
    end)
    local good = true
    for i = 1, n do
        good = good and q:get() == i
    end
    t.ok(good, "through it")
    p:join()
    for i = 1, n do
        q:put(i)
    end
    t.is(q:qsize(), n, "waiting in it")
    for i = 1, n do
        good = good and q:get(false) == i
    end
    t.ok(good, "and out again")
end)

t.test("messages of every size around the limits of segments arrive whole", function()
    local q = ipc.Queue()
    local sizes = {}
    for _, base in ipairs {1024, 4096, 8192, 16384, 32768, 65536, 1 << 20} do
        for d = -40, 40, 8 do
            sizes[#sizes + 1] = base + d
        end
    end
    local p = members.spawn(function()
        for i, size in ipairs(sizes) do
            q:put(string.char(i % 256):rep(size))
        end
    end)
    local good = 0
    for i, size in ipairs(sizes) do
        if q:get() == string.char(i % 256):rep(size) then
            good = good + 1
        end
    end
    t.is(good, #sizes, "all of them")
    p:join()
end)

t.test("a table that is put is copied: later changes do not show", function()
    local q = ipc.Queue()
    local v = {1}
    q:put(v)
    v[1] = 2
    local got = q:get()
    t.is(got, {1}, "as it was")
    t.ok(got ~= v, "another table")
end)

t.test("JoinableQueue: join waits until every message is done with", function()
    local q, done = ipc.JoinableQueue(), ipc.Value("i", 0)
    local ps = {}
    for i = 1, 3 do
        ps[i] = members.spawn(function()
            for _ in q:iter() do
                done:add(1)
                q:task_done()
            end
        end)
    end
    for round = 1, 20 do
        for i = 1, 10 do
            q:put(i)
        end
        t.is({q:join()}, {true}, "join is true")
        if done.value ~= round * 10 then
            t.ok(false, ("round %d: %d done"):format(round, done.value))
        end
    end
    q:close()
    for i = 1, 3 do
        ps[i]:join()
    end
    t.is(done.value, 200, "all done")
end)

t.test("JoinableQueue: join gives up with \"timeout\"; task_done too often raises", function()
    local q = ipc.JoinableQueue{name = "jobs"}
    t.is({q:join(0)}, {true}, "nothing to wait for")
    q:put(1)
    q:put(2)
    t.is({q:join(0)}, {false, "timeout"}, "without waiting")
    t.is({q:join(0.02)}, {false, "timeout"}, "with waiting")
    q:get()
    q:get()
    t.is({q:join(0)}, {false, "timeout"}, "got is not done")
    q:task_done()
    t.is({q:join(0)}, {false, "timeout"}, "one is not all")
    q:task_done()
    t.is({q:join()}, {true}, "both are")
    t.raises(function() q:task_done() end,
        'ipc_queue.lua:%d+: task_done of JoinableQueue "jobs": called more often', "once more")
    t.is({q:join()}, {true}, "and changes nothing")
    t.raises(function() ipc.Queue():task_done() end, "task_done", "a Queue has none")
    q:put(1)
    local old = signal.signal(signal.SIGALRM, function()
        q:get()
        q:task_done()
    end)
    signal.setitimer(0.02)
    t.is({q:join()}, {true}, "a handler runs during join")
    q:put(1)
    signal.signal(signal.SIGALRM, function() error("enough") end)
    signal.setitimer(0.02)
    t.raises(function() q:join() end, "enough", "and may end it")
    signal.signal(signal.SIGALRM, old)
end)

t.done()
