-- A condition by which two processes take turns: microseconds a round trip.

local n = tonumber(arg[1])
local condition, turn = sync.Condition(), ipc.Value("i", 0)

local function take_turn(mine, others)
    condition:acquire()
    while turn.value ~= mine do
        condition:wait()
    end
    turn.value = others
    condition:notify()
    condition:release()
end

local p = process.spawn(function()
    for _ = -1, n do
        take_turn(1, 0)
    end
end)
take_turn(0, 1)
take_turn(0, 1) -- the child is there
local from = process.monotonic()
for _ = 1, n do
    take_turn(0, 1)
end
print((process.monotonic() - from) / n * 1e6)
p:join()
