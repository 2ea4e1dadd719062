-- A thread that does nothing, started and joined: microseconds.

local n = tonumber(arg[1])

local function nothing()
end

local from = process.monotonic()
for _ = 1, n do
    local t = thread.Thread {target = nothing}
    t:start()
    t:join()
end
print((process.monotonic() - from) / n * 1e6)
