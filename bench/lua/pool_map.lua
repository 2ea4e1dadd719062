-- The squares of a list by a pool of two workers; the second argument is the chunk size, without
-- one the pool chooses it: items a second.

local n = tonumber(arg[1])
local chunk = tonumber(arg[2])
local list = {}
for i = 1, n do
    list[i] = i
end

local function square(x)
    return x * x
end

local p = pool.Pool(2)
p:map(square, {1, 2, 3, 4}, 1) -- the workers are there
local from = process.monotonic()
local squares = p:map(square, list, chunk)
print(n / (process.monotonic() - from))
assert(#squares == n and squares[n] == n * n)
p:close()
p:join()
