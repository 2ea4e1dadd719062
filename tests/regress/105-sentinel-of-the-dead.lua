-- The sentinel of a process that had been joined was opened by its pid, which may be another's by
-- then.

local t = require "tap"

local p = process.spawn(function() end)
p:join()
t.is(ipc.wait({p.sentinel}, 0), {p.sentinel}, "it is readable")
t.is(p.sentinel, p.sentinel, "and stays the same")
p:close()
t.is(p.sentinel, nil, "until it is closed")

t.done()
