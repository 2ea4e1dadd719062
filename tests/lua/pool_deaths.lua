-- Workers that die, in every way and at every moment: nothing hangs, and nothing else is lost.
--
-- POOL_CHAOS sets for how many seconds workers are killed at random.

local t = require "tap"

local KILL = signal.SIGKILL

-- A task that ends its worker as it is told.
local function die(how)
    if how == "exit" then
        os.exit(3)
    elseif how == "process.exit" then
        pcall(process.exit, 0)
    else
        signal.kill(process.getpid(), how)
        process.sleep(600)
    end
end

t.test("a task whose worker dies fails, with the worker's pid and how it ended", function()
    local p <close> = pool.Pool(2)
    t.raises(function() p:apply(die, {KILL}) end,
        "^worker lost: PoolWorker%-%d+ %(pid %d+%) was ended by signal 9 %(Killed%)",
        "SIGKILL")
    t.raises(function() p:apply(die, {signal.SIGSEGV}) end, "^worker lost: .* signal 11", "SIGSEGV")
    t.raises(function() p:apply(die, {signal.SIGTERM}) end, "^worker lost: .* signal 15", "SIGTERM")
    t.raises(function() p:apply(die, {"exit"}) end, "^worker lost: .* exit status 3", "os.exit")
    t.raises(function() p:apply(die, {"process.exit"}) end, "^worker lost: .* exit status 0",
        "process.exit")
    t.is(p:map(function(x) return x end, {1, 2, 3}), {1, 2, 3}, "the pool has its workers again")
end)

t.test("the other tasks are untouched", function()
    local p <close> = pool.Pool(3)
    local results = {}
    for i = 1, 100 do
        results[i] = p:apply_async(function()
            if i % 10 == 0 then die(KILL) end
            return i
        end)
    end
    local right = 0
    for i, r in ipairs(results) do
        local ok, value = pcall(r.get, r, 60)
        if i % 10 == 0 then
            if not ok and value:find "^worker lost" then right = right + 1 end
        elseif ok and value == i then
            right = right + 1
        end
    end
    t.is(right, 100, "each result is what it should be")
end)

t.test("map with a worker that dies raises, after all else is done", function()
    local p <close> = pool.Pool(2)
    local v = ipc.Value("i", 0)
    t.raises(function()
        p:map(function(x)
            if x == 3 then die(KILL) end
            v:add(1)
        end, {1, 2, 3, 4, 5, 6}, 1)
    end, "^worker lost", "worker lost")
    t.is(v.value, 5, "the others were done")
    local next_item = p:imap(function(x) if x == 2 then die(KILL) end return x end, {1, 2, 3})
    t.is({next_item()}, {1, 1}, "imap gives what is there")
    t.raises(next_item, "^worker lost", "raises at the place")
    t.is({next_item()}, {3, 3}, "and goes on")
end)

t.test("imap in chunks raises for each item of a chunk whose worker died, and goes on", function()
    local p <close> = pool.Pool(2)
    local list = {1, 2, 3, 4, 5, 6, 7, 8}
    for _, method in ipairs {"imap", "imap_unordered"} do
        local lost, values = 0, {}
        local next_item = p[method](p, function(x) if x == 5 then die(KILL) end return x, -x end, list, 3)
        for _ = 1, #list do
            local ok, i, value, more = pcall(next_item)
            if ok then
                values[i] = {value, more}
            elseif i:find "^worker lost" then
                lost = lost + 1
            end
        end
        t.is({lost, values[1], values[3], values[4], values[7], values[8], next_item()},
            {3, {1, -1}, {3, -3}, nil, {7, -7}, {8, -8}, nil}, method)
    end
end)

t.test("an item of imap that takes too long raises at its place", function()
    local p <close> = pool.Pool {processes = 2, timeout = 0.3}
    local next_item = p:imap(function(x) if x == 2 then process.sleep(600) end return x end, {1, 2, 3, 4})
    t.is({next_item()}, {1, 1}, "the first")
    t.raises(next_item, "^task timeout", "the second")
    t.is({next_item()}, {3, 3}, "the third")
    t.is({next_item()}, {4, 4}, "the last")
    t.is(next_item(), nil, "the end")
end)

