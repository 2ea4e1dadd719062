-- Classes of threads, and instances of classes that are sent to threads.

local t = require "tap"

local Thread = thread.Thread
local seen = ipc.Queue()

t.test("a class has a constructor, and its run is what the thread runs", function()
    local Clock = Thread:extend("Clock")

    function Clock:init(interval, ...)
        Clock.super.init(self, {name = "clock"})
        self.interval = interval
        self.rest = {...}
    end

    function Clock:run()
        seen:put{self.name, self.interval, self.rest, self == thread.current_thread(),
            tostring(self)}
    end

    t.is(tostring(Clock), "class Clock", "the class, printed")
    local clock = Clock(0.5, "a", "b")
    t.is(tostring(clock), 'Clock "clock" (not started)', "an object, printed")
    clock:start()
    t.is({clock:join()}, {true}, "joined")
    t.is(seen:get(), {"clock", 0.5, {"a", "b"}, true, 'Clock "clock" (running)'}, "in the thread")
end)

t.test("a class of a class: both are there, with methods, constants and super", function()
    local Base = Thread:extend("Base")
    Base.factor = 10
    function Base:init(n)
        Base.super.init(self, {})
        self.n = n
    end
    function Base:scaled() return self.n * self.factor end
    function Base:run() seen:put("base " .. self:scaled()) end

    local Derived = Base:extend("Derived")
    function Derived:scaled() return Base.scaled(self) + 1 end
    function Derived:run()
        Derived.super.run(self)
        seen:put("derived")
    end

    Derived(4):start():join()
    t.is({seen:get(), seen:get()}, {"base 41", "derived"}, "both runs")
    Base(4):start():join()
    t.is(seen:get(), "base 40", "the base alone")
end)

t.test("without a run of its own a class runs its target", function()
    local Named = Thread:extend("Named")
    function Named:init(f) Named.super.init(self, {target = f, args = {"argument"}}) end
    Named(function(a) seen:put(a) end):start():join()
    t.is(seen:get(), "argument", "the target")
end)

t.test("what the thread changes in its object is its own", function()
    local Counter = Thread:extend("Counter")
    function Counter:init()
        Counter.super.init(self, {})
        self.n = 1
    end
    function Counter:run()
        self.n = self.n + 1
        seen:put(self.n)
    end
    local c = Counter()
    c:start()
    c:join()
    t.is({seen:get(), c.n}, {2, 1}, "the field")
end)

t.test("run can be set on an object alone", function()
    local th = Thread{name = "special"}
    th.run = function(self) seen:put(self.name) end
    th:start()
    th:join()
    t.is(seen:get(), "special", "its own run")
end)

t.test("instances of registered classes are sent to threads, with their methods", function()
    local Point = {}
    Point.__index = Point
    function Point:length() return (self.x ^ 2 + self.y ^ 2) ^ 0.5 end
    function Point.__add(a, b) return setmetatable({x = a.x + b.x, y = a.y + b.y}, Point) end
    ipc.register_class("thread_classes.Point", Point)

    local p = setmetatable({x = 3, y = 4}, Point)
    Thread{target = function(p, list)
        seen:put{p:length(), (p + p):length(), list[1] == list[2], getmetatable(p) == getmetatable(list[1])}
    end, args = {p, {p, p}}}:start():join()
    t.is(seen:get(), {5.0, 10.0, true, true}, "an argument")

    Thread{target = function() seen:put(p:length()) end}:start():join()
    t.is(seen:get(), 5.0, "an upvalue")

    Thread{target = function() seen:put(setmetatable({x = 6, y = 8}, Point)) end}:start():join()
    local made = seen:get()
    t.ok(getmetatable(made) == Point, "one that is made in the thread comes back as one of ours")
    t.is(made:length(), 10.0, "with its methods")
end)

t.test("classes that are found in methods of classes come along", function()
    local Inner, Outer = {}, {}
    Inner.__index, Outer.__index = Inner, Outer
    function Inner:who() return "inner" end
    local one = setmetatable({}, Inner)
    function Outer:who() return "outer of " .. one:who() end
    ipc.register_class("thread_classes.Inner", Inner)
    ipc.register_class("thread_classes.Outer", Outer)
    Thread{target = function(o) seen:put(o:who()) end,
        args = {setmetatable({}, Outer)}}:start():join()
    t.is(seen:get(), "outer of inner", "two of them")
end)

t.test_of_forks("an object of a class of processes, and one of threads, are arguments as others", function()
    local Sleeper = process.Process:extend("Sleeper")
    function Sleeper:init()
        Sleeper.super.init(self, {name = "sleeper"})
        self.mine = "field"
    end
    function Sleeper:run() process.sleep(60) end
    local p = Sleeper()
    p:start()
    Thread{target = function(p)
        seen:put{p.name, p.mine, p.pid, p:is_alive()}
        p:kill()
        seen:put(p:join())
    end, args = {p}}:start():join()
    t.is(seen:get(), {"sleeper", "field", p.pid, true}, "a process")
    t.is(seen:get(), true, "which the thread joins")
    p:join()
    t.is(p.exitcode, -signal.SIGKILL, "as we do")
end)

t.test("a class that a thread makes is its own, and may have a name of ours", function()
    local Mine = Thread:extend("Mine")
    function Mine:run() seen:put("ours") end
    Thread{target = function()
        local Mine = thread.Thread:extend("Mine")
        function Mine:run() seen:put("the thread's") end
        Mine():start():join()
    end}:start():join()
    Mine():start():join()
    t.is({seen:get(), seen:get()}, {"the thread's", "ours"}, "each runs its own")
end)

t.test("what cannot be sent is told by where it is", function()
    local file = io.stdout
    local WithFile = Thread:extend("WithFile")
    function WithFile:init()
        WithFile.super.init(self, {})
        self.file = file
    end
    function WithFile:run() end
    t.raises(function() WithFile():start() end,
        "thread_classes.lua:%d+: cannot send self.file: a file handle belongs", "a field")
    local WithUpvalue = Thread:extend("WithUpvalue")
    function WithUpvalue:run() return file end
    t.raises(function() WithUpvalue():start() end,
        "cannot send WithUpvalue.run's upvalue 'file': a file handle belongs", "a method")
end)

t.test("init without an object, and extend without a name, raise", function()
    t.raises(function() Thread.init({}, {}) end,
        "thread_classes.lua:%d+: init wants a thread as its first argument", "init")
    t.raises(function() Thread:extend() end, "thread_classes.lua:%d+: extend takes the name", "extend")
end)

t.done()
