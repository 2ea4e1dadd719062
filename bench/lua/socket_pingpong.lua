-- A small integer over a socket of this machine and back: microseconds a round trip. With `busy` behind the
-- count, beside a process that computes.

local n = tonumber(arg[1])
local listener = assert(ipc.Listener("@luamp-bench-" .. process.getpid()))

local busy = process.Process {
    target = function() while true do end end,
    daemon = true,
}
if arg[2] == "busy" then
    assert(busy:start())
end

local function answer()
    local theirs = assert(ipc.Client(listener.address))
    for _ = 0, n do
        theirs:send(theirs:recv())
    end
end

local p = process.spawn(answer)
local mine = assert(listener:accept())

local function round_trip(i)
    mine:send(i)
    assert(mine:recv() == i)
end

round_trip(0) -- the child is there
local from = process.monotonic()
for i = 1, n do
    round_trip(i)
end
print((process.monotonic() - from) / n * 1e6)
p:join()
