-- An option of the wrong type was told by its number among arguments that nobody had given.

local t = require "tap"

for _, case in ipairs {
    {"ipc.Queue", ipc.Queue, "maxsize", "three", "an integer expected, got string"},
    {"ipc.Queue", ipc.Queue, "maxsize", 1.5, "an integer expected, got number"},
    {"ipc.Pipe", ipc.Pipe, "duplex", 1, "a boolean expected, got number"},
    {"ipc.Value", ipc.Value, "typecode", {}, "a string expected, got table"},
    {"ipc.SharedMemory", ipc.SharedMemory, "size", "x", "an integer expected, got string"},
    {"sync.Semaphore", sync.Semaphore, "n", {}, "an integer expected, got table"},
    {"sync.Barrier", sync.Barrier, "parties", "2", "an integer expected, got string"},
    {"sync.Barrier", sync.Barrier, "action", 2, "a function expected, got number"},
    {"sync.Barrier", sync.Barrier, "timeout", true, "a number expected, got boolean"},
    {"pool.Pool", pool.Pool, "processes", "2", "an integer expected, got string"},
} do
    local class, make, option, value, expected = table.unpack(case)
    t.raises(function() make {[option] = value} end,
        "306[^:]*:%d+: option '" .. option .. "' of " .. class .. ": " .. expected, class .. "'s " .. option)
end
t.ok(ipc.Queue {maxsize = 2.0}:put(1), "a whole float is an integer")
t.is(sync.Barrier {2, timeout = 0}.parties, 2, "what stands in the table by its place is an option, too")

-- And a daemon that called process.spawn was told a line of luamp's own.
local q = ipc.Queue()
process.Process {daemon = true, target = function()
    q:put(select(2, pcall(function() process.spawn(print) end)))
end}:start()
t.ok(q:get():find "306[^:]*:%d+: a daemon may not start processes", "spawn tells the line of its caller")
t.done()
