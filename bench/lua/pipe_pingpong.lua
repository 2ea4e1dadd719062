-- A small integer through a pipe and back: microseconds a round trip.

local n = tonumber(arg[1])
local mine, theirs = ipc.Pipe()

local function answer()
    for _ = 0, n do
        theirs:send(theirs:recv())
    end
end

local function round_trip(i)
    mine:send(i)
    assert(mine:recv() == i)
end

local p = process.spawn(answer)
round_trip(0) -- the child is there
local from = process.monotonic()
for i = 1, n do
    round_trip(i)
end
print((process.monotonic() - from) / n * 1e6)
p:join()
