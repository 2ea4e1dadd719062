-- Making and starting processes: names, arguments, classes, and what a wrong call is told.

local t = require "tap"

local Process = process.Process

-- What a child that runs f sends back, as one list.
local function from_child(f, ...)
    local q = ipc.Queue()
    local p = process.spawn(function(...)
        q:put(table.pack(f(...)))
    end, ...)
    local got = q:get(30)
    p:join()
    return got
end

-- this first: the numbers begin with 1
t.test("processes are named in the order in which they are made", function()
    local a, b = Process {}, Process {}
    t.is(a.name, "Process-1", "the first")
    t.is(b.name, "Process-2", "the second")
    t.is(process.current_process().name, "MainProcess", "the main one")
    t.is(Process {name = "mine"}.name, "mine", "a name of one's own")
    t.is(Process {}.name, "Process-4", "which does not take the number from the next")
end)

t.test("a child's child is named after both", function()
    local q = ipc.Queue()
    local p = process.spawn(function()
        local inner = process.spawn(function()
            local innermost = process.spawn(function()
                q:put(process.current_process().name)
            end)
            innermost:join()
            q:put(process.current_process().name)
        end)
        inner:join()
        q:put(inner.name)
    end)
    p:join()
    t.is(q:get(30), p.name .. ":1:1", "the child of the child's child")
    t.is(q:get(30), p.name .. ":1", "the child's child, by itself")
    t.is(q:get(30), p.name .. ":1", "and by its parent")
end)

t.test("args is a list of the target's arguments", function()
    local function all(...) return select("#", ...), ... end
    t.is(from_child(all), {0, n = 1}, "none")
    t.is(from_child(all, 1, "two", {3}), {3, 1, "two", {3}, n = 4}, "three")
    t.is(from_child(all, nil, 2, nil), {3, nil, 2, nil, n = 4}, "spawn passes nils")
    local q = ipc.Queue()
    local p = Process {
        target = function(...) q:put {select("#", ...), ...} end,
        args = {n = 3, nil, "x"},
    }
    p:start()
    t.is(q:get(30), {3, nil, "x", nil}, "a field n is honoured")
    p:join()
end)

