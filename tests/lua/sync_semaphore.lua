-- sync.Semaphore and sync.BoundedSemaphore.

local members = require "members"
local t = require "tap"

for _, class in ipairs {"Semaphore", "BoundedSemaphore"} do
    local Semaphore = sync[class]

    t.test(class .. ": has one permit unless it is told how many", function()
        t.is(Semaphore():get_value(), 1, "one")
        t.is(Semaphore(3):get_value(), 3, "three")
        t.is(Semaphore{n = 4, name = "x"}:get_value(), 4, "four by name")
        t.is(Semaphore{5}:get_value(), 5, "five, positional in a table")
        t.is(Semaphore(0):get_value(), 0, "none")
        t.is(Semaphore((1 << 30) - 1):get_value(), (1 << 30) - 1, "the most")
        t.raises(function() Semaphore(-1) end, "permits from 0 to 1073741823 expected", "less")
        t.raises(function() Semaphore(1 << 30) end, "permits from 0 to 1073741823", "more")
        t.raises(function() Semaphore("x") end, "number expected, got string", "a string")
        t.raises(function() Semaphore(1.5) end, "no integer representation", "a half")
        t.raises(function() Semaphore(1, 2) end, "at most 1 argument, not 2", "two numbers")
        t.raises(function() Semaphore{permits = 2} end, "unknown option 'permits' of sync." .. class,
            "an unknown option")
    end)

    t.test(class .. ": acquire takes a permit or gives up with \"timeout\"", function()
        local s = Semaphore(2)
        t.ok(s:acquire() == s and s:acquire(false) == s, "two are had")
        t.is(s:get_value(), 0, "none is left")
        t.is(s:locked(), true, "locked")
        for _, args in ipairs {{false}, {0}, {-1}, {0.01}, {true, 0.01}, {nil, 0.01}} do
            t.is({s:acquire(args[1], args[2])}, {nil, "timeout"},
                ("acquire(%s, %s)"):format(args[1], args[2]))
        end
        s:release()
        t.is(s:get_value(), 1, "one again")
        t.is(s:locked(), false, "not locked")
        s:release(1)
        t.is(s:get_value(), 2, "two")
    end)

    t.test(class .. ": with, and closable variables, give the permit back", function()
        local s = Semaphore(2)
        t.is({s:with(function(...) return s:get_value(), ... end, "x")}, {1, "x"}, "with")
        t.is(s:get_value(), 2, "given back")
        t.raises(function() s:with(error, "oops") end, "oops", "an error comes through")
        t.is(s:get_value(), 2, "given back then, too")
        do
            local _ <close> = s:acquire()
            t.is(s:get_value(), 1, "a block has it")
        end
        t.is(s:get_value(), 2, "until its end")
    end)

    t.test(class .. ": never more than n are inside", function()
        local s, inside, most = Semaphore(2), ipc.Value("i", 0), ipc.Value("i", 0)
        local ps = {}
        for i = 1, 5 do
            ps[i] = members.spawn(function()
                for _ = 1, 200 do
                    s:acquire()
                    local now = inside:add(1) + 1
                    local seen = most.value
                    while now > seen and most:compare_exchange(seen, now) ~= seen do
                        seen = most.value
                    end
                    inside:add(-1)
                    s:release()
                end
            end)
        end
        for i = 1, 5 do
            ps[i]:join()
            if members.kind == "processes" then
                t.is(ps[i].exitcode, 0, "process " .. i)
            end
        end
        t.ok(most.value <= 2, "at most two: " .. most.value)
        t.is(s:get_value(), 2, "all are given back")
    end)

    members.test_of_processes(class .. ": a waiter that is killed takes nobody's turn with it", function()
        local s, asks, got = Semaphore(1), ipc.Queue(), ipc.Queue()
        s:acquire()
        local ps = {}
        for i = 1, 3 do
            ps[i] = members.spawn(function()
                asks:put(i)
                s:acquire()
                got:put(i)
                s:release()
            end)
            asks:get()
            members.until_asleep(ps[i])
        end
        ps[1]:kill()
        ps[1]:join()
        s:release()
        local who = {got:get(), got:get()}
        table.sort(who)
        t.is(who, {2, 3}, "the others get it")
        ps[2]:join()
        ps[3]:join()
        t.is(s:get_value(), 1, "and the permit is back")
    end)

    t.test(class .. ": handlers run during a wait; one that raises ends it with nothing taken",
        function()
            local s, release = Semaphore(1), sync.Event()
            local has = sync.Event()
            local p = members.spawn(function()
                s:acquire()
                has:set()
                release:wait()
                s:release()
            end)
            has:wait()
            local old = signal.signal(signal.SIGALRM, function() error("enough") end)
            signal.setitimer(0.02)
            t.raises(function() s:acquire() end, "enough", "the handler's error")
            signal.signal(signal.SIGALRM, function() release:set() end)
            signal.setitimer(0.02)
            t.ok(s:acquire() == s, "the handler made it free")
            signal.signal(signal.SIGALRM, old)
            s:release()
            p:join()
            t.is(s:get_value(), 1, "one permit")
        end)
