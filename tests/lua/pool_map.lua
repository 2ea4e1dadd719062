-- Many items: map, starmap, imap, imap_unordered, and pool.map.

local t = require "tap"
local cli = require "host.cli"

local p = pool.Pool(2)

local function square(x) return x * x end

local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
end

local function squares(n)
    local list = {}
    for i = 1, n do list[i] = i * i end
    return list
end

-- An iterator over 1 to n, which counts what was read.
local function counting(n)
    local count = {read = 0}
    return function()
        if count.read < n then
            count.read = count.read + 1
            return count.read
        end
    end, count
end

t.test("map gives the results in the list's order", function()
    t.is(p:map(square, numbers(100)), squares(100), "a hundred")
    t.is(p:map(square, {}), {}, "none")
    t.is(p:map(square, {7}), {49}, "one")
    t.is(p:map(square, numbers(100), 1), squares(100), "in chunks of 1")
    t.is(p:map(square, numbers(100), 7), squares(100), "of 7")
    t.is(p:map(square, numbers(100), 1000), squares(100), "of more than all")
    t.is(p:map(square, numbers(100), math.maxinteger), squares(100), "of as many as can be said")
    t.is(p:map(square, numbers(100), {chunksize = 3}), squares(100), "as an option")
    t.is(p:map(function(x)
        if x == 1 then process.sleep(0.05) end
        return x
    end, numbers(4), 1), numbers(4), "also when the first is the last to come")
end)

t.test("map keeps the first value of each call, and false and nil at their place", function()
    t.is(p:map(function(x) return x, "second" end, {1, 2}), {1, 2}, "several results")
    local got = p:map(function(x) return x ~= 2 and x or nil end, {1, 2, 3})
    t.is({got[1], got[2], got[3]}, {1, nil, 3}, "nil")
    t.is(p:map(function() return false end, {1, 2}), {false, false}, "false")
    t.is(p:map(function() end, {1, 2, 3}), {}, "nothing")
end)

t.test("map_async gives a result", function()
    local r = p:map_async(square, numbers(10))
    t.is(r:get(30), squares(10), "with the list")
    local got
    r = p:map_async(square, numbers(3), 1, function(list) got = list end)
    r:wait()
    t.is(got, {1, 4, 9}, "a callback gets the list")
    got = nil
    p:map_async(square, numbers(3), {callback = function(list) got = list end}):wait()
    t.is(got, {1, 4, 9}, "as an option, too")
    p:map_async(error, {"x"}, {error_callback = function(e) got = e end}):wait()
    t.is(got, "x", "and the error callback")
    t.is(p:map_async(square, {}):get(), {}, "an empty list is done at once")
end)

t.test("starmap passes each item as a list of arguments", function()
    t.is(p:starmap(math.max, {{1, 2}, {5, 4, 3}}), {2, 5}, "of any length")
    t.is(p:starmap(function(...) return select("#", ...) end, {{}, {n = 3}, {1}}), {0, 3, 1},
        "n is honoured")
    t.raises(function() p:starmap(math.max, {{1}, 2}) end,
        "starmap wants each item to be a list of arguments, not a number",
        "an item that is none raises")
end)

t.test("map waits for all, and then raises the first error in the list's order", function()
    local v = ipc.Value("i", 0)
    local ok, e = pcall(p.map, p, function(x)
        v:add(1)
        if x == 2 then process.sleep(0.05) end
        if x == 2 or x == 7 then error("item " .. x, 0) end
        return x
    end, numbers(10), 1)
    t.is({ok, e}, {false, "item 2"}, "the first")
    t.is(v.value, 10, "all were done")
    ok, e = pcall(p.map, p, function(x) error {x} end, numbers(10), 5)
    t.is({ok, e}, {false, {1}}, "its own value")
end)

