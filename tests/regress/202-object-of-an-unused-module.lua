-- An object whose module the receiver had not used yet could not be received.

local t = require "tap"

local a, b = ipc.Pipe()
local p = process.spawn(function() -- nobody has said sync here
    a:close()
    local lock = b:recv()
    b:send(tostring(lock))
end)
b:close()
a:send(sync.Lock{name = "late"})
t.is(a:recv(), 'Lock "late" (free)', "it arrives")
p:join()
t.done()
