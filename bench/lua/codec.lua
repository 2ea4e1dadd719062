-- A list of 1,000 small tables, encoded and decoded as a queue does it, by luamp's own pair of
-- functions for looking into it: microseconds.

local codec = require "luamp.codec"
local n = tonumber(arg[1])
local list = {}
for i = 1, 1000 do
    list[i] = {id = i, name = "item", price = i / 2, done = false}
end

local copy
local from = process.monotonic()
for _ = 1, n do
    copy = codec.decode(codec.encode(list), true)
end
print((process.monotonic() - from) / n * 1e6)
assert(#copy == 1000 and copy[1000].price == 500)
