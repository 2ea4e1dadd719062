-- sync.Barrier.

local members = require "members"
local t = require "tap"

-- A process that waits at the barrier and puts what it got.
local function party(b, results, ...)
    local arguments = table.pack(...)
    return members.spawn(function()
        results:put(table.pack(b:wait(table.unpack(arguments, 1, arguments.n))))
    end)
end

local function until_waiting(b, n)
    while b.n_waiting < n do
        process.sleep(0.002)
    end
end

t.test("tells parties, waiting and whether it is broken", function()
    local b = sync.Barrier{parties = 3, name = "b"}
    t.is({b.parties, b.n_waiting, b.broken}, {3, 0, false}, "new")
    t.is(tostring(b), 'Barrier "b" (0/3)', "printed")
    t.is(b.nothing, nil, "no other field")
    local results = ipc.Queue()
    local ps = {party(b, results), party(b, results)}
    until_waiting(b, 2)
    t.is(tostring(b), 'Barrier "b" (2/3)', "with two")
    t.is(b:wait(), 3, "the last arrives third")
    local one, other = results:get()[1], results:get()[1]
    t.ok(one + other == 3 and one ~= other, "the others first and second")
    for _, p in ipairs(ps) do
        p:join()
    end
    t.is(b.n_waiting, 0, "nobody waits")
    t.is(sync.Barrier(1):wait(), 1, "one party alone does not wait")
end)

t.test("what is no barrier raises", function()
    t.raises(function() sync.Barrier() end, "number expected, got nil", "without parties")
    t.raises(function() sync.Barrier(0) end, "parties from 1 to 2047 expected", "none")
    t.raises(function() sync.Barrier(2048) end, "parties from 1 to 2047 expected", "too many")
    t.raises(function() sync.Barrier("x") end, "number expected, got string", "a string")
    t.raises(function() sync.Barrier(1, 5) end, "function expected, got number", "no action")
    t.raises(function() sync.Barrier(1, print, "x") end, "number expected", "no time")
    t.raises(function() sync.Barrier{parties = 1, actoin = print} end, "did you mean 'action'?",
        "misspelt")
    t.raises(function() sync.Barrier(1):wait("x") end, "number expected", "a wait of no time")
end)

t.test("serves round after round, and in each every index once", function()
    local n, rounds = 3, 300
    local b, seen = sync.Barrier(n), ipc.Queue()
    local done = ipc.Array("i", rounds)
    local ps = {}
    for i = 1, n do
        ps[i] = members.spawn(function()
            local sums = {}
            for round = 1, rounds do
                local lock = done:get_lock()
                lock:with(function() done[round] = done[round] + 1 end)
                local index = b:wait()
                if done[round] ~= n then
                    seen:put(("round %d opened with %d"):format(round, done[round]))
                end
                sums[index] = (sums[index] or 0) + 1
            end
            seen:put(sums)
        end)
    end
    local sums = {0, 0, 0}
    for _ = 1, n do
        local got = seen:get(60)
        if type(got) ~= "table" then
            t.ok(false, tostring(got))
        else
            for i = 1, n do
                sums[i] = sums[i] + (got[i] or 0)
            end
        end
    end
    t.is(sums, {rounds, rounds, rounds}, "each index once a round")
    for i = 1, n do
        ps[i]:join()
    end
    t.is(b.broken, false, "not broken")
end)

members.test_of_processes("the last party runs the action, before any is let go", function()
    local calls, who = ipc.Value("i", 0), ipc.Queue()
    local b = sync.Barrier(2, function()
        who:put(process.getpid())
        calls:add(1)
    end)
    local results = ipc.Queue()
    local p = members.spawn(function()
        for round = 1, 20 do
            local index = b:wait()
            results:put({process.getpid(), index, calls.value >= round})
        end
    end)
    local good = true
    for round = 1, 20 do
        local index = b:wait()
        good = good and calls.value >= round
        local other = results:get()
        good = good and other[3] and index + other[2] == 3
        good = good and who:get() == (index == 2 and process.getpid() or other[1])
    end
    p:join()
    t.ok(good, "in all rounds")
    t.is(calls.value, 20, "once a round")
end)

members.test_of_processes("an action that raises raises in the last, and the others get \"broken\"", function()
    local b = sync.Barrier(2, function() error("no luck") end)
    local results = ipc.Queue()
    local p = party(b, results)
    until_waiting(b, 1)
    t.raises(function() b:wait() end, "no luck", "the last has the error")
    t.is(results:get(), {nil, "broken", n = 2}, "the other is told")
    t.is(b.broken, true, "broken")
    t.is({b:wait()}, {nil, "broken"}, "and stays so")
    p:join()
end)

