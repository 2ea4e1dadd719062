-- Many threads, at once and one after the other: nothing is left behind.
--
-- MANY_THREADS sets how many are started one after the other.

local t = require "tap"

local sanitized = t.is_sanitized()

local function lines_of(command)
    local name = os.tmpname() -- not by io.popen, whose own descriptors come and go
    os.execute(("%s > %s"):format(command, name))
    local n = 0
    for _ in io.lines(name) do n = n + 1 end
    os.remove(name)
    return n
end

local function descriptors() return lines_of(("ls /proc/%d/fd"):format(process.getpid())) end
local function tasks() return lines_of(("ls /proc/%d/task"):format(process.getpid())) end

-- KiB that are this process's own, and those of the arena.
local function memory()
    local f <close> = assert(io.open("/proc/self/status"))
    local text = f:read("a")
    return tonumber(text:match("RssAnon:%s*(%d+)")), tonumber(text:match("RssShmem:%s*(%d+)"))
end

-- The system may need a moment to take away a thread whose end has been told, and luamp keeps one for
-- the next start. A count of what was there before waits, too.
local function until_tasks(n)
    local deadline = process.monotonic() + 30
    while tasks() > n and process.monotonic() < deadline do process.sleep(0.01) end
    return tasks()
end

t.test("a system's thread is used again, and gone when none is wanted", function()
    local before, seen, used_again = until_tasks(1), {}, false
    local deadline = process.monotonic() + 60
    while not used_again and process.monotonic() < deadline do
        local th = thread.Thread{target = function() end}:start()
        th:join()
        used_again, seen[th.native_id] = seen[th.native_id], true
    end
    t.ok(used_again, "the same number twice")
    t.is(until_tasks(before), before, "gone")
end)

t.test("two hundred threads asleep on an event are woken and joined", function()
    local before = until_tasks(1)
    local n, e, asleep = 200, sync.Event(), ipc.Value("i", 0)
    local list = {}
    for i = 1, n do
        list[i] = thread.Thread{target = function()
            asleep:add(1)
            e:wait()
            asleep:add(-1)
        end}:start()
    end
    local deadline = process.monotonic() + 60
    while asleep.value < n and process.monotonic() < deadline do process.sleep(0.01) end
    t.is(asleep.value, n, "all have started")
    t.is(thread.active_count(), n + 1, "all are counted")
    local idents, different = {}, 0
    for _, th in ipairs(list) do
        if not idents[th.ident] then different = different + 1 end
        idents[th.ident] = true
    end
    t.is(different, n, "each has a number of its own")
    e:set()
    local joined = 0
    for _, th in ipairs(list) do joined = joined + (th:join(60) and 1 or 0) end
    t.is({joined, asleep.value, thread.active_count()}, {n, 0, 1}, "all have ended")
    t.is(until_tasks(before), before, "for the system, too")
end)

t.test("threads that are started and joined one after the other leave nothing behind", function()
    local n = tonumber(os.getenv "MANY_THREADS" or sanitized and 500 or 10000)
    local v, q = ipc.Value("i", 0), ipc.Queue()
    local Class = thread.Thread:extend("ManyThreads")
    function Class:run() v:add(1) end
    local function once(i)
        local th
        if i % 10 == 0 then
            th = Class()
        else
            th = thread.Thread{target = function()
                local q, l = ipc.Queue(), sync.Lock() -- objects that die with their thread
                q:put{l}
                l:acquire()
                v:add(1)
            end}
        end
        th:start()
        th:join()
    end
    local warm = n // 5
    for i = 1, warm do once(i) end
    collectgarbage() collectgarbage()
    local fds, threads = descriptors(), until_tasks(1)
    local anonymous, shared = memory()
    for i = 1, n - warm do once(i) end
    collectgarbage() collectgarbage()
    t.is(v.value, n, "all have run")
    t.is(descriptors(), fds, "descriptors")
    t.is(until_tasks(threads), threads, "threads")
    t.is(thread.active_count(), 1, "members")
    if sanitized then
        t.skip("memory", "the sanitizer keeps what is freed")
    else
        local anonymous_now, shared_now = memory()
        t.ok(anonymous_now - anonymous < 2048, ("private memory: %d KiB, then %d"):format(
            anonymous, anonymous_now))
        t.ok(shared_now - shared < 1024, ("shared memory: %d KiB, then %d"):format(shared, shared_now))
    end
    q:put(1)
    t.is(q:get(), 1, "objects can be made still")
end)

t.test("threads that nobody joins, and that fail to be started, leave nothing behind", function()
    local rounds = sanitized and 100 or 1000
    local done = ipc.Value("i", 0)
    for _ = 1, rounds do
        thread.Thread{target = function() done:add(1) end}:start()
        pcall(function() thread.Thread{target = print, args = {io.stdout}}:start() end)
        if thread.active_count() > 100 then process.sleep(0.01) end
    end
    local deadline = process.monotonic() + 60
    while thread.active_count() > 1 and process.monotonic() < deadline do process.sleep(0.01) end
    t.is({done.value, thread.active_count()}, {rounds, 1}, "all have run and ended")
    t.is(until_tasks(1), 1, "one is left: this one")
end)

t.test("where the family is full, start gives false and the reason", function()
    local e, list, why = sync.Event(), {}, nil
    for i = 1, 2100 do
        local th, reason = thread.Thread{target = function() e:wait() end}:start()
        if not th then
            why = reason
            break
        end
        list[i] = th
    end
    t.ok(why and (why:find "a family has at most 2047 members" or why:find "limit of threads"),
        "why: " .. tostring(why))
    e:set()
    local joined = 0
    for _, th in ipairs(list) do joined = joined + (th:join(60) and 1 or 0) end
    t.is(joined, #list, "those that were started have ended")
    t.is({thread.Thread{target = function() end}:start():join()}, {true}, "and there is room again")
end)

t.done()
