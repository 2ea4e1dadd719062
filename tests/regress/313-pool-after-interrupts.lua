-- A handler of a signal that raised between two steps of a pool's bookkeeping left half of it: the two lists of
-- its jobs no longer went together, a callback was called that was not there, a task was not counted. And the
-- search for a result that nobody waits for left a value on the stack for each map on its way.

local t = require "tap"

local seed = math.tointeger(tonumber(os.getenv "SEED" or "") or os.time())
t.diag("seed " .. seed)
math.randomseed(seed)

local p = pool.Pool(2)
local raised, is_armed = 0, false
signal.signal(signal.SIGALRM, function()
    if not is_armed then return end
    is_armed = false
    error({})
end)

local function same(x) return x end

local list = {}
for i = 1, 200 do list[i] = i end

local uses = {
    function(i) p:map(same, list, 1 + i % 7) end,
    function() p:apply(same, {1}) end,
    function() for _ in p:imap(same, list, 3) do end end,
    function()
        local n = 0
        p:map(same, function() n = n + 1 if n < 50 then return n end end, 2)
    end,
    function()
        p:apply_async(same, {1}, nil, function() end)
        p:map_async(same, list, 7, function() end)
    end,
}

-- Until a handler raises.
local function use()
    is_armed = true
    signal.setitimer(math.random() * 0.003 + 1e-6)
    local f, i = uses[math.random(#uses)], 0
    repeat
        i = i + 1
        f(i)
    until not is_armed -- a callback's error has been told, and does not come here
end

local right, checks = 0, 0
local deadline = process.monotonic() + 3
for n = 1, math.huge do
    if not pcall(use) then raised = raised + 1 end
    if n % 50 == 0 then
        checks = checks + 1
        if t.same(p:map(same, list, 3), list) then right = right + 1 end
        if process.monotonic() > deadline then break end
    end
end
t.diag(raised .. " times raised")
t.is(right, checks, "what it does then is right")
p:close()
t.ok(p:join(60), "and it ends")
t.done()
