-- A process that a pool's worker started could not start processes itself: it counted as a daemon.

local t = require "tap"

local p <close> = pool.Pool(1)
t.is(p:apply(function()
    local v = ipc.Value("i", 0)
    local child = process.spawn(function()
        process.spawn(function() v.value = 1 end):join()
    end)
    child:join()
    return {v.value, child.daemon}
end), {1, false}, "it can, and is none")

t.done()
