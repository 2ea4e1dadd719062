-- A pool of four workers, started, closed and joined: microseconds.

local n = tonumber(arg[1])

local from = process.monotonic()
for _ = 1, n do
    local p = pool.Pool(4)
    p:close()
    p:join()
end
print((process.monotonic() - from) / n * 1e6)
