-- A process that was killed between its fork and the taking of its slot counted as alive for ever,
-- for all but its parent; and a pool's worker also for the pool, which then waited for it.

local t = require "tap"

local joined = 0
for _ = 1, 100 do
    local p = process.Process {target = function() process.sleep(600) end}
    p:start()
    p:kill()
    local other = process.spawn(function() p:join() end)
    if other:join(30) then joined = joined + 1 end
    other:kill()
    other:join()
    p:join()
end
t.is(joined, 100, "another process can join it")

local done = 0
for _ = 1, 50 do
    local p <close> = pool.Pool(1)
    process.active_children()[1]:kill()
    local r = p:apply_async(function() return 1 end)
    local ok, value = pcall(r.get, r, 30)
    if ok and value == 1 then done = done + 1 end
end
t.is(done, 50, "a pool replaces such a worker")

t.done()
