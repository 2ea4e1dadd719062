-- A shared table with 1,000 entries. The second argument is what is measured: `get` or `set` of one
-- entry after the other. Nanoseconds for each.

local n, what = tonumber(arg[1]), arg[2]
local SIZE = 1000
local dict, keys = ipc.Dict(), {}
for i = 1, SIZE do
    keys[i] = "key" .. i
    dict[keys[i]] = i
end
local x

local from = process.monotonic()
if what == "get" then
    for i = 0, n - 1 do
        x = dict[keys[i % SIZE + 1]]
    end
else
    for i = 0, n - 1 do
        dict[keys[i % SIZE + 1]] = i
    end
    x = dict[keys[(n - 1) % SIZE + 1]] + 1
end
print((process.monotonic() - from) / n * 1e9)
assert(x == (what == "get" and (n - 1) % SIZE + 1 or n))
