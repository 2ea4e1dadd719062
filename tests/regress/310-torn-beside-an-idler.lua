-- A process was killed in the middle of a message. Another that shared the connection, and waited for
-- something else, did not tell the other side, which waited for the rest.

local t = require "tap"

local LONG = 60

local l = ipc.Listener("@luamp-310-" .. process.getpid())
local coming, go, told, bye = ipc.Queue(), ipc.Queue(), ipc.Queue(), ipc.Queue()
local reader = process.spawn(function()
    local c = ipc.Client(l.address)
    coming:put(c:poll(LONG))
    go:get()
    local _, why = c:recv()
    told:put(why or "a message")
end)
local c = l:accept(LONG)
local idler = process.spawn(function() bye:get() end)
local writer = process.spawn(function() c:send(("x"):rep(32 << 20)) end)
c:close()
t.is(coming:get(LONG), true, "a part has come, and for the rest there is no room")
writer:kill()
writer:join()
go:put(true)
t.is(told:get(LONG), "closed", "the other side is told")
bye:put(true)
idler:join(LONG)
reader:kill()
reader:join()

t.done()
