-- Small integers through one queue, from several processes to as many, the second argument:
-- messages a second.

local n, pairs_of = tonumber(arg[1]), tonumber(arg[2])
local each = n // pairs_of
local queue = ipc.Queue()
local start = sync.Barrier(2 * pairs_of + 1)

local function produce()
    start:wait()
    for i = 1, each do
        queue:put(i)
    end
end

local function consume()
    start:wait()
    for _ = 1, each do
        queue:get()
    end
end

local processes = {}
for _ = 1, pairs_of do
    table.insert(processes, process.spawn(produce))
    table.insert(processes, process.spawn(consume))
end
start:wait()
local from = process.monotonic()
for _, p in ipairs(processes) do
    p:join()
end
print(each * pairs_of / (process.monotonic() - from))
assert(queue:empty())
