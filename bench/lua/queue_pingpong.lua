-- A small integer through one queue and back through another: microseconds a round trip.

local n = tonumber(arg[1])
local there, back = ipc.Queue(), ipc.Queue()

local function answer()
    for _ = 0, n do
        back:put(there:get())
    end
end

local function round_trip(i)
    there:put(i)
    assert(back:get() == i)
end

local p = process.spawn(answer)
round_trip(0) -- the child is there
local from = process.monotonic()
for i = 1, n do
    round_trip(i)
end
print((process.monotonic() - from) / n * 1e6)
p:join()
