-- A pool of cpu_count() / 2 workers was refused, since that is 1.0; so was a list that processes share, as "a userdata".
-- An option without a name was told as unknown, and not what to do.

local t = require "tap"

local here = "^[^:]*353[^:]*:%d+: "
local p <close> = pool.Pool(2.0)
t.ok(tostring(p):find "2 workers", "2.0 workers are 2")
local q <close> = pool.Pool {processes = 2 / 2, retries = 1.0}
t.ok(tostring(q):find "1 workers", "as an option")
t.raises(function() pool.Pool(1.5) end, here .. "option 'processes' of pool.Pool: an integer expected, got float", "1.5")
t.raises(function() pool.Pool("2") end, here .. ".*an integer expected, got string", "no string")
t.is(p:map(math.abs, {-1, -2, -3}, 4 / 2), {1, 2, 3}, "a chunk size")

t.raises(function() pool.Pool {2} end,
    here .. "unknown option '1' of pool.Pool; options have names: {processes = 2}$", "a pool's option without a name")

local function negate(x) return -x end
for name, list in pairs {List = ipc.List {1, 2, 3}, Array = ipc.Array("i", {1, 2, 3})} do
    t.is(p:map(negate, list), {-1, -2, -3}, name .. ": map")
    t.is(q:map(negate, list), {-1, -2, -3}, "where tasks are tried again")
    t.is(pool.map(negate, list), {-1, -2, -3}, "pool.map")
    t.is(p:map_async(negate, list, 2):get(), {-1, -2, -3}, "map_async")
    local got = {}
    for i, v in p:imap(negate, list) do got[i] = v end
    t.is(got, {-1, -2, -3}, "imap")
    got = {}
    for i, v in p:imap_unordered(negate, list, 2) do got[i] = v end
    t.is(got, {-1, -2, -3}, "imap_unordered")
end
t.is(p:starmap(math.max, ipc.List {{1, 2}, {4, 3}}), {2, 4}, "starmap")
t.raises(function() p:map(negate, ipc.Queue()) end, here .. "map wants a list or an iterator, not a Queue$", "a queue is none")
t.raises(function() p:map(negate, ipc.Dict()) end, here .. "map wants a list or an iterator, not a Dict$", "nor a Dict")
t.raises(function() pool.map(negate, io.stdout) end, here .. "map wants a list, not a FILE%*$", "nor a file")

t.done()
