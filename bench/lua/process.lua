-- A process that does nothing, started and joined: microseconds.

local n = tonumber(arg[1])

local function nothing()
end

local from = process.monotonic()
for _ = 1, n do
    local p = process.Process {target = nothing}
    p:start()
    p:join()
end
print((process.monotonic() - from) / n * 1e6)