t.test("an iterator over a pool that breaks raises why, and ends", function()
    local p = pool.Pool {processes = 2, initializer = function() error("no database", 0) end}
    local list = {}
    for i = 1, 100 do list[i] = i end
    local next_item, raised = p:imap(print, list), 0
    for _ = 1, #list do
        local ok, e = pcall(next_item)
        if ok then break end
        if e == "no database" then raised = raised + 1 end
    end
    t.ok(raised > 0, raised .. " times")
    t.is(next_item(), nil, "the end")
    p:terminate()
end)

t.test("a task is tried again as often as retries says", function()
    local p <close> = pool.Pool {processes = 2, retries = 2}
    local v = ipc.Value("i", 0)
    t.is(p:apply(function()
        if v:add(1) < 2 then die(KILL) end
        return "third time"
    end), "third time", "and then done")
    v.value = 0
    t.raises(function() p:apply(function() v:add(1) die(KILL) end) end, "^worker lost",
        "or it fails")
    t.is(v.value, 3, "after three times")
    v.value = 0
    t.raises(function() p:apply(function() v:add(1) error "x" end) end, "x", "an error")
    t.is(v.value, 1, "is no reason to try again")
    v.value = 0
    t.is(p:map(function(x)
        if x == 2 and v:add(1) == 0 then die(KILL) end
        return x
    end, {1, 2, 3}, 3), {1, 2, 3}, "the chunks of a map, too")
    v.value = 0
    local list = {1, 2, 3}
    local r = p:map_async(function(x)
        if x == 2 and v:add(1) < 2 then die(KILL) end
        return x
    end, list, 1)
    list[2] = 7
    t.is(r:get(60), {1, 2, 3}, "with the items as they were")
    v.value = 0
    t.raises(function() p:map(function(x) if x == 7 then v:add(1) die(KILL) end end, list, 1) end,
        "^worker lost", "unless it dies each time")
    t.is(v.value, 3, "which is tried three times")
end)

t.test("a task that runs too long is ended", function()
    local p <close> = pool.Pool {processes = 1, timeout = 0.5, retries = 3}
    local v = ipc.Value("i", 0)
    t.raises(function() p:apply(function() v:add(1) process.sleep(600) end) end,
        "^task timeout: .*0.5 seconds", "asleep")
    t.raises(function() p:apply(function() v:add(1) while true do end end) end, "^task timeout",
        "computing")
    t.raises(function() p:apply(function() v:add(1) signal.signal(signal.SIGTERM,
        signal.SIG_IGN) sync.Semaphore(0):acquire() end) end,
        "^task timeout", "with signals ignored")
    t.is(v.value, 3, "and is not tried again")
    t.is(p:apply(function() process.sleep(0.02) return "in time" end), "in time", "others are not")
    for _ = 1, 4 do p:apply(process.sleep, {0.15}) end
    t.ok(true, "the time is each task's own")
end)

t.test("an initializer that fails breaks the pool with its error", function()
    local p = pool.Pool {processes = 2, initializer = function() error({code = 3}) end}
    local r = p:apply_async(print)
    t.is({pcall(r.get, r, 30)}, {false, {code = 3}}, "pending tasks raise it")
    t.is({pcall(p.apply, p, print)}, {false, {code = 3}}, "and new ones")
    t.ok(tostring(p):find "broken", "it says so: " .. tostring(p))
    p:close()
    t.is(p:join(30), true, "it can be joined")
    t.is(#process.active_children(), 0, "no worker is left")
end)

t.test("an initializer that kills its worker breaks it, too", function()
    local p = pool.Pool {processes = 2, initializer = function() process.exit(5) end}
    local r = p:apply_async(print)
    t.raises(function() r:get(60) end, "^pool broken: .*exit status 5", "it does not hang")
    p:terminate()
    t.is(p:join(), true, "nor does its end")
end)

t.test("maxtasksperchild replaces workers after so many tasks", function()
    local p <close> = pool.Pool {processes = 1, maxtasksperchild = 3}
    local pids = p:map(function() return process.getpid() end, {1, 2, 3, 4, 5, 6, 7}, 1)
    t.ok(pids[1] == pids[2] and pids[2] == pids[3], "three by the first")
    t.ok(pids[4] ~= pids[3] and pids[4] == pids[6], "three by the second")
    t.ok(pids[7] ~= pids[6], "and one by the third")
    t.is(#p:map(function(x) return x end, (function()
        local list = {}
        for i = 1, 200 do list[i] = i end
        return list
    end)(), 1), 200, "two hundred tasks")
