-- A function that computes for 1 ms, mapped over a list by a pool of two workers: the share that
-- the perfect time is of the time that it took.

local n = tonumber(arg[1])
local TASK, WORKERS = 0.001, 2
local list = {}
for i = 1, n do
    list[i] = i
end

local function compute(x)
    local till = process.monotonic() + TASK
    while process.monotonic() < till do
    end
    return x
end

local p = pool.Pool(WORKERS)
p:map(compute, {1, 2, 3, 4}, 1) -- the workers are there
local from = process.monotonic()
p:map(compute, list)
print(n * TASK / WORKERS / (process.monotonic() - from))
p:close()
p:join()
