-- A worker decoded the function of a chunk first, and then let go of all objects in the message that it had
-- not made yet: those of the items. One that it kept could end, and be another's.

local t = require "tap"

local p <close> = pool.Pool(1)
local upvalue = 1 -- so that the function is decoded for each chunk

for _, size in ipairs {1, 2} do
    local function give()
        local q = ipc.Queue()
        p:map(function(item) kept = item.q return upvalue end, {{q = q}, {q = q}}, size)
    end
    give()
    for _ = 1, 3 do collectgarbage() end
    local others = {}
    for i = 1, 50 do others[i] = ipc.Queue() end
    t.is(p:apply(function() kept:put(7) return kept:qsize() end), 1, "the worker's queue is its own")
    local used = 0
    for _, other in ipairs(others) do used = used + other:qsize() end
    t.is(used, 0, "and no other's")
end

t.done()
