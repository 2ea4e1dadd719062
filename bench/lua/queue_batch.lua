-- Small integers through a queue, from one process to another, a hundred a call: integers a second.

local n = tonumber(arg[1])
local BATCH = 100
local batches = n // BATCH
local queue = ipc.Queue()

local function produce()
    local batch = {}
    for i = 1, BATCH do
        batch[i] = i
    end
    queue:put(0)
    for _ = 1, batches do
        queue:put_many(batch)
    end
end

local p = process.spawn(produce)
queue:get() -- the child is there
local from = process.monotonic()
local left = batches * BATCH
while left > 0 do
    left = left - #queue:get_many(BATCH)
end
print(batches * BATCH / (process.monotonic() - from))
p:join()
