-- sync.Lock and sync.RLock.

local members = require "members"
local t = require "tap"

-- A process that holds the lock until the event is set.
local function holder_of(lock, release)
    local held = sync.Event()
    local p = members.spawn(function()
        lock:acquire()
        held:set()
        release:wait()
        lock:release()
    end)
    held:wait()
    return p
end

for _, class in ipairs {"Lock", "RLock"} do
    local Lock = sync[class]

    t.test(class .. ": acquire returns the lock itself, and another waits until it is released",
        function()
            local lock, order = Lock(), ipc.Queue()
            local got, second = lock:acquire()
            t.ok(got == lock, "the lock itself")
            t.is(second, nil, "and no second result")
            t.is(lock:locked(), true, "locked")
            local p = members.spawn(function()
                order:put("asks")
                lock:acquire()
                order:put("has it")
                lock:release()
            end)
            t.is(order:get(), "asks", "the other asks")
            members.until_asleep(p)
            t.is(order:empty(), true, "and waits")
            order:put("released")
            lock:release()
            p:join()
            t.is(order:get(), "released", "until it is released")
            t.is(order:get(), "has it", "then has it")
            t.is(lock:locked(), false, "free in the end")
        end)

    t.test(class .. ": an acquire that gives up returns nil and \"timeout\", in every form", function()
        local lock, release = Lock(), sync.Event()
        local p = holder_of(lock, release)
        for _, args in ipairs {
            {false}, {0}, {-1}, {0.01}, {true, 0.01}, {nil, 0.01}, {true, 0}, {0 / 0}, {false, 5},
        } do
            local got, why = lock:acquire(args[1], args[2])
            t.is({got, why}, {nil, "timeout"},
                ("acquire(%s, %s)"):format(args[1], args[2]))
        end
        local before = process.monotonic()
        lock:acquire(true, 0.2)
        local took = process.monotonic() - before
        t.ok(took >= 0.2, "it waits as long as it was told: " .. took)
        t.is(lock:locked(), true, "and takes nothing")
        release:set()
        t.ok(lock:acquire(true) == lock, "acquire(true) waits")
        lock:release()
        t.ok(lock:acquire(1e300) == lock, "a time out of all proportion is for ever")
        lock:release()
        p:join()
    end)

    t.test(class .. ": what is no time and no flag raises", function()
        local lock = Lock()
        t.raises(function() lock:acquire("x") end, "bad argument #1 to 'acquire'", "a string")
        t.raises(function() lock:acquire(true, {}) end, "number expected", "a table as the time")
        t.is(lock:locked(), false, "and nothing is taken")
    end)

    t.test(class .. ": a release by another process raises, and says who holds it", function()
        local lock = Lock{name = "door"}
        local release = sync.Event()
        local p = holder_of(lock, release)
        t.raises(function() lock:release() end,
            "sync_lock.lua:%d+: cannot release " .. class .. ' "door": it is held by ' ..
            members.name_of(p):gsub("%-", "%%-") .. ".*use a Semaphore", "the error")
        t.is(tostring(lock), ('%s "door" (held by %s)'):format(class, members.name_of(p)), "printed")
        t.is(lock:locked(), true, "it stays held")
        release:set()
        p:join()
        t.is(tostring(lock), class .. ' "door" (free)', "printed when it is free")
        t.raises(function() lock:release() end, "is not held", "a release of a free one")
    end)

    t.test(class .. ": a member that dies holding it leaves it with \"owner died\"", function()
        local lock = Lock()
        local ends = members.kind == "processes" and {"SIGKILL", "exit", "error", "return"} or {"return"}
        for _, how in ipairs(ends) do
            local held = sync.Event()
            local p = members.spawn(function()
                lock:acquire()
                held:set()
                if how == "SIGKILL" then
                    signal.kill(process.getpid(), signal.SIGKILL)
                elseif how == "exit" then
                    process.exit(0)
                elseif how == "error" then
                    io.stderr:close()
                    error("with the lock")
                end
            end)
            held:wait()
            local got, what = lock:acquire()
            t.ok(got == lock, how .. ": the next has it")
            t.is(what, "owner died", how .. ": and is told")
            lock:release()
            got, what = lock:acquire()
            t.is(what, nil, how .. ": once")
            lock:release()
            p:join()
        end
    end)

    t.test(class .. ": a waiter that is told of the owner's death was asleep when it died", function()
        local lock, told = Lock(), ipc.Queue()
        local held, last = sync.Event(), sync.Event()
        local holder = members.spawn(function()
            lock:acquire()
            held:set()
            last:wait()
        end)
        held:wait()
        local waiter = members.spawn(function()
            told:put("asks")
            local _, what = lock:acquire()
            lock:release()
            told:put(what)
        end)
        told:get()
        members.until_asleep(waiter)
        members.finish(holder, last)
        t.is(told:get(), "owner died", "told")
        holder:join()
        waiter:join()
    end)

    members.test_of_processes(class .. ": a waiter that is killed takes nobody's turn with it", function()
        local lock, asks, got = Lock(), ipc.Queue(), ipc.Queue()
        lock:acquire()
        local waiters = {}
        for i = 1, 4 do
            waiters[i] = members.spawn(function()
                asks:put(i)
                lock:acquire()
                got:put(i)
                lock:release()
            end)
        end
        for i = 1, 4 do
            asks:get()
        end
        for i = 1, 4 do
            members.until_asleep(waiters[i])
        end
        waiters[1]:kill()
        waiters[3]:kill()
        waiters[1]:join()
        waiters[3]:join()
        lock:release()
        local who = {got:get(), got:get()}
        table.sort(who)
        t.is(who, {2, 4}, "the others get it")
        waiters[2]:join()
        waiters[4]:join()
    end)

    t.test(class .. ": with(f, ...) runs f under the lock and returns its results", function()
        local lock = Lock()
        local results = table.pack(lock:with(function(...)
            t.is(lock:locked(), true, "held inside")
            return ...
        end, 1, nil, "three", nil))
        t.is(results, {1, nil, "three", nil, n = 4}, "all arguments and results, nils too")
        t.is(lock:locked(), false, "released")
        local object = {}
        local ok, e = pcall(lock.with, lock, function() error(object) end)
        t.ok(not ok and e == object, "an error of f's is raised as it is")
        t.is(lock:locked(), false, "and the lock released")
        t.raises(function() lock:with(1) end, "function expected, got number", "no function")
        t.raises(function() lock:with() end, "function expected", "nothing at all")
        local co = coroutine.wrap(function() return lock:with(function()
            coroutine.yield("inside")
            return "end"
        end) end)
        t.is(co(), "inside", "f may yield")
        t.is(lock:locked(), true, "holding it meanwhile")
        t.is(co(), "end", "and go on")
        t.is(lock:locked(), false, "released then")
    end)

    t.test(class .. ": a closable variable releases it, also after an error", function()
        local lock = Lock()
        do
            local _ <close> = lock:acquire()
            t.is(lock:locked(), true, "held in the block")
        end
        t.is(lock:locked(), false, "released behind it")
        pcall(function()
            local _ <close> = lock:acquire()
            error("x")
        end)
        t.is(lock:locked(), false, "released by an error")
        do
            local held <close> = lock:acquire()
            held:release()
        end
        t.is(lock:locked(), false, "the block may have released it")
        local release = sync.Event()
        local p = holder_of(lock, release)
        do
            local missed <close> = lock:acquire(false)
            t.is(missed, nil, "one that was not got closes nothing")
        end
        t.is(lock:locked(), true, "the holder keeps it")
        release:set()
        p:join()
    end)

    t.test(class .. ": handlers of signals run at once during a wait, which then goes on", function()
        local lock, release, calls = Lock(), sync.Event(), 0
        local p = holder_of(lock, release)
        local old = signal.signal(signal.SIGALRM, function()
            calls = calls + 1
            if calls == 3 then
                release:set() -- without this the wait would never end
            end
        end)
        signal.setitimer(0.02, 0.02)
        local got = lock:acquire()
        signal.setitimer(0)
        t.ok(got == lock and calls >= 3, "acquired after " .. calls .. " signals")
        lock:release()
        signal.signal(signal.SIGALRM, old)
        p:join()
    end)

    t.test(class .. ": a handler that raises ends the wait with nothing taken", function()
        local lock, release = Lock(), sync.Event()
        local p = holder_of(lock, release)
        local old = signal.signal(signal.SIGALRM, function() error("enough") end)
        signal.setitimer(0.02)
        t.raises(function() lock:acquire() end, "enough", "the handler's error")
        signal.signal(signal.SIGALRM, old)
        t.is(tostring(lock):match("held by (.-)%)"), members.name_of(p), "the holder has it still")
        release:set()
        p:join()
        local got, what = lock:acquire(5)
        t.ok(got == lock and what == nil, "and it can be had afterwards")
        lock:release()
    end)

    t.test(class .. ": n processes that add under it lose nothing", function()
        local lock, n, rounds = Lock(), 4, 2000
        local total = ipc.Value("q", 0)
        local ps = {}
        for i = 1, n do
            ps[i] = members.spawn(function()
                for _ = 1, rounds do
                    local _ <close> = lock:acquire()
                    total.value = total.value + 1
                end
            end)
        end
        for i = 1, n do
            ps[i]:join()
        end
        t.is(total.value, n * rounds, "the total")
    end)

    t.test(class .. ": a deadlock of two processes raises in one, and tells the chain", function()
        local a, b = Lock{name = "a"}, Lock{name = "b"}
        local both, said = sync.Barrier(2), ipc.Queue()
        local function take(first, second)
            first:acquire()
            both:wait()
            local ok, message = pcall(second.acquire, second)
            if ok then
                second:release()
            else
                said:put(message)
            end
            first:release()
        end
        local p = members.spawn(take, a, b)
        local q = members.spawn(take, b, a)
        p:join()
        q:join()
        local message = said:get(false)
        t.ok(message, "one of the two was told")
        message = message or ""
        t.ok(message:find("deadlock: ", 1, true), "that it is a deadlock")
        t.ok(message:find(('%s waits for the lock "b", held by %s'):format(members.name_of(p), members.name_of(q)), 1, true),
            "one half of the chain")
        t.ok(message:find(('%s waits for the lock "a", held by %s'):format(members.name_of(q), members.name_of(p)), 1, true),
            "the other half: " .. message)
        t.is(a:locked() or b:locked(), false, "both are free in the end")
    end)

    t.test(class .. ": who waits with a time limit is in no deadlock", function()
        local a, b = Lock(), Lock()
        local both, said = sync.Barrier(2), ipc.Queue()
        local function take(first, second, time)
            first:acquire()
            both:wait()
            local ok, got, why = pcall(second.acquire, second, time)
            if got then
                second:release()
            end
            said:put({ok, why or "got"})
            first:release()
        end
        local p = members.spawn(take, a, b, 1.5)
        local q = members.spawn(take, b, a, 20)
        local one, other = said:get(), said:get()
        t.is(one, {true, "timeout"}, "the shorter time runs out")
        t.is(other, {true, "got"}, "the other gets it")
        p:join()
        q:join()
    end)

    t.test(class .. ": takes no arguments but a name", function()
        t.raises(function() Lock(1) end, "sync." .. class .. " takes at most 0 arguments", "one more")
        t.raises(function() Lock{nme = "x"} end,
            "unknown option 'nme' of sync." .. class .. "; did you mean 'name'", "misspelt")
        t.raises(function() Lock{name = 5} end, "option 'name' of sync." .. class ..
            ": a string expected, got number", "of the wrong type")
    end)