end)

t.test("a worker killed while it waits for work is replaced", function()
    local p <close> = pool.Pool(2)
    for _ = 1, 10 do
        for _, worker in ipairs(process.active_children()) do worker:kill() end
        t.is(p:apply(function(x) return x end, {5}), 5, "and the next task is done")
    end
end)

t.test("a worker killed before it could begin is replaced", function()
    for _ = 1, 20 do
        local p <close> = pool.Pool(2)
        for _, worker in ipairs(process.active_children()) do worker:kill() end
        local r = p:apply_async(function(x) return x end, {5})
        local ok, value = pcall(r.get, r, 30)
        t.is({ok, value}, {true, 5}, "and the task is done")
    end
end)

t.test("a result becomes ready by itself when its worker is lost", function()
    local p <close> = pool.Pool(1)
    local r = p:apply_async(die, {KILL})
    local deadline = process.monotonic() + 30
    while not r:ready() and process.monotonic() < deadline do process.sleep(0.002) end
    t.is({r:ready(), r:successful()}, {true, false}, "without a get")
end)

t.test("workers that are killed at random lose their own task and nothing else", function()
    local seconds = tonumber(os.getenv "POOL_CHAOS" or 2)
    local p = pool.Pool {processes = 4, retries = 1000}
    local stop = sync.Event()
    local me = process.getpid()
    local killer = process.spawn(function()
        local own = process.getpid()
        while not stop:wait(math.random() * 0.01) do
            local f = io.open(("/proc/%d/task/%d/children"):format(me, me))
            local pids = {}
            for pid in f:read "a":gmatch "%d+" do
                if tonumber(pid) ~= own then pids[#pids + 1] = math.tointeger(pid) end
            end
            f:close()
            if #pids > 0 then pcall(signal.kill, pids[math.random(#pids)], KILL) end
        end
    end)
    local deadline, tasks, wrong = process.monotonic() + seconds, 0, 0
    local list = {}
    for i = 1, 200 do list[i] = i end
    while process.monotonic() < deadline do
        for i, v in ipairs(p:map(function(x) return x * 3 end, list, math.random(20))) do
            if v ~= i * 3 then wrong = wrong + 1 end
        end
        for i, v in p:imap(function(x) return ("x"):rep(x * 50) end, list, 2) do
            if #v ~= i * 50 then wrong = wrong + 1 end
        end
        tasks = tasks + 2 * #list
    end
    stop:set()
    killer:join()
    t.diag(("%d tasks, %d workers"):format(tasks, p.hired))
    t.is(wrong, 0, "all results are right")
    t.ok(tasks > 0 and p.hired > 4, "while workers were killed")
    p:close()
    t.is(p:join(60), true, "the pool ends")
end)

t.test("close, terminate and join return while workers are killed", function()
    for round = 1, 20 do
        local p = pool.Pool(3)
        local results = {}
        for i = 1, 20 do results[i] = p:apply_async(function() process.sleep(0.001) end) end
        local workers = process.active_children()
        local killer = process.spawn(function()
            for _, worker in ipairs(workers) do
                worker:kill()
                process.sleep(0.001)
            end
        end)
        if round % 2 == 0 then p:terminate() else p:close() end
        t.is(p:join(60), true, "join")
        for _, r in ipairs(results) do
            if not r:ready() then t.ok(false, "every result is settled") end
        end
        killer:join()
    end
    t.is(#process.active_children(), 0, "no worker is left")
end)

t.done()
