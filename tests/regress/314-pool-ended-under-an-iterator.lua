-- The result of a map over an iterator never came when the pool ended before the iterator did.

local t = require "tap"

local function slow(x) process.sleep(0.01) return x end

local function endless()
    local n = 0
    return function() n = n + 1 return n end
end

local function outcome(r) return {pcall(r.get, r, 10)} end

local p = pool.Pool(2)
local r = p:map_async(slow, endless())
p:terminate()
t.is(outcome(r), {false, "pool terminated"}, "terminated")

p = pool.Pool(2)
local numbers = endless()
r = p:map_async(slow, function()
    local n = numbers()
    if n == 3 then p:terminate() end
    return n
end)
t.is(outcome(r), {false, "pool terminated"}, "terminated by the iterator")

p = pool.Pool(2)
t.is({pcall(p.map, p, slow, function() p:terminate() return 1 end)}, {false, "pool terminated"},
    "before it had given anything")

p = pool.Pool {processes = 2, initializer = function() process.sleep(0.05) error("no", 0) end}
t.is(outcome(p:map_async(slow, endless())), {false, "no"}, "broken")

t.done()
