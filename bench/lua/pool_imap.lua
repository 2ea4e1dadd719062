-- The squares of a list by a pool of two workers, one item a task, given back in order as they come:
-- items a second.

local n = tonumber(arg[1])
local list = {}
for i = 1, n do
    list[i] = i
end

local function square(x)
    return x * x
end

local p = pool.Pool(2)
p:map(square, {1, 2, 3, 4}, 1) -- the workers are there
local last
local from = process.monotonic()
for _, y in p:imap(square, list) do
    last = y
end
print(n / (process.monotonic() - from))
assert(last == n * n)
p:close()
p:join()
