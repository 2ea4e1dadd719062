-- Many processes at once, and one after the other: nothing is left behind.
--
-- MANY_PROCESSES sets how many are started one after the other.

local t = require "tap"

-- The least of a few counts: the C library closes the other end of the pipe to `ls` only after it
-- has started it, which may have looked by then.
local function descriptors()
    local least = math.huge
    for _ = 1, 5 do
        local pipe <close> = io.popen(("ls /proc/%d/fd"):format(process.getpid()))
        local n = 0
        for _ in pipe:lines() do n = n + 1 end
        least = math.min(least, n)
    end
    return least
end

-- Children of this process, zombies included.
local function children()
    local f <close> = assert(io.open(("/proc/self/task/%d/children"):format(process.getpid())))
    local n = 0
    for _ in f:read "a":gmatch "%d+" do n = n + 1 end
    return n
end

-- Kilobytes of the arena that have memory.
local function arena()
    local f <close> = assert(io.open "/proc/self/smaps")
    local inside, kilobytes = false, 0
    for line in f:lines() do
        if line:find "^%x+%-%x+ " then
            inside = line:find "memfd:" ~= nil
        elseif inside and line:find "^Rss:" then
            kilobytes = kilobytes + tonumber(line:match "%d+")
        end
    end
    return kilobytes
end

t.test("a thousand children asleep on an event are woken and joined", function()
    local n = 1000
    local e, asleep = sync.Event(), ipc.Value("i", 0)
    local list = {}
    for i = 1, n do
        local p, why = process.spawn(function()
            asleep:add(1)
            e:wait()
            asleep:add(-1)
            process.exit(i % 100)
        end)
        if not p then
            t.skip("a thousand", why)
            n = i - 1
            break
        end
        list[i] = p
    end
    local deadline = process.monotonic() + 60
    while asleep.value < n and process.monotonic() < deadline do process.sleep(0.01) end
    t.is(asleep.value, n, "all have started")
    t.is(#process.active_children(), n, "all are active")
    e:set()
    local right = 0
    for i, p in ipairs(list) do
        if p:join(60) and p.exitcode == i % 100 then right = right + 1 end
    end
    t.is(right, n, "all ended with their own status")
    t.is(asleep.value, 0, "all were woken")
    t.is(#process.active_children(), 0, "none is active")
    t.is(children(), 0, "no zombie")
end)

t.test("processes that are started and joined one after the other leave nothing behind", function()
    local n = tonumber(os.getenv "MANY_PROCESSES" or 500)
    local v = ipc.Value("i", 0)
    local function once()
        local p = process.spawn(function()
            local q, l = ipc.Queue(), sync.Lock() -- objects that die with their process
            q:put "x"
            l:acquire()
            v:add(1)
        end)
        p:join()
        return p.exitcode
    end
    for _ = 1, 20 do once() end
    collectgarbage()
    local fds, kilobytes, before = descriptors(), arena(), process.monotonic()
    local failed = 0
    for _ = 1, n do
        if once() ~= 0 then failed = failed + 1 end
    end
    t.diag(("%d in %.2f s"):format(n, process.monotonic() - before))
    collectgarbage()
    t.is(failed, 0, "none failed")
    t.is(v.value, n + 20, "each ran")
    t.is(descriptors(), fds, "no descriptor")
    t.is(children(), 0, "no zombie")
    t.ok(arena() <= kilobytes + 64, ("no shared memory: %d and %d KiB"):format(kilobytes, arena()))
end)

t.test("one process object after the other is collected", function()
    local weak = setmetatable({}, {__mode = "v"})
    for i = 1, 20 do
        local p = process.spawn(function() end)
        p:join()
        weak[i] = p
    end
    collectgarbage()
    collectgarbage()
    local left = 0
    for _ in pairs(weak) do left = left + 1 end
    t.ok(left <= 1, "they are not kept for ever: " .. left)
end)

t.test("a process that nobody refers to runs on and is joined at the end", function()
    local v = ipc.Value("i", 0)
    local p = process.spawn(function()
        process.spawn(function()
            process.sleep(0.05)
            v.value = 1
        end)
        collectgarbage()
    end)
    p:join()
    t.is(v.value, 1, "it was")
end)

t.done()
