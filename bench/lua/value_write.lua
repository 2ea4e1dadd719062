-- A shared number, written: nanoseconds.

local n = tonumber(arg[1])
local value = ipc.Value("q", 0)

local from = process.monotonic()
for i = 1, n do
    value.value = i
end
print((process.monotonic() - from) / n * 1e9)
assert(value.value == n)
