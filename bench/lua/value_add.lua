-- A shared number, added to atomically: nanoseconds.

local n = tonumber(arg[1])
local value = ipc.Value("q", 0)

local from = process.monotonic()
for _ = 1, n do
    value:add(1)
end
print((process.monotonic() - from) / n * 1e9)
assert(value.value == n)
