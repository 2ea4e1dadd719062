-- A semaphore, taken and released while it has permits: nanoseconds a pair.

local n = tonumber(arg[1])
local semaphore = sync.Semaphore(1)

local from = process.monotonic()
for _ = 1, n do
    semaphore:acquire()
    semaphore:release()
end
print((process.monotonic() - from) / n * 1e9)