end

t.test("Lock: its holder waiting for it again is told within seconds that it never ends", function()
    local lock = sync.Lock{name = "mine"}
    lock:acquire()
    t.raises(function() lock:acquire() end,
        'sync_lock.lua:%d+: deadlock: MainProcess waits for the lock "mine", which it holds itself; ' ..
        "release it first, or use sync.RLock", "the error")
    t.is(tostring(lock), 'Lock "mine" (held by MainProcess)', "it is still held")
    t.is(lock:acquire(false), nil, "who does not wait is just told no")
    t.raises(function() lock:with(print) end, "sync_lock.lua:%d+: deadlock",
        "with tells the caller's line")
    lock:release()
    t.is(lock:locked(), false, "and can be released")
end)

t.test("RLock: its holder takes it as often as it likes and releases it as often", function()
    local lock = sync.RLock()
    local all = true
    for _ = 1, 1000 do
        all = all and lock:acquire() == lock
    end
    t.ok(all, "a thousand times")
    local seen = ipc.Queue()
    for i = 1, 1000 do
        if i == 1000 then
            local p = members.spawn(function() seen:put(lock:acquire(false) ~= nil) end)
            p:join()
            t.is(seen:get(), false, "until the last it is held")
        end
        lock:release()
    end
    t.is(lock:locked(), false, "then free")
    t.raises(function() lock:release() end, "is not held", "once more raises")
end)

