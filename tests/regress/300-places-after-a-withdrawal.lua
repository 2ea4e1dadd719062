-- A party that a signal's handler took out of a barrier left its number to be given twice: the one
-- that came after it had 2, and so had the next.

local t = require "tap"

local gate, done = sync.Barrier(3), ipc.Queue()

local function wait_until(n)
    while gate.n_waiting ~= n do process.sleep(0.001) end
end

local first = process.spawn(function()
    signal.signal(signal.SIGUSR1, function() error("out", 0) end)
    done:put(select(2, pcall(gate.wait, gate)))
end)
wait_until(1)
process.spawn(function() done:put(gate:wait()) end)
wait_until(2)
first:send_signal(signal.SIGUSR1)
t.is(done:get(), "out", "the first of three is taken out by its handler")
wait_until(1)
process.spawn(function() done:put(gate:wait()) end)
wait_until(2)
local places = {gate:wait(), done:get(), done:get()}
table.sort(places)
t.is(places, {1, 2, 3}, "each place is given once")
t.done()
