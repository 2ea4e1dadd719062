-- The end of a pool: close, join, terminate, <close>, the collector, and the end of its process.

local t = require "tap"
local cli = require "host.cli"

local function script(text)
    cli.file("script.lua", text)
    return cli.run "script.lua"
end

local function children()
    return #process.active_children()
end

t.test("close lets what was given be done, and takes no more", function()
    local p = pool.Pool(2)
    local results = {}
    for i = 1, 20 do results[i] = p:apply_async(function() process.sleep(0.002) return i end) end
    p:close()
    t.raises(function() p:apply(print) end, "pool_end.lua:%d+: .*closed", "apply raises")
    t.raises(function() p:map(print, {1}) end, "pool_end.lua:%d+: .*closed", "map raises")
    t.is(p:join(), true, "join")
    for i, r in ipairs(results) do
        if r:get(0) ~= i then t.ok(false, "all tasks are done") end
    end
    t.is(children(), 0, "no worker is left")
    t.is(p:join(), true, "join again")
    p:close()
    p:terminate()
    t.ok(tostring(p):find "ended", "it says so: " .. tostring(p))
end)

t.test("join gives up after its timeout, and can be called again", function()
    local p, e = pool.Pool(2), sync.Event()
    local r = p:apply_async(function() e:wait() return 5 end)
    p:close()
    t.is({p:join(0.02)}, {false, "timeout"}, "while a task runs")
    t.is({p:join(0)}, {false, "timeout"}, "without waiting")
    e:set()
    t.is(p:join(60), true, "and then it ends")
    t.is(r:get(), 5, "with its result")
    t.raises(function() pool.Pool(1):join() end, "pool_end.lua:%d+: close or terminate",
        "join before close raises")
    collectgarbage()
    collectgarbage()
end)

t.test("a map that does not fit in shared memory fails, and nothing else does", function()
    cli.file("script.lua", [[
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        local p, gate, list = pool.Pool(1), sync.Event(), {}
        for i = 1, 80 do list[i] = ("x"):rep(1 << 20) end
        local first = p:apply_async(function() gate:wait() return "first" end)
        local r = p:map_async(string.len, list, 1)
        print(pcall(r.get, r, 60))
        gate:set()
        print(first:get(60))
        local ok, lengths
        repeat -- what was given is still being done
            ok, lengths = pcall(p.map, p, string.len, {list[1], "b"}, 1)
        until ok
        print(lengths[1])
        p:close()
        print(p:join(60))
    ]])
    local result = cli.run("script.lua", nil, "ulimit -f 131072;")
    if not result.out:find "^false" then
        return t.skip("the limit", "this system does not limit shared memory by ulimit -f")
    end
    t.ok(result.out:find "^false\tcannot send to a pool: out of shared memory", "it says why")
    t.is(result.out:match "^.-\n(.*)", "first\n1048576\ntrue\n", "and the pool goes on")
end)