t.test("RLock: inner blocks release their own turn only", function()
    local lock = sync.RLock()
    do
        local _ <close> = lock:acquire()
        do
            local _ <close> = lock:acquire()
            lock:with(function() end)
        end
        t.is(lock:locked(), true, "held by the outer block")
    end
    t.is(lock:locked(), false, "free")
end)

t.test("RLock: the next owner after a death has it once", function()
    local lock = sync.RLock()
    members.spawn(function()
        lock:acquire()
        lock:acquire()
        members.die()
    end):join()
    local got, what = lock:acquire()
    t.ok(got == lock and what == "owner died", "owner died")
    lock:release()
    t.is(lock:locked(), false, "one release frees it")
end)

t.test("a thread that holds too many locks is told so, and loses none", function()
    local locks, held = {}, 0
    local ok, message
    for i = 1, 2100 do
        locks[i] = sync.Lock{name = "l"}
        ok, message = pcall(locks[i].acquire, locks[i])
        if not ok then
            break
        end
        held = held + 1
    end
    t.ok(not ok and message:find("too many locks are held: one thread can hold 1900", 1, true),
        "told: " .. tostring(message))
    t.is(held, 1900, "after 1900")
    for i = 1, held do
        locks[i]:release()
    end
    t.is(locks[1]:locked() or locks[held]:locked(), false, "all released")
    t.ok(locks[1]:acquire(), "then more can be had")
    locks[1]:release()
end)

t.test("a method called on something else says what it wants", function()
    local lock = sync.Lock()
    t.raises(function() lock.acquire() end, "'acquire' wants a Lock to its left; .*colon",
        "without the colon")
    t.raises(function() lock.release(sync.Event()) end, "wants a Lock to its left, not an Event",
        "another class")
    t.raises(function() sync.RLock().acquire(lock) end, "wants an RLock to its left, not a Lock",
        "a Lock as an RLock")
end)

t.done()