t.test("an item whose result cannot be sent is an error at its place", function()
    local r = p:map_async(function(x) return x == 3 and io.stdout or x end, numbers(5), 5)
    t.raises(function() r:get() end, "cannot send result.*file handle", "in a chunk with others")
    local seen = {}
    local next_item = p:imap(function(x) return x == 3 and io.stdout or x end, numbers(5), 5)
    for _ = 1, 5 do
        local ok, i, value = pcall(next_item)
        seen[#seen + 1] = ok and {i, value} or "error"
    end
    t.is(seen, {{1, 1}, {2, 2}, "error", {4, 4}, {5, 5}}, "the others come")
end)

t.test("an item that cannot be sent is an error at its place, named as in the list", function()
    local list = numbers(5)
    list[4] = {deep = io.stdout}
    t.raises(function() p:map(square, list, 1) end, "cannot send list%[4%]%.deep", "in chunks of 1")
    t.raises(function() p:map(square, list, 3) end, "cannot send list%[4%]%.deep", "in chunks of 3")
    t.raises(function() p:map(function() return io.stdout, list[4] end, {1}) end,
        "pool_map.lua:%d+: cannot send f",
        "a function that cannot be sent raises at once")
    t.is(p:map(square, {3}), {9}, "the pool goes on")
end)

t.test("an item that is a chunk by itself comes to what it would among others", function()
    t.is(p:map(function(x) return x, "second" end, {1, 2}, 1), {1, 2}, "several results")
    local got = p:map(function(x) if x ~= 2 then return x end end, {1, 2, 3}, 1)
    t.is({got[1], got[2], got[3]}, {1, nil, 3}, "no result")
    t.is(p:map(function(x) return {x, {x = x}} end, {1, 2}, 1), {{1, {x = 1}}, {2, {x = 2}}},
        "tables")
    local ok, e = pcall(p.map, p, function(x) error {code = x} end, {5, 6}, 1)
    t.is({ok, e}, {false, {code = 5}}, "is the error itself")
    t.raises(function() p:map(function() return io.stdout end, {1}, 1) end,
        "cannot send result.*file handle", "a result that cannot be sent")
    t.is(p:starmap(math.max, {{1, 2}, {4, 3}}, 1), {2, 4}, "a list of arguments")
    t.raises(function() p:starmap(math.max, {{1, 2}, 3}, 1) end, "starmap wants each item",
        "or what is none")
end)

t.test("a chunk of plain values comes to the same wherever one item comes to something else", function()
    local long = ("long "):rep(2000)
    local items = {1, -3, 1 << 40, 0.5, "s", long, true, false, "", -0.0, math.huge, "end"}
    local function same(x) return x end
    for _, size in ipairs {1, 2, 5, 12} do
        t.is(p:map(same, items, size), items, "the items themselves, in chunks of " .. size)
    end
    local right = 0
    for at = 1, #items do
        local special = items[at]
        local function table_at(x) return x == special and {x} or x end
        local function none_at(x) if x ~= special then return x end end
        local function two_at(x) if x == special then return x, x end return x end
        local function error_at(x) if x == special then error({x}, 0) end return x end
        local function thread_at(x) return x == special and coroutine.create(print) or x end
        local with_table, with_none = {}, {}
        for i, x in ipairs(items) do
            with_table[i] = i == at and {x} or x
            if i ~= at then with_none[i] = x end
        end
        local function all(f)
            local got = {}
            for i, x in ipairs(items) do
                local ok, e = pcall(f, x)
                if not ok then return {false, e} end
                got[i] = e
            end
            return {true, got}
        end
        for _, size in ipairs {1, 4, 12} do
            local equal = t.same(p:map(table_at, items, size), with_table)
                and t.same(p:map(none_at, items, size), with_none)
                and t.same(p:map(two_at, items, size), items)
                and t.same({pcall(p.map, p, error_at, items, size)}, all(error_at))
            local ok, e = pcall(p.map, p, thread_at, items, size)
            if equal and not ok and e:find "cannot send result.*coroutine" then right = right + 1 end
        end
    end
    t.is(right, 3 * #items, "at each place, with each size")
    local list = table.pack(1, nil, 3)
    t.is(p:map(function(x) return x == nil and "nil" or x end, list, 2), {1, "nil", 3}, "nil is an item")
    t.is(p:map(string.upper, {"a", "b", "c"}, 3), {"A", "B", "C"}, "a function of C")
    t.is(p:map(function(x) return #x end, {long, long:rep(100), "x"}, 3), {#long, 100 * #long, 1},
        "long strings")
    t.is(p:map(function(x) return long:rep(x) end, {0, 1, 90}, 3), {"", long, long:rep(90)},
        "and as results")
end)

t.test("each chunk has a function of its own, with the upvalues as they were sent", function()
    local calls = 0
    local function count() calls = calls + 1 return calls end
    t.is(p:map(count, numbers(6), 1), {1, 1, 1, 1, 1, 1}, "an upvalue")
    t.is(p:map(count, numbers(6), 3), {1, 2, 3, 1, 2, 3}, "for each chunk")
    local counter = setmetatable({n = 0}, {__call = function(self) self.n = self.n + 1 return self.n end})
    ipc.register_class("pool_map.counter", getmetatable(counter))
    local fresh <close> = pool.Pool(1)
    t.is(fresh:map(counter, numbers(3), 1), {1, 1, 1}, "what is called as a function")
    local event = sync.Event()
    t.is(p:map(function(x) return x == event end, {event, 1}, 1), {true, false}, "an object")
end)

t.test("a long list goes through in small chunks", function()
    local n = 5000
    t.is(p:map(square, numbers(n), 1), squares(n), "of 1")
    t.is(p:map(square, numbers(n), 3), squares(n), "of 3")
    t.is(p:map_async(square, numbers(n), 1):get(60), squares(n), "and when nobody waits for it yet")
    local shown = setmetatable({}, {__index = function(_, i) return i end, __len = function() return n end})
    t.is(p:map(square, shown, 1), squares(n), "a list that has a metatable")
end)

t.test("several maps are on their way at once", function()
    local results, right = {}, 0
    for i = 1, 20 do results[i] = p:map_async(square, numbers(i * 10), i) end
    t.is(p:apply(square, {9}), 81, "and a call between them")
    for i = 20, 1, -1 do
        local got = results[i]:get(60)
        if #got == i * 10 and got[i * 10] == (i * 10) ^ 2 then right = right + 1 end
    end
    t.is(right, 20, "each has its own values")
    local r = p:map_async(square, numbers(50), 1)
    t.is(p:map(square, numbers(100), 1), squares(100), "one that is waited for")
    t.is(r:get(60), squares(50), "and one that is not")
end)

t.test("imap gives index and value in order", function()
    local seen = {}
    for i, v in p:imap(square, numbers(50)) do seen[#seen + 1] = {i, v} end
    local expected = {}
    for i = 1, 50 do expected[i] = {i, i * i} end
    t.is(seen, expected, "fifty")
    seen = {}
    for i, v in p:imap(square, numbers(50), 7) do seen[#seen + 1] = {i, v} end
    t.is(seen, expected, "in chunks")
    for _ in p:imap(square, {}) do t.ok(false, "an empty list has no item") end
end)

t.test("imap gives all that the function returned", function()
    local seen = {}
    for i, a, b in p:imap(function(x) return x, -x end, {1, 2}) do seen[#seen + 1] = {i, a, b} end
    t.is(seen, {{1, 1, -1}, {2, 2, -2}}, "two values")
    local next_item = p:imap(function(x) if x == 1 then return nil, nil end end, {1, 2})
    t.is(select("#", next_item()), 3, "nils")
    t.is(select("#", next_item()), 1, "nothing but the index")
    t.is(next_item(), nil, "the end")
end)

t.test("imap gives the first while others are under way", function()
    local e = sync.Event()
    local next_item = p:imap(function(x) if x > 1 then e:wait() end return x end, numbers(3))
    t.is({next_item()}, {1, 1}, "before they are done")
    e:set()
    t.is({next_item()}, {2, 2}, "the next")
    t.is({next_item()}, {3, 3}, "the last")
    t.is(next_item(), nil, "the end")
    t.is(next_item(), nil, "and again")
end)

t.test("imap raises at the item's place and goes on", function()
    local next_item = p:imap(function(x)
        if x % 2 == 0 then error("item " .. x, 0) end
        return x
    end, numbers(5))
    local seen = {}
    for _ = 1, 5 do
        local ok, i = pcall(next_item)
        seen[#seen + 1] = ok and i or i
    end
    t.is(seen, {1, "item 2", 3, "item 4", 5}, "each at its place")
    t.is(next_item(), nil, "the end")
end)

t.test("imap_unordered gives what is there first, with the item's index", function()
    local e = sync.Event()
    local next_item = p:imap_unordered(function(x) if x == 1 then e:wait() end return x * 10 end,
        numbers(4))
    local seen = {}
    for _ = 1, 3 do
        local i, v = next_item()
        seen[i] = v
    end
    t.is({seen[2], seen[3], seen[4]}, {20, 30, 40}, "the others before the first")
    e:set()
    t.is({next_item()}, {1, 10}, "the first at last")
    t.is(next_item(), nil, "the end")
    seen = {}
    for i, v in p:imap_unordered(square, numbers(50), 7) do seen[i] = v end
    t.is(seen, squares(50), "in chunks")
    local errors, values = 0, 0
    next_item = p:imap_unordered(function(x) if x % 5 == 0 then error "x" end return x end,
        numbers(20), 3)
    for _ = 1, 20 do
        if pcall(next_item) then values = values + 1 else errors = errors + 1 end
    end
    t.is({errors, values, next_item()}, {4, 16, nil}, "errors come among them")
end)

t.test("two iterators at once do not take each other's results", function()
    local a, b = p:imap(square, numbers(20)),
        p:imap_unordered(function(x) return -x end, numbers(20))
    local sum_a, sum_b = 0, 0
    for _ = 1, 20 do
        sum_a = sum_a + select(2, a())
        sum_b = sum_b + select(2, b())
    end
    t.is({sum_a, sum_b}, {2870, -210}, "each has its own")
end)

t.test("what a worker cannot do of a chunk is an error for each of its items", function()
    local list = numbers(7)
    list[4] = {io.stdout}
    local function outcomes(next_item)
        local seen = {}
        for _ = 1, 7 do
            local ok, i = pcall(next_item)
            seen[#seen + 1] = ok and i or i:match "cannot send list%[4%]%[1%]" or i
        end
        return seen, next_item()
    end
    local e = "cannot send list[4][1]"
    t.is({outcomes(p:imap(type, list, 3))}, {{1, 2, 3, e, e, e, 7}, nil}, "imap")
    local seen, last = outcomes(p:imap_unordered(type, list, 3))
    table.sort(seen, function(a, b) return tostring(a) < tostring(b) end)
    t.is({seen, last}, {{1, 2, 3, 7, e, e, e}, nil}, "imap_unordered")
end)

t.test("a list is read no further ahead than takes some milliseconds", function()
    for _, method in ipairs {"imap", "imap_unordered"} do
        local done = ipc.Value("i", 0)
        local next_item = p[method](p, function() process.sleep(0.002) done:add(1) end, numbers(1000))
        for _ = 1, 20 do next_item() end
        process.sleep(0.2)
        t.ok(done.value <= 52, ("%s, of what takes time: %d done"):format(method, done.value))
        done = ipc.Value("i", 0)
        next_item = p[method](p, function() done:add(1) end, numbers(5000))
        for _ = 1, 2000 do next_item() end
        process.sleep(0.1)
        t.ok(done.value <= 2256, ("%s, of what takes none: %d done"):format(method, done.value))
    end
end)

t.test("an iterator that is dropped half way leaves nothing behind", function()
    for i = 1, 40 do
        local method = i % 2 == 0 and "imap" or "imap_unordered"
        for item in p[method](p, square, numbers(300), i) do
            if item > 3 then break end
        end
    end
    t.is(p:map(square, numbers(100), 1), squares(100), "the pool goes on")
    local deadline = process.monotonic() + 30
    while not tostring(p):find ", 0 tasks," and process.monotonic() < deadline do p:apply(square, {1}) end
    t.ok(tostring(p):find ", 0 tasks,", "and has nothing else to do: " .. tostring(p))
end)

t.test("a callback that runs while an iterator waits may yield", function()
    local e, n = sync.Event(), 0
    p:map_async(square, numbers(3), 1, function() n = n + coroutine.yield("in the callback") end)
    local co = coroutine.wrap(function()
        local next_item = p:imap(function(x) e:wait() return x end, {5})
        return next_item()
    end)
    t.is(co(), "in the callback", "out of the iterator")
    e:set()
    t.is({co(7)}, {1, 5}, "which then goes on")
    t.is(n, 7, "as the callback does")
end)

t.test("an iterator belongs to the process that made it", function()
    local next_item = p:imap(square, numbers(3))
    process.sleep(0.05)
    t.is({next_item()}, {1, 1}, "the first")
    local q = ipc.Queue()
    local child = process.spawn(function()
        q:put(select(2, pcall(function()
            local i = next_item()
            return i
        end)))
    end)
    t.raises(function() error(q:get(60), 0) end, "pool_map.lua:%d+: a pool, and what it gives, belong",
        "another raises at its line")
    child:join()
    t.is({next_item()}, {2, 4}, "the next")
end)

t.test("a list may be an iterator", function()
    t.is(p:map(square, (counting(50))), squares(50), "map")
    t.is(p:map(square, (counting(50)), 7), squares(50), "map in chunks")
    t.is(p:starmap(square, string.gmatch("", "x")), {}, "an empty one")
    t.is(p:map(string.upper, ("a b c"):gmatch "%a"), {"A", "B", "C"}, "gmatch")
    local seen = {}
    for i, v in p:imap(square, (counting(50))) do seen[i] = v end
    t.is(seen, squares(50), "imap")
    seen = {}
    for i, v in p:imap_unordered(square, (counting(50)), 4) do seen[i] = v end
    t.is(seen, squares(50), "imap_unordered")
    local r = p:map_async(square, (counting(50)), 3)
    t.is(r:get(30), squares(50), "map_async")
end)

t.test("an iterator is read no further ahead than the workers need", function()
    local source, count = counting(1000)
    local next_item = p:imap(square, source)
    next_item()
    process.sleep(0.05)
    t.ok(count.read <= 10, "imap: " .. count.read)
    for _ = 1, 99 do next_item() end
    t.ok(count.read <= 110, "a hundred later: " .. count.read)
    source, count = counting(1000)
    local e = sync.Event()
    local r = p:map_async(function(x) e:wait() return x end, source)
    t.ok(count.read <= 10, "map_async: " .. count.read)
    e:set()
    t.is(#r:get(30), 1000, "all in the end")
    source = counting(math.maxinteger)
    local sum = 0
    for i, v in p:imap(square, source) do
        sum = sum + v
        if i == 10 then break end
    end
    t.is(sum, 385, "one without end")
end)

t.test("an iterator that fails is an error after what it gave", function()
    local function failing()
        local n = 0
        return function()
            n = n + 1
            if n == 4 then error("no more", 0) end
            return n
        end
    end
    t.is({pcall(p.map, p, square, failing())}, {false, "no more"}, "map")
    for _, size in ipairs {1, 2, 10} do
        local next_item = p:imap(square, failing(), size)
        t.is({select(2, next_item()), select(2, next_item()), select(2, next_item())}, {1, 4, 9},
            "imap gives what was there")
        t.is({pcall(next_item)}, {false, "no more"}, "then raises")
        t.is(next_item(), nil, "then ends")
    end
end)

t.test("an iterator may use the pool itself", function()
    local n = 0
    t.is(p:map(square, function()
        n = n + 1
        if n <= 3 then return p:apply(function(x) return x + 10 end, {n}) end
    end), {121, 144, 169}, "map")
    local inner = p:imap(square, numbers(5))
    t.is(p:map(square, function() return (select(2, inner())) end), {1, 16, 81, 256, 625},
        "imap into map")
end)

t.test("pool.map forks for one call: any closure, and the list is not copied", function()
    local file <close> = assert(io.open "/dev/null")
    local co = coroutine.wrap(function() while true do coroutine.yield(1) end end)
    t.is(pool.map(function(x) return x * co() + (io.type(file) == "file" and 0 or 1) end,
        numbers(100),
        {processes = 2}), numbers(100), "with what cannot be sent")
    local list = numbers(10)
    list[5] = {file}
    t.is(pool.map(function(x) return type(x) end, list, {processes = 2})[5], "table",
        "and items that cannot be sent")
    t.is(pool.map(square, {}), {}, "an empty list")
    t.is(pool.map(square, numbers(1000)), squares(1000),
        "by default with as many as there are processors")
    t.is({pcall(pool.map, function(x) if x > 3 then error("item " .. x, 0) end end, numbers(10))},
        {false, "item 4"}, "the first error")
    t.is(#process.active_children(), 2, "nothing is left behind but the other pool")
    local lazy = setmetatable({}, {__index = function(_, i) return i <= 10 and i or nil end,
        __len = function() return 10 end})
    t.is(pool.map(square, lazy, {processes = 2}), squares(10), "a list by metamethods")
    t.raises(function() pool.map(square, setmetatable({}, {__index = function() error "no item" end,
        __len = function() return 3 end})) end, "no item", "and one that fails")
    t.raises(function() pool.map(5, {}) end, "pool_map.lua:%d+: map wants a function",
        "no function")
    t.raises(function() pool.map(square, 5) end, "pool_map.lua:%d+: map wants a list", "no list")
    t.raises(function() pool.map(square, {1}, {proceses = 1}) end, "pool_map.lua:%d+: .*proceses",
        "no such option")
end)

t.test("initializer runs in each worker, before its tasks", function()
    local with <close> = pool.Pool {processes = 2,
        initializer = function(a, b) initialized = a + b end, initargs = {3, 4}}
    t.is(with:map(function() return initialized end, {1, 2, 3, 4}, 1), {7, 7, 7, 7},
        "with its arguments")
end)

cli.file("uncaught.lua", [[
local function compute(x) if x == 3 then error "cannot compute" end end
local p <close> = pool.Pool(2)
p:map(compute, {1, 2, 3, 4}, 2)
]])
cli.expect("an error that nobody catches is told with the item, the worker and its traceback",
    cli.run "uncaught.lua",
        {status = 1, err = {"uncaught.lua:1: cannot compute\n.*item 3 of the list.*"
        .. "PoolWorker%-%d.*stack traceback.*uncaught.lua:1: in function"}})

cli.file("hint.lua", [[
local p <close> = pool.Pool(1)
function late(x) return x end
limit = 3
local r = p:apply_async(function() return late() end)
r:wait()
print(r:traceback())
print(pcall(r.get, r))
p:map(function(x) return x < 3 and x * limit end, {1})
]])
local function hint(name)
    return "hint: a worker has the globals of when it was forked; make '" .. name
        .. "' local where it is defined, or define it before the pool is made\n"
end
cli.expect("a global of after the fork is told", cli.run "hint.lua", {status = 1,
    out = {"^hint.lua:4: attempt to call a nil value %(global 'late'%)\n" .. hint "late"
        .. "stack traceback:\n\thint.lua:4: in function <hint.lua:4>\n"
        .. "false\thint.lua:4: attempt to call a nil value %(global 'late'%)\n$"},
    err = {"^luamp: hint.lua:8: [^\n]*%(global 'limit'%)\nitem 1 of the list\n" .. hint "limit"
        .. "in PoolWorker%-1 %(pid %d+%), stack traceback:\n\thint.lua:8:"}})
cli.expect("not where its value is another", cli.run [[-e 'x = 5 pool.Pool(1):apply(function() x() end)']],
    {status = 1, err = {"^luamp: [^\n]*%(global 'x'%)\nin PoolWorker"}})

local here = "pool_map.lua:%d+: "
for _, case in ipairs {
    {"map without a function", function() p:map({}, square) end, here .. "map wants a function"},
    {"map without a list", function() p:map(square) end,
        here .. "map wants a list or an iterator, not a nil"},
    {"imap without a list", function() p:imap(square, 5) end, here .. "imap wants a list"},
    {"a chunk size of 0", function() p:map(square, {1}, 0) end, here .. ".*chunk size.*at least 1"},
    {"a chunk size of 1.5", function() p:imap(square, {1}, 1.5) end,
        here .. ".*chunk size.*integer"},
    {"a chunk size that is no number", function() p:map(square, {1}, "x") end,
        here .. ".*chunk size"},
    {"what q:iter() gives besides the iterator", function() p:imap(square, ipc.Queue():iter()) end,
        here .. "the third argument is the chunk size, not a Queue; an iterator is one function: function%(%) return"},
    {"an option that is misspelt", function() p:map(square, {1}, {chunksise = 5}) end,
        here .. ".*'chunksise'.*'chunksize'"},
    {"a callback that is no function", function() p:map_async(square, {1}, 1, 5) end,
        here .. ".*callback"},
    {"a callback option that is no function",
        function() p:map_async(square, {1}, {callback = 5}) end, here .. ".*callback"},
    {"starmap with a dot", function() p.starmap(square, {}) end, here .. ".*colon"},
} do
    t.raises(case[2], case[3], case[1] .. " raises at the caller's line")
end

p:close()
p:join()
cli.done()
