-- Two events between two processes: microseconds a round trip.

local n = tonumber(arg[1])
local ping, pong = sync.Event(), sync.Event()

local function answer()
    for _ = 0, n do
        ping:wait()
        ping:clear()
        pong:set()
    end
end

local function round_trip()
    ping:set()
    pong:wait()
    pong:clear()
end

local p = process.spawn(answer)
round_trip() -- the child is there
local from = process.monotonic()
for _ = 1, n do
    round_trip()
end
print((process.monotonic() - from) / n * 1e6)
p:join()
