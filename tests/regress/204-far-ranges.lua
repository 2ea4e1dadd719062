-- Ranges far outside of what there is overflowed in send_bytes and SharedMemory's read.

local t = require "tap"

local r, w = ipc.Pipe(false)
w:send_bytes("abc", math.maxinteger)
t.is(r:recv_bytes(), "", "from the last integer on")
w:send_bytes("abc", math.mininteger, math.maxinteger)
t.is(r:recv_bytes(), "abc", "from the first to the last")
local m <close> = ipc.SharedMemory{create = true, size = 3}
m:unlink()
t.raises(function() m:read(math.mininteger) end, "has the bytes from 1 to 3", "read from the first")
t.raises(function() m:read(math.maxinteger) end, "has the bytes from 1 to 3", "read from the last")
t.done()
