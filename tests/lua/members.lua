-- luamp.members tells who waits for what, and what the arena holds.

local t = require "tap"
local members = require "luamp.members"

local LONG = 60

-- What is told of the process, once it waits.
local function waiting(p)
    local deadline = process.monotonic() + LONG
    repeat
        for _, m in ipairs(members.list()) do
            if m.pid == p.pid and m.waits_for then return m end
        end
        process.sleep(0.002)
    until process.monotonic() > deadline
    error("it never waited")
end

t.test("each member is listed by name and pid, and for what it waits", function()
    local ledger, jobs = sync.Lock {name = "ledger"}, ipc.Queue {name = "jobs"}
    ledger:acquire()
    local clerk = process.Process {name = "clerk", target = function() ledger:acquire() end}
    clerk:start()
    local worker = process.Process {name = "worker", target = function() jobs:get() end}
    worker:start()
    local m = waiting(clerk)
    t.is({m.name, m.waits_for, m.held_by}, {"clerk", 'Lock "ledger"', "MainProcess"}, "a lock, and its holder")
    t.ok(m.seconds >= 0 and m.seconds < LONG, "since when")
    m = waiting(worker)
    t.is({m.name, m.waits_for, m.held_by}, {"worker", 'Queue "jobs"', nil}, "a queue")
    local boss = process.Process {name = "boss", target = function() worker:join() end}
    boss:start()
    t.is(waiting(boss).waits_for, "the end of worker", "a process")
    t.is(#members.list(), 4, "all that live")
    ledger:release()
    jobs:put(1)
    for _, p in ipairs {clerk, worker, boss} do t.is({p:join(LONG)}, {true}, p.name .. " ends") end
    t.is(#members.list(), 1, "who has ended is not listed")
end)

t.test("memory counts bytes and objects, and how many members were buried", function()
    collectgarbage()
    collectgarbage()
    local bytes, objects, deaths = members.memory()
    local a = ipc.Array("q", 100000)
    local more, one_more = members.memory()
    t.ok(more - bytes >= 800000, "an array of 800000 bytes")
    t.is(one_more, objects + 1, "one object")
    a = nil
    collectgarbage()
    collectgarbage()
    t.is({members.memory()}, {bytes, objects, deaths}, "it is dropped")
    process.spawn(function() end):join()
    t.is(select(3, members.memory()), deaths + 1, "a process that has ended")
end)

t.test("objects are listed with who has them", function()
    collectgarbage()
    collectgarbage()
    local before = #members.objects()
    local parcel, gate = ipc.Queue {name = "parcel"}, sync.Event {name = "gate"}
    do
        local inside = ipc.Dict()
        parcel:put(inside)
    end
    collectgarbage()
    collectgarbage()
    local guard = process.Process {name = "guard", target = function() gate:wait() end}
    guard:start()
    local found = {}
    for _, object in ipairs(members.objects()) do
        found[object.name] = ("%s: %s"):format(object.class, table.concat(object.held_by, ", "))
    end
    t.is(found.gate, "Event: MainProcess, guard", "one that two have")
    t.is(found.inside, "Dict: ", "one that is in a message")
    gate:set()
    guard:join()
    t.is(#members.objects(), before + 3, "all are listed")
end)

t.done()
