-- A finalizer that used the pool in the middle of the pool's own work. When it gave a task while a list was made
-- ready, two tasks had one number. When it ended a job while the error of another was noted, that error was lost, or
-- the pool raised one of its own and the result never came. A pool that it ended while a task was given to it hired
-- a worker for that task; and a worker that had died was replaced twice, when it waited for the pool meanwhile.

local t = require "tap"

local is_late
signal.signal(signal.SIGALRM, function()
    is_late = true
    signal.alarm(1) -- whatever else waits for ever
    error("it takes too long", 0)
end)

-- Runs f() again and again, each time with action() in a finalizer at a later moment, until there is none left. Is
-- what f() gives always true?
local function at_each_moment(name, f, action)
    local moment, why = 0, nil
    repeat
        moment = moment + 1
        local left, is_done = moment, false
        local function arm()
            setmetatable({}, {__gc = function()
                left = left - 1
                if left == 0 then
                    is_done = true
                    action()
                elseif left > 0 then
                    arm()
                end
            end})
        end
        local function watched(g, ...)
            collectgarbage("incremental", 10, 1000, 1)
            collectgarbage()
            arm()
            local got = table.pack(pcall(g, ...))
            left = 0
            collectgarbage("incremental", 200, 100, 13)
            return table.unpack(got, 1, got.n)
        end
        is_late = false
        signal.alarm(30)
        local ok, right, text = pcall(f, watched)
        signal.alarm(0)
        if not ok or not right or is_late then
            why = ("at moment %d: %s"):format(moment, is_late and "late" or ok and text or right)
        end
    until not is_done or why
    if why then t.diag(why) end
    t.ok(not why and moment > 1, ("%s: at %d moments"):format(name, moment - 1))
end

local gate = sync.Event()
local function wait(x) gate:wait() return x end
local function odd(x) if x % 2 == 1 then error("odd", 0) end return x end

local p <close> = pool.Pool(2)

local given
at_each_moment("a task given while a list is made ready", function(watched)
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
    at_each_moment("another list ends while the error of one that is taken by " .. way .. " is noted",
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
at_each_moment("a pool ended while a task is given to it", function(watched)
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

q = pool.Pool(1)
local second
at_each_moment("a pool waited for while a dead worker is replaced", function(watched)
    local r = q:apply_async(function() signal.kill(process.getpid(), signal.SIGKILL) end)
    second = q:apply_async(odd, {2})
    local ok, e = watched(r.get, r)
    local n = 0
    for _, child in ipairs(process.active_children()) do
        if child.name:find "^Pool%d+Worker" and second:get() == 2 then n = n + 1 end
    end
    return not ok and e:find "worker lost" and n == 1, ("%s, and %d workers"):format(e, n)
end, function()
    if not debug.traceback():find "'hire'" then second:get() end
end)
q:terminate()

t.done()
