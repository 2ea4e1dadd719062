-- The floor of codec.lua: the same list, copied by a module in C, with no bytes in between:
-- microseconds.

package.cpath = os.getenv("BENCH_FLOORS") .. "/?.so"
local in_lua = require "in_lua"
local n = tonumber(arg[1])
local list = {}
for i = 1, 1000 do
    list[i] = {id = i, name = "item", price = i / 2, done = false}
end

local copy
local from = process.monotonic()
for _ = 1, n do
    copy = in_lua.copy(list)
end
print((process.monotonic() - from) / n * 1e6)
assert(#copy == 1000 and copy[1000].price == 500)
