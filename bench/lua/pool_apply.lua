-- One task after the other to a pool of two workers, each waited for: microseconds a task.

local n = tonumber(arg[1])

local function square(x)
    return x * x
end

local p = pool.Pool(2)
p:map(square, {1, 2, 3, 4}, 1) -- the workers are there
local from = process.monotonic()
for i = 1, n do
    assert(p:apply(square, {i}) == i * i)
end
print((process.monotonic() - from) / n * 1e6)
p:close()
p:join()
