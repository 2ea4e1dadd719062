-- A worker of a pool with a timeout, which made such a pool itself: its workers thought that they had the timer that
-- it had, but a fork inherits none, and their tasks were never ended.

local t = require "tap"

local outer <close> = pool.Pool {processes = 1, timeout = 60}
local ok, e = outer:apply(function()
    local inner = pool.Pool {processes = 1, timeout = 0.1}
    local r = inner:apply_async(function() while true do end end)
    local got = table.pack(pcall(r.get, r, 30))
    inner:terminate()
    return table.unpack(got, 1, got.n)
end)
t.ok(not ok and tostring(e):find "task timeout", tostring(e))
t.done()