end

t.test("Semaphore: may be released by another than acquired it, and above where it began", function()
    local s = sync.Semaphore(0)
    local p = members.spawn(function()
        s:release()
        s:release(2)
    end)
    p:join()
    t.is(s:get_value(), 3, "three from nowhere")
    t.ok(s:acquire(false), "and to be had")
    t.is(tostring(sync.Semaphore{2, name = "gate"}), 'Semaphore "gate" (2)', "printed")
end)

t.test("Semaphore: a release of too many is refused as a whole", function()
    local s = sync.Semaphore{n = (1 << 30) - 3, name = "vast"}
    t.raises(function() s:release(3) end,
        'sync_semaphore.lua:%d+: cannot release 3 permits of Semaphore "vast": it has room for 2',
        "three are too many")
    t.is(s:get_value(), (1 << 30) - 3, "none was released")
    s:release(2)
    t.raises(function() s:release() end, "cannot release", "one more")
    t.raises(function() s:release(0) end, "at least 1 expected", "none")
    t.raises(function() s:release(math.maxinteger) end, "cannot release", "the largest number")
end)

t.test("Semaphore: the permit of a process that died stays taken", function()
    local s = sync.Semaphore(1)
    members.spawn(function() s:acquire() end):join()
    t.is(s:get_value(), 0, "nobody owns permits of a Semaphore")
end)

t.test("BoundedSemaphore: released above n raises", function()
    local s = sync.BoundedSemaphore{2, name = "b"}
    t.raises(function() s:release() end, 'sync_semaphore.lua:%d+: cannot release BoundedSemaphore "b"',
        "at once")
    s:acquire()
    s:release()
    t.raises(function() s:release() end, "released more often than it was acquired", "once too often")
    t.is(s:get_value(), 2, "it stays as it was")
    t.is(tostring(s), 'BoundedSemaphore "b" (2 of 2)', "printed")
end)

t.test("BoundedSemaphore: another's permit cannot be released", function()
    local s = sync.BoundedSemaphore(2)
    s:acquire()
    local said = ipc.Queue()
    members.spawn(function() said:put({pcall(s.release, s)}) end):join()
    local result = said:get()
    t.is(result[1], false, "it raises")
    t.ok(result[2]:find("this thread holds none of its permits", 1, true), result[2])
    t.is(s:get_value(), 1, "the permit is still taken")
end)

t.test("BoundedSemaphore: a release of more than one holds is refused as a whole", function()
    local s = sync.BoundedSemaphore{3, name = "b"}
    s:acquire()
    s:acquire()
    t.raises(function() s:release(3) end,
        'cannot release 3 permits of BoundedSemaphore "b": this thread holds 2', "three")
    t.is(s:get_value(), 1, "none was released")
    s:release(2)
    t.is(s:get_value(), 3, "two are")
end)

t.test("BoundedSemaphore: the permits of a dead holder come back, and wake who waits", function()
    local s, has, last = sync.BoundedSemaphore(3), sync.Event(), sync.Event()
    local p = members.spawn(function()
        s:acquire()
        s:acquire()
        s:acquire()
        has:set()
        last:wait()
    end)
    has:wait()
    t.is(s:get_value(), 0, "it has all")
    local got = ipc.Queue()
    local waiter = members.spawn(function()
        got:put("asks")
        got:put(s:acquire() and "has it")
        s:release()
    end)
    got:get()
    members.until_asleep(waiter)
    members.finish(p, last)
    t.is(got:get(), "has it", "the waiter gets one")
    waiter:join()
    p:join()
    t.is(s:get_value(), 3, "all are back")
    members.spawn(function() s:acquire() end):join()
    t.is(s:get_value(), 3, "those of one that exits as well")
end)

t.test("BoundedSemaphore: a block that released its permit itself ends well", function()
    local s = sync.BoundedSemaphore(1)
    do
        local held <close> = s:acquire()
        held:release()
    end
    t.is(s:get_value(), 1, "it is there")
end)

t.done()
