-- A finalizer that waited for the pool while a worker was made to take a dead one's place: the pool saw none there
-- and hired one for it, and then the first was started, too, and had the same lease.

local t = require "tap"
local moments = require "moments"

local p = pool.Pool {processes = 1, name = "P"}
local second
moments.each("a pool waited for while a dead worker is replaced", function(watched)
    local r = p:apply_async(function() signal.kill(process.getpid(), signal.SIGKILL) end)
    second = p:apply_async(function() return 2 end)
    local ok, e = watched(r.get, r)
    local n = 0
    for _, child in ipairs(process.active_children()) do
        if child.name:find "^P%-" and second:get() == 2 then n = n + 1 end
    end
    return not ok and e:find "worker lost" and n == 1, ("%s, and %d workers"):format(e, n)
end, function() second:get() end)
p:terminate()
t.done()
