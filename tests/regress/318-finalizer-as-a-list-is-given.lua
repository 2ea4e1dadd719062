-- A finalizer that used the pool while it was given a list could settle another list, which then left the pool's:
-- the pool looked for the first one where it had been before, and raised an error of its own.

local t = require "tap"

local p <close> = pool.Pool(1)
local gate = sync.Event()
collectgarbage("incremental", 50, 400)

local function wait(x) gate:wait() return x end
local function same(x) return gate and x end -- with an object, of which each chunk has a copy

local list, settled, right = {}, 0, 0
for i = 1, 300 do list[i] = {i} end

for _ = 1, 20 do
    gate:clear()
    local other = p:map_async(wait, {1})
    setmetatable({}, {__gc = function()
        gate:set()
        settled = settled + #other:get(60)
    end})
    local ok, got = pcall(function() return p:map(same, list, 1) end)
    gate:set()
    if ok and #got == #list then right = right + 1 else t.diag(tostring(got)) end
end
t.is(right, 20, "the list comes to what it would")
t.ok(settled > 0, settled .. " times another was waited for meanwhile")
t.done()
