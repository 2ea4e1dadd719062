-- Strings of a size, the second argument, through a queue, from one process to another: messages
-- a second.

local n = tonumber(arg[1])
local text = ("x"):rep(tonumber(arg[2]))
local queue = ipc.Queue()

local function produce()
    for _ = 0, n do
        queue:put(text)
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
