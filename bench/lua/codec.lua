-- A list of 1,000 small tables, encoded and decoded as a queue does it, by luamp's own pair of
-- functions for looking into it: microseconds. The second argument may name one of the two:
-- `encode` or `decode`.

local codec = require "luamp.codec"
local n, what = tonumber(arg[1]), arg[2]
local list = {}
for i = 1, 1000 do
    list[i] = {id = i, name = "item", price = i / 2, done = false}
end
local message, copy = codec.encode(list), nil

local from = process.monotonic()
for _ = 1, n do
    if what ~= "decode" then
        message = codec.encode(list)
    end
    if what ~= "encode" then
        copy = codec.decode(message, true)
    end
end
print((process.monotonic() - from) / n * 1e6)
copy = copy or codec.decode(message, true)
assert(#copy == 1000 and copy[1000].price == 500)