t.test("join reads an iterator to its end", function()
    local p, n = pool.Pool(2), 0
    local r = p:map_async(function(x) return x end, function()
        n = n + 1
        return n <= 100 and n or nil
    end)
    p:close()
    t.is(p:join(60), true, "join")
    t.is(#r:get(0), 100, "all items were done")
end)

t.test("terminate ends what runs, and what was pending raises", function()
    local p, e = pool.Pool(2), sync.Event()
    local results, failed = {}, {}
    for i = 1, 10 do
        results[i] = p:apply_async(function() e:set() process.sleep(600) end, {}, nil, nil,
            function(message) failed[i] = message end)
    end
    local next_item = p:imap(function() end, {1, 2, 3})
    local m = p:map_async(print, {1, 2, 3})
    e:wait()
    p:terminate()
    t.is(children(), 0, "no worker is left")
    for i, r in ipairs(results) do
        t.is({pcall(r.get, r)}, {false, "pool terminated"}, "a result")
        t.is(failed[i], "pool terminated", "its callback")
    end
    t.is({pcall(next_item)}, {false, "pool terminated"}, "an iterator")
    t.is({pcall(m.get, m)}, {false, "pool terminated"}, "a map")
    t.raises(function() p:apply(print) end, "pool_end.lua:%d+: pool terminated", "a new task")
    t.is(p:join(), true, "join")
    p:terminate()
end)

local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
end

-- What an iterator gives until its end: the items, and how often which error.
local function rest_of(next_item)
    local items, errors = {}, {}
    while true do
        local ok, i = pcall(next_item)
        if ok and i == nil then return items, errors end
        if ok then items[#items + 1] = i else errors[i] = (errors[i] or 0) + 1 end
    end
end

t.test("close lets an iterator go on to its end", function()
    for _, method in ipairs {"imap", "imap_unordered"} do
        local p = pool.Pool(2)
        local next_item = p[method](p, function(x) return x end, numbers(300))
        next_item()
        p:close()
        local items, errors = rest_of(next_item)
        t.is({#items, errors}, {299, {}}, method)
        t.is(p:join(60), true, "join")
    end
end)

t.test("join waits for what an iterator has given, and the rest raises once", function()
    for _, method in ipairs {"imap", "imap_unordered"} do
        local p = pool.Pool(2)
        local next_item = p[method](p, function(x) process.sleep(0.001) return x end, numbers(300))
        next_item()
        p:close()
        t.is(p:join(60), true, "join")
        local items, errors = rest_of(next_item)
        t.ok(#items > 0 and #items < 299, ("%s gives what was done: %d"):format(method, #items))
        t.is(errors, {["pool terminated"] = 1}, "then raises")
        t.is(next_item(), nil, "and has ended")
    end
end)

t.test("terminate lets an iterator give what was there, and what was pending raises", function()
    for _, method in ipairs {"imap", "imap_unordered"} do
        local p, e = pool.Pool(2), sync.Event()
        local next_item = p[method](p, function(x) if x == 3 then e:wait() end return x end, numbers(300))
        next_item()
        next_item()
        process.sleep(0.05)
        p:terminate()
        local items, errors = rest_of(next_item)
        t.ok(#items > 0, ("%s: %d are there"):format(method, #items))
        t.ok(errors["pool terminated"] and next(errors, "pool terminated") == nil, "others raise")
        t.is(next_item(), nil, "and then it has ended")
    end
end)

t.test("terminate ends workers that ignore SIGTERM, and their children", function()
    local p, q = pool.Pool(2), ipc.Queue()
    p:apply_async(function()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        local child = process.spawn(function() process.sleep(600) end)
        q:put(child)
        while true do process.sleep(600) end
    end)
    local child = q:get()
    p:terminate()
    t.is(children(), 0, "no worker is left")
    t.is(child:join(30), true, "nor its child")
end)

t.test("at the end of its block a pool is closed and joined", function()
    local r
    do
        local p <close> = pool.Pool(2)
        r = p:apply_async(function() process.sleep(0.02) return 5 end)
    end
    t.is(r:get(0), 5, "what was given is done")
    t.is(children(), 0, "no worker is left")
end)

t.test("after an error it is terminated", function()
    local r
    local ok, e = pcall(function()
        local p <close> = pool.Pool(2)
        r = p:apply_async(process.sleep, {600})
        error("my own", 0)
    end)
    t.is({ok, e}, {false, "my own"}, "the error is what it was")
    t.is({pcall(r.get, r)}, {false, "pool terminated"}, "what was pending raises")
    t.is(children(), 0, "no worker is left")
end)

t.test("a pool that is dropped is collected, and its workers with it", function()
    local weak = setmetatable({}, {__mode = "k"})
    do
        local p = pool.Pool(2)
        p:map(function(x) return x end, {1, 2, 3})
        p:apply_async(process.sleep, {600})
        weak[p] = true
        t.is(children(), 2, "two workers")
    end
    collectgarbage()
    collectgarbage()
    t.is(next(weak), nil, "it is gone")
    t.is(children(), 0, "and they")
end)

t.test("a result keeps its pool", function()
    local r = pool.Pool(1):apply_async(function() process.sleep(0.02) return 5 end)
    collectgarbage()
    collectgarbage()
    t.is(r:get(30), 5, "until it is there")
    r = nil
    collectgarbage()
    collectgarbage()
    t.is(children(), 0, "and no longer")
end)

t.test("many pools one after the other leave nothing behind", function()
    local function descriptors()
        local n = 0
        for i = 0, 255 do
            local f = io.open("/proc/self/fdinfo/" .. i)
            if f then
                n = n + 1
                f:close()
            end
        end
        return n
    end
    local function once()
        local p <close> = pool.Pool(2)
        p:map(function(x) return x end, {1, 2, 3})
    end
    once()
    collectgarbage()
    local before = descriptors()
    for _ = 1, 50 do once() end
    collectgarbage()
    t.is(descriptors(), before, "no descriptor")
    t.is(children(), 0, "no worker")
end)

t.test("a pool prints as what it is", function()
    local p = pool.Pool {processes = 2, name = "cooks"}
    t.is(tostring(p), 'Pool "cooks" (2 workers, 0 tasks, running)', "while it runs")
    p:close()
    t.is(tostring(p), 'Pool "cooks" (2 workers, 0 tasks, closed)', "closed")
    p:join()
    t.is(tostring(p), 'Pool "cooks" (0 workers, 0 tasks, ended)', "ended")
end)

cli.expect("a script may end without closing its pool", script [[
local p = pool.Pool(2)
print(p:apply(function() return 5 end))
p:apply_async(process.sleep, {600})
]], {out = "5\n", err = "", status = 0})

cli.expect("or with os.exit", script [[
local p = pool.Pool(2)
p:apply_async(process.sleep, {600})
os.exit(3)
]], {out = "", err = "", status = 3})

cli.expect("a callback that fails is told, and does not disturb", script [[
local p <close> = pool.Pool(1)
local r = p:apply_async(function() return 5 end, {}, nil, function() error "in a callback" end)
print(r:get())
print(p:apply(function() return 6 end))
]], {out = "5\n6\n", status = 0,
    err = {"error in a pool's callback: script.lua:2: in a callback\nstack traceback:"}})

cli.expect("an error callback that fails, too", script [[
local p <close> = pool.Pool(1)
local r = p:apply_async(error, {"x"}, nil, nil, function(e) error {} end)
print(pcall(r.get, r))
]], {out = "false\tx\n", err = {"error in a pool's callback: %(error object is a table value%)"},
    status = 0})

cli.expect("an initializer's error that nobody catches ends the script", script [[
local p <close> = pool.Pool {processes = 2, initializer = function() error "no database" end}
p:map(print, {1, 2, 3})
]], {status = 1, err = {"no database"}})

cli.done()