t.test("the party whose time runs out gets \"timeout\", all others \"broken\"", function()
    local b, results, mine = sync.Barrier(4), ipc.Queue(), ipc.Queue()
    local ps = {party(b, results), party(b, results)}
    until_waiting(b, 2)
    local late = party(b, mine, 0.05)
    t.is(mine:get(), {nil, "timeout", n = 2}, "its own time")
    for _ = 1, 2 do
        t.is(results:get(), {nil, "broken", n = 2}, "another")
    end
    t.is({b:wait()}, {nil, "broken"}, "who comes later")
    t.is(tostring(b):match("%((.-)%)"), "broken", "printed")
    for _, p in ipairs {ps[1], ps[2], late} do
        p:join()
    end
    b:reset()
    t.is({b.broken, b.n_waiting}, {false, 0}, "reset mends it")
    t.is({b:wait(0)}, {nil, "timeout"}, "a wait of no time")
    t.is(b.broken, true, "breaks it as well")
end)

t.test("has a timeout of its own for waits that name none", function()
    for _, b in ipairs {sync.Barrier(2, nil, 0.05), sync.Barrier{parties = 2, timeout = 0.05}} do
        t.is({b:wait()}, {nil, "timeout"}, "its own")
    end
    local b, results = sync.Barrier(2, nil, 0), ipc.Queue()
    local p = party(b, results, 30)
    until_waiting(b, 1)
    t.is(b:wait(30), 2, "a wait may name a longer one")
    t.is(results:get()[1], 1, "both do")
    p:join()
end)

members.test_of_processes("a party that is killed breaks it", function()
    local b, results = sync.Barrier(3), ipc.Queue()
    local p, q = party(b, results), party(b, ipc.Queue())
    until_waiting(b, 2)
    members.until_asleep(q)
    q:kill()
    t.is(results:get(30), {nil, "broken", n = 2}, "the other is told")
    q:join()
    p:join()
    t.is(b.broken, true, "broken")
    b:reset()
    local ps = {party(b, results), party(b, results)}
    until_waiting(b, 2)
    t.is(b:wait(), 3, "after a reset it works")
    results:get()
    results:get()
    for _, r in ipairs(ps) do
        r:join()
    end
end)

members.test_of_processes("one that dies in the action breaks it, too", function()
    local b = sync.Barrier(2, function() signal.kill(process.getpid(), signal.SIGKILL) end)
    local results = ipc.Queue()
    local p = party(b, results)
    until_waiting(b, 1)
    members.spawn(function() b:wait() end):join()
    t.is(results:get(30), {nil, "broken", n = 2}, "the other is told")
    p:join()
end)

t.test("abort breaks it for all, reset only for those who wait", function()
    local b, results = sync.Barrier(3), ipc.Queue()
    local ps = {party(b, results), party(b, results)}
    until_waiting(b, 2)
    b:abort()
    for i = 1, 2 do
        t.is(results:get(30), {nil, "broken", n = 2}, "aborted")
        ps[i]:join()
    end
    t.is({b:wait()}, {nil, "broken"}, "for all")
    b:reset()
    t.is(b.broken, false, "mended")
    ps = {party(b, results), party(b, results)}
    until_waiting(b, 2)
    b:reset()
    for i = 1, 2 do
        t.is(results:get(30), {nil, "broken", n = 2}, "reset")
        ps[i]:join()
    end
    t.is({b.broken, b.n_waiting}, {false, 0}, "and ready for the next")
    b:reset()
    t.is(b.broken, false, "with nobody there it does nothing")
end)

t.test("handlers run during a wait; one that raises takes the party away again", function()
    local b, results = sync.Barrier(2), ipc.Queue()
    local go = sync.Event()
    local p = members.spawn(function()
        go:wait()
        results:put(b:wait())
    end)
    local old = signal.signal(signal.SIGALRM, function() error("enough") end)
    signal.setitimer(0.02)
    t.raises(function() b:wait() end, "enough", "its error ends the wait")
    t.is({b.n_waiting, b.broken}, {0, false}, "as if it had not come")
    signal.signal(signal.SIGALRM, function() go:set() end)
    signal.setitimer(0.02)
    t.is(b:wait(), 1, "one that returns lets it go on")
    t.is(results:get(), 2, "until the other comes")
    signal.signal(signal.SIGALRM, old)
    p:join()
end)

t.test("can be sent, but for one with an action", function()
    local q, plain = ipc.Queue(), sync.Barrier(1)
    q:put({plain})
    t.ok(q:get()[1] == plain, "the same barrier arrives")
    t.raises(function() q:put({b = sync.Barrier(1, print)}) end,
        "cannot send value.b: a barrier with an action reaches other processes by fork only",
        "an action stays")
    t.is(q:qsize(), 0, "and nothing was put")
end)

t.done()
