-- A task whose worker died, and whose arguments had become what cannot be sent, had no result ever.

local t = require "tap"

local p <close> = pool.Pool {processes = 1, retries = 1}
local begun = sync.Event()

local function die() begun:set() process.sleep(0.1) signal.kill(process.getpid(), signal.SIGKILL) end

local co = coroutine.create(print)

local list = {{1}, {2}, {3}}
local r = p:map_async(function(x) if x[1] == 3 then die() end end, list, 1)
begun:wait()
list[3][1] = co
for _ = 1, 2 do
    t.raises(function() r:get(30) end, "cannot send list%[3%]%[1%]: a coroutine", "an item of a list")
end

begun:clear()
local args = {{1}}
r = p:apply_async(die, args)
begun:wait()
args[1][1] = co
for _ = 1, 2 do
    t.raises(function() r:get(30) end, "cannot send args%[1%]%[1%]: a coroutine", "an argument")
end
t.is(p:apply(math.abs, {-1}), 1, "the pool goes on")

t.done()
