-- A shared number, read: nanoseconds.

local n = tonumber(arg[1])
local value = ipc.Value("q", 7)
local x

local from = process.monotonic()
for _ = 1, n do
    x = value.value
end
print((process.monotonic() - from) / n * 1e9)
assert(x == 7)
