-- Small tables through a queue, from one process to another: messages a second.

local n = tonumber(arg[1])
local queue = ipc.Queue()

local function produce()
    for i = 0, n do
        queue:put({id = i, name = "job", done = false})
    end
end

local p = process.spawn(produce)
queue:get() -- the child is there
local from = process.monotonic()
for _ = 1, n do
    queue:get()
end
print(n / (process.monotonic() - from))
p:join()
