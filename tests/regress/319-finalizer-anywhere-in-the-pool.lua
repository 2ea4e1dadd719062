-- A finalizer that used the pool in the middle of the pool's own work. When it gave a task while a list was made
-- ready, two tasks had one number. When it ended a job while the error of another was noted, that error was lost, or
-- the pool raised one of its own and the result never came. A pool that it ended while a task was given to it hired
-- a worker for that task.

local t = require "tap"
local moments = require "moments"

local gate = sync.Event()
local function wait(x) gate:wait() return x end
local function odd(x) if x % 2 == 1 then error("odd", 0) end return x end

local p <close> = pool.Pool(2)

local given
moments.each("a task given while a list is made ready", function(watched)
    gate:clear()
    given = nil
    local ok, it = watched(p.imap, p, odd, {1, 2, 3})
    if not ok then return false, it end
    local got = {}
    for i = 1, 3 do got[i] = select(2, pcall(it)) end
    gate:set()
    local value = given and given:get(60)
    return t.same(got, {"odd", 2, "odd"}) and (not given or value == "given"), "one has what is another's"
end, function() given = p:apply_async(wait, {"given"}) end)

for _, way in ipairs {"map_async", "imap", "imap_unordered"} do
    local other
    moments.each("another list ends while the error of one that is taken by " .. way .. " is noted",
        function(watched)
            gate:clear()
            other = p:imap(wait, {1})
            local list = p[way](p, odd, {1}, 1)
            local ok, e = watched(way == "map_async" and list.get or list, list)
            gate:set()
            other()
            return not ok and e == "odd", tostring(e)
        end, function() gate:set() other() end)
end

local q
moments.each("a pool ended while a task is given to it", function(watched)
    q = pool.Pool {processes = 1, retries = 1}
    local ok, r = watched(q.apply_async, q, odd, {2})
    local is_over, e
    if ok then
        is_over, e = pcall(r.get, r, 60)
    else
        is_over, e = ok, r
    end
    local state = tostring(q):match "%((%d+ workers)" .. ", " .. tostring(q):match "(%w+)%)$"
    q:terminate()
    local is_done = is_over and e == 2 -- also before it was ended, where that was after it was given
    local is_refused = not is_over and e == "pool terminated"
    return state == "1 workers, running" and is_done or state == "0 workers, ended" and (is_done or is_refused),
        ("%s, %s"):format(e, state)
end, function() q:terminate() end)

t.done()
