-- A pool was closed and joined while an iterator over its results was half read. What the iterator asked for then
-- went into a closed queue: over an iterator function it waited for ever, over a list it raised "Broken pipe".

local t = require "tap"

signal.alarm(60) -- ends the test, where it waits for ever
local function same(x) return x end

local function numbers(n)
    local i = 0
    return function() i = i + 1 if i <= n then return i end end
end

local function list(n)
    local all = {}
    for i in numbers(n) do all[i] = i end
    return all
end

for name, items in pairs {list = list(1000), ["iterator function"] = numbers(1000)} do
    local is_held, gate = sync.Event(), sync.Event()
    local p = pool.Pool {processes = 1, initializer = function()
        process.atexit(function() is_held:set() gate:wait() end)
    end}
    local it = p:imap(same, items)
    it()
    p:close()
    local joined
    repeat joined = p:join(0.01) until is_held:is_set()
    t.ok(not joined, "a worker has not ended yet")
    local ok, e
    repeat ok, e = pcall(it) until not ok or e == nil
    t.is({ok, e}, {false, "pool terminated"}, "of the " .. name .. " no more is given")
    gate:set()
    t.ok(p:join(60), "it ends")
end

t.done()
