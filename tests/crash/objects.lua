-- Objects of every class are made, sent and dropped, by processes that are killed with objects in hand:
-- afterwards the arena is what it was.
--
--     OBJECTS=1000000 luamp tests/crash/objects.lua

local t = require "tap"
local members = require "luamp.members"

local OBJECTS = math.tointeger(tonumber(os.getenv "OBJECTS" or 20000))
local SEED = math.tointeger(tonumber(os.getenv "SEED" or "") or os.time())
local LONG = 60
local AT_ONCE = 40 -- objects in a message

local shared = ipc.Queue {maxsize = 8, name = "parcels"}
local kept = ipc.Dict {}
local made, stop = ipc.Value("q"), ipc.Value("i")

local makers = {
    function() return sync.Lock() end,
    function() local l = sync.RLock() l:acquire() return l end, -- never released
    function() return sync.Semaphore(2) end,
    function() local s = sync.BoundedSemaphore(2) s:acquire() return s end,
    function() return sync.Event() end,
    function() return sync.Condition() end,
    function() return sync.Barrier(2) end,
    function() local q = ipc.Queue() q:put {sync.Lock(), ("x"):rep(math.random(9000))} return q end,
    function() return ipc.JoinableQueue(3) end,
    function() local r, w = ipc.Pipe(false) w:send(sync.Event()) return r end,
    function() return ipc.Value("q", 1) end,
    function() return ipc.Array("d", math.random(3000)) end,
    function() return ipc.Dict {a = ipc.Queue(), b = ("y"):rep(300)} end,
    function() return ipc.List {sync.Lock(), 2} end,
}

local function work()
    while stop.value == 0 do
        local parcel = {}
        for i = 1, AT_ONCE do parcel[i] = makers[math.random(#makers)]() end
        if math.random(4) == 1 then
            kept[math.random(10)] = parcel
        else
            shared:put(parcel, 0.01)
        end
        made:add(AT_ONCE)
        shared:get(0.01)
        parcel = nil
        collectgarbage "step"
    end
end

local function weigh()
    collectgarbage()
    collectgarbage()
    local bytes, objects = members.memory()
    return {bytes, objects}
end

t.diag("seed " .. SEED)
math.randomseed(SEED)
kept.x = {sync.Lock()} -- what a dict and a queue keep when they are empty again, they have from the start
kept.x = nil

local before = weigh()
local workers, kills = {}, 0
local function set_out(i)
    workers[i] = process.Process {daemon = true, target = work}
    assert(workers[i]:start())
end
for i = 1, 4 do set_out(i) end

local last, since = 0, process.monotonic()
while made.value < OBJECTS do
    process.sleep(math.random() * 0.02)
    local i = math.random(#workers)
    workers[i]:kill()
    workers[i]:join()
    workers[i]:close()
    kills = kills + 1
    set_out(i)
    if made.value ~= last then
        last, since = made.value, process.monotonic()
    elseif process.monotonic() - since > LONG then
        t.ok(false, "nobody makes objects any more")
        for _, m in ipairs(members.list()) do
            t.diag(("%s (pid %d) waits for %s"):format(m.name, m.pid, m.waits_for))
        end
        break
    end
end
stop.value = 1
for i, p in ipairs(workers) do
    t.is({p:join(LONG)}, {true}, "worker " .. i .. " ends")
    t.is(p.exitcode, 0, "well")
end
while shared:get(false) do end
for i = 1, 10 do kept[i] = nil end

local after = weigh()
t.diag(("seed %d: %d objects made, %d of their holders killed; %d bytes and %d objects before, %d and %d " ..
    "after"):format(SEED, made.value, kills, before[1], before[2], after[1], after[2]))
t.ok(kills > 0, "holders were killed")
t.is(after[2], before[2], "no object is left")
-- A queue keeps a segment or two, and a dict its table, at the size that they have grown to.
t.ok(after[1] - before[1] <= 2 << 20, "nor memory")
shared, kept = nil, nil
t.ok(weigh()[1] <= before[1], "and with the queue and the dict their memory goes, too")
t.done()