t.test("kwargs is passed as one table after the args", function()
    local q = ipc.Queue()
    local function target(...) q:put {select("#", ...), ...} end
    for _, case in ipairs {
        {args = {1, 2}, kwargs = {key = "v"}, expected = {3, 1, 2, {key = "v"}}},
        {kwargs = {key = "v"}, expected = {1, {key = "v"}}},
        {args = {n = 2}, kwargs = {}, expected = {3, nil, nil, {}}},
    } do
        local p = Process {target = target, args = case.args, kwargs = case.kwargs}
        p:start()
        t.is(q:get(30), case.expected, #case.expected .. " values")
        p:join()
    end
end)

t.test("a target may be any closure, and need not be sendable", function()
    local file <close> = assert(io.open "/dev/null")
    local counter = 5
    local co = coroutine.create(function() coroutine.yield(7) end)
    local got = from_child(function()
        local _, seven = coroutine.resume(co)
        return counter, io.type(file), seven
    end)
    t.is(got, {5, "file", 7, n = 3}, "the child has all that its parent had")
end)

t.test("what a child changes is its own", function()
    local x = {1}
    process.spawn(function() x[1] = 2 end):join()
    t.is(x[1], 1, "the parent's table is as it was")
end)

t.test("start gives the process", function()
    local p = Process {target = function() end}
    t.ok(p:start() == p, "so that calls can be chained")
    p:join()
end)

t.test("a second start raises, and does not disturb the first", function()
    local p = Process {target = function() process.exit(3) end}
    p:start()
    t.raises(function() p:start() end, "started already", "while it runs")
    p:join()
    t.raises(function() p:start() end, "process_start.lua:%d+: .*started already", "when it ended")
    t.is(p.exitcode, 3, "the first start is what it was")
end)

t.test("a process that has nothing to run is not started", function()
    t.raises(function() Process {target = misspelt}:start() end,
        'process_start.lua:%d+: process "Process%-%d+" has no target, and its class no run', "without a target")
    local C = Process:extend "Idle"
    t.raises(function() C {name = "idle"}:start() end, 'process "idle" has no target', "nor a class with a run")
    local p = Process()
    function p.run() process.exit(4) end
    p:start()
    p:join()
    t.is(p.exitcode, 4, "it may have a run of its own")
end)

t.test("a class overrides run", function()
    local q = ipc.Queue()
    local C = Process:extend "Counter"
    function C:run() q:put(self.name) end
    local p = C()
    p:start()
    t.is(q:get(30), p.name, "run is called as a method")
    p:join()
end)

t.test("a class has a constructor", function()
    local q = ipc.Queue()
    local C = Process:extend "Adder"
    function C:init(a, b)
        C.super.init(self, {name = "adder", daemon = true})
        self.a, self.b = a, b
    end
    function C:run() q:put(self.a + self.b) end
    local p = C(2, 3)
    t.is(p.name, "adder", "name")
    t.is(p.daemon, true, "daemon")
    t.is(p.a, 2, "fields before the start")
    p:start()
    t.is(q:get(30), 5, "run sees the fields")
    p:join()
end)

t.test("a class inherits from a class", function()
    local q = ipc.Queue()
    local Base = Process:extend "Base"
    function Base:init(word)
        Base.super.init(self, {target = function() q:put "target" end})
        self.word = word
    end
    function Base:greeting() return "hello " .. self.word end
    local Derived = Base:extend "Derived"
    function Derived:init(word)
        Derived.super.init(self, word:upper())
    end
    function Derived:run()
        q:put(self:greeting())
        Derived.super.run(self)
    end
    local p = Derived "you"
    p:start()
    t.is(q:get(30), "hello YOU", "methods and constructors of both")
    t.is(q:get(30), "target", "and the base's run")
    p:join()
    t.ok(tostring(p):find "^Derived ", "it prints as what it is: " .. tostring(p))
end)

t.test("a class whose init does not call its super's still makes a process", function()
    local C = Process:extend "Plain"
    function C:init() end
    function C:run() process.exit(4) end
    local p = C()
    p:start()
    p:join()
    t.is(p.exitcode, 4, "exitcode")
end)

t.test("run can be called in the same process, as any method", function()
    local seen
    Process {target = function(x) seen = x end, args = {9}}:run()
    t.is(seen, 9, "the target ran here")
end)

t.test("a process prints as what it is", function()
    local e = sync.Event()
    local p = Process {target = function() e:wait() end, name = "printed"}
    t.is(tostring(p), 'Process "printed" (not started)', "before")
    p:start()
    t.is(tostring(p), ('Process "printed" (pid %d, running)'):format(p.pid), "while it runs")
    e:set()
    p:join()
    t.is(tostring(p), ('Process "printed" (pid %d, exit status 0)'):format(p.pid), "afterwards")
    p:close()
    t.is(tostring(p), 'Process "printed" (closed)', "closed")
    local killed = process.spawn(function() process.sleep(60) end)
    killed:kill()
    killed:join()
    t.ok(tostring(killed):find "ended by signal 9", "killed: " .. tostring(killed))
end)

t.test("name and daemon can be set before the start and not after", function()
    local p = Process {target = function() process.sleep(60) end}
    p.name, p.daemon = "renamed", true
    t.is(p.name, "renamed", "name")
    t.is(p.daemon, true, "daemon")
    p.daemon = false
    t.is(p.daemon, false, "daemon again")
    p:start()
    t.raises(function() p.name = "late" end, "process_start.lua:%d+:.*name", "name after the start")
    t.raises(function() p.daemon = true end, "process_start.lua:%d+:.*daemon",
        "daemon after the start")
    t.is(p.name, "renamed", "the name is as it was")
    p:kill()
    p:join()
    for _, field in ipairs {"pid", "exitcode", "sentinel"} do
        t.raises(function() p[field] = 1 end, field, field .. " cannot be set")
    end
    t.raises(function() p.name = 5 end, "string", "a name that is no string")
end)

t.test("a script's own fields are its own", function()
    local p = Process {target = function() end}
    p.target, p.child, p.closed = 1, 2, 3
    p:start()
    p:join()
    t.is(p.exitcode, 0, "they do not disturb")
    t.is({p.target, p.child, p.closed}, {1, 2, 3}, "and are kept")
end)

-- Wrong calls: each says what, where and what to do.
local here = "process_start.lua:%d+: "
for _, case in ipairs {
    {"an option that is misspelt", function() Process {tagret = print} end,
        here .. ".*'tagret'.*did you mean 'target'"},
    {"an option that does not exist", function() Process {colour = 1} end, here .. ".*'colour'"},
    {"a positional option", function() Process {print} end,
        here .. "unknown option '1' of process.Process; options have names: {target = f}$"},
    {"a target that is no function", function() Process {target = 5} end,
        here .. ".*'target'.*function.*number"},
    {"args that are no list", function() Process {target = print, args = 5} end,
        here .. ".*'args'.*table.*number"},
    {"kwargs that are no table", function() Process {target = print, kwargs = 5} end,
        here .. ".*'kwargs'.*table"},
    {"a name that is no string", function() Process {name = 5} end, here .. ".*'name'.*string"},
    {"a daemon that is no boolean", function() Process {daemon = 1} end,
        here .. ".*'daemon'.*boolean"},
    {"options that are no table", function() Process(print) end, here .. ".*table of options"},
    {"spawn without a function", function() process.spawn(5) end, here .. ".*function"},
    {"extend without a name", function() Process:extend() end, here .. ".*name"},
    {"a method called with a dot", function() Process {}.start() end, here .. ".*colon"},
    {"a method called with a dot and arguments", function() Process {}.join(3) end,
        here .. ".*colon"},
    {"init without an object", function() Process.init {} end, here .. ".*init"},
    {"join before the start", function() Process {}:join() end, here .. ".*not started.*start"},
    {"terminate before the start", function() Process {}:terminate() end, here .. ".*not started"},
    {"kill before the start", function() Process {}:kill() end, here .. ".*not started"},
    {"interrupt before the start", function() Process {}:interrupt() end, here .. ".*not started"},
    {"send_signal before the start", function() Process {}:send_signal(15) end,
        here .. ".*not started"},
    {"atexit without a function", function() process.atexit(5) end, here .. ".*function"},
    {"sleep without a number", function() process.sleep "x" end, here .. ".*number"},
    {"sleep for NaN", function() process.sleep(0 / 0) end, here .. ".*number"},
} do
    t.raises(case[2], case[3], case[1] .. " raises at the caller's line")
end

t.test("what is read before the start", function()
    local p = Process {}
    t.is(p.pid, nil, "pid")
    t.is(p.exitcode, nil, "exitcode")
    t.is(p.sentinel, nil, "sentinel")
    t.is(p:is_alive(), false, "is_alive")
    t.is(p.daemon, false, "daemon")
end)

t.done()
