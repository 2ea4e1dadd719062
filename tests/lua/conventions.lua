-- What holds for all classes: calls, results, errors, waiting, names, printing.

local t = require "tap"

local luamp = os.getenv("LUAMP") or "luamp"

-- What another luamp prints for a script, both streams, and its exit status.
local function run(script)
    local name = os.tmpname()
    do
        local f <close> = assert(io.open(name, "w"))
        f:write(script)
    end
    local f = assert(io.popen(("'%s' %s 2>&1"):format(luamp, name)))
    local text = f:read("a")
    local _, _, status = f:close()
    os.remove(name)
    return (text:gsub(name:gsub("%p", "%%%0"), "SCRIPT")), status
end

local makers = {
    ["sync.Lock"] = {sync.Lock, {}, "free"},
    ["sync.RLock"] = {sync.RLock, {}, "free"},
    ["sync.Semaphore"] = {sync.Semaphore, {1}, "1"},
    ["sync.BoundedSemaphore"] = {sync.BoundedSemaphore, {1}, "1 of 1"},
    ["sync.Event"] = {sync.Event, {}, "not set"},
    ["sync.Condition"] = {sync.Condition, {}, "free"},
    ["sync.Barrier"] = {sync.Barrier, {2}, "0/2"},
    ["ipc.Queue"] = {ipc.Queue, {3}, "0/3"},
    ["ipc.JoinableQueue"] = {ipc.JoinableQueue, {}, "0"},
    ["ipc.SimpleQueue"] = {ipc.SimpleQueue, {}, "0"},
    ["ipc.Connection"] = {ipc.Pipe, {}, "duplex"},
    ["ipc.Value"] = {ipc.Value, {"i"}, "0"},
    ["ipc.Array"] = {ipc.Array, {"i", 2}, "2 of 'i'"},
    ["ipc.Dict"] = {function(o) return ipc.Dict(nil, o.name and o) end, {}, "0"},
    ["ipc.List"] = {function(o) return ipc.List(nil, o.name and o) end, {}, "0"},
}

for class, maker in pairs(makers) do
    local make, arguments, state = table.unpack(maker)
    t.test(class .. ": prints as what it is, by its name", function()
        local short = class:match("%.(.*)")
        local options = table.move(arguments, 1, #arguments, 1, {name = "my name"})
        t.is(tostring((make(options))), ('%s "my name" (%s)'):format(short, state), "by its option")
        local somebody = make(arguments)
        local _, called = tostring(somebody):match('^(.-) "(.-)" %(')
        t.ok(called == "somebody" or called:find("^.*conventions%.lua:%d+$"),
            "without one, by the variable: " .. tostring(somebody))
    end)
    t.test(class .. ": a method that it does not have is an error that names it", function()
        local object = make(arguments)
        if class ~= "ipc.Dict" then
            t.raises(function() object:aquire_it() end, "attempt to call a nil value %(method 'aquire_it'%)",
                "called")
        end
        t.raises(function() object.x.y = 1 end, "attempt to index a nil value", "looked into")
    end)
end

t.test("without a name, the report uses the variable that the creating line assigns to", function()
    local tickets = sync.Lock()
    t.is(tostring(tickets), 'Lock "tickets" (free)', "a local variable")
    local kept <const> = sync.Lock()
    t.is(tostring(kept), 'Lock "kept" (free)', "with an attribute")
    local x = {}
    x.counter = ipc.Value("i", 7)
    t.is(tostring(x.counter), 'Value "counter" (7)', "a field")
    SomeGlobal = sync.Event()
    t.is(tostring(SomeGlobal), 'Event "SomeGlobal" (not set)', "a global")
    SomeGlobal = nil
    local jobs = ipc.Queue(5)
    jobs:put(1)
    jobs:put(2)
    jobs:put(3)
    t.is(tostring(jobs), 'Queue "jobs" (3/5)', "a queue")
    local function make() return sync.Lock() end
    local line = debug.getinfo(1, "l").currentline - 1
    t.ok(tostring(make()):find(('Lock "[^"]*conventions.lua:%d" %%(free%%)'):format(line)),
        "else file and line: " .. tostring(make()))
    t.ok(tostring(({sync.Lock()})[1]):find('conventions.lua:%d+" %(free%)'), "of an expression")
    t.is(tostring(load("local a = sync.Lock() return a")()):match('"(.*)"'),
        '[string "local a = sync.Lock() return a"]:1', "of a chunk without a file")
    local long = sync.Lock{name = ("n"):rep(200)}
    t.is(tostring(long):match('"(n+)"'), ("n"):rep(47), "a name is cut to 47 bytes")
end)

t.test("results and errors: what can happen is a result, a mistake raises at the caller's line", function()
    local q, lock = ipc.Queue(), sync.Lock()
    local function here(f)
        local ok, message = pcall(f)
        local info = debug.getinfo(f, "S")
        return not ok and message:match("^(.-:%d+: )") == ("%s:%d: "):format(info.short_src, info.linedefined)
    end
    t.ok(here(function() lock:release() end), "release")
    t.ok(here(function() q:put(print, {}) end), "a wrong flag")
    t.ok(here(function() q:put(io.stdout) end), "a value that cannot be sent")
    t.ok(here(function() sync.Lock{nam = 1} end), "an option")
    t.ok(here(function() ipc.Value("z") end), "a typecode")
    t.ok(here(function() sync.Event():wait({}) end), "a time")
    t.ok(here(function() sync.Condition():wait() end), "a condition that is not held")
    t.ok(here(function() ipc.wait({lock}) end), "ipc.wait")
    t.ok(here(function() ipc.Dict()[{}] = 1 end), "a key")
    t.ok(here(function() ipc.Array("i", 1)[2] = 1 end), "an index")
    t.ok(here(function() ipc.List():append() end), "an item")
    t.ok(here(function() ipc.SharedMemory{create = true, size = 0} end), "a size")
    t.ok(here(function() local r = ipc.Pipe(false) r:send(1) end), "the wrong end")
    t.ok(here(function() lock:with(5) end), "no function")
end)

t.test("an error that nobody catches says what, where and what to do", function()
    local text, status = run([[
local tickets = sync.Lock()
tickets:aquire()
]])
    t.is(status, 1, "the status")
    t.ok(text:find("SCRIPT:2: attempt to call a nil value (method 'aquire')", 1, true), "what and where")
    t.ok(text:find("hint: sync.Lock has 'acquire'", 1, true), "and the name that was meant: " .. text)
    text = run("sync.Lok()\n")
    t.ok(text:find("hint: sync has 'Lock'", 1, true), "of a class")
    text = run("ipc.Queue():pt(1)\n")
    t.ok(text:find("has 'put'", 1, true), "of another method")
    text = run("snyc.Lock()\n")
    t.ok(text:find("hint: luamp has the module 'sync'", 1, true), "of a module")
    text = run("local m = ipc.SharedMemory{create = true, size = 1} m:unlink() m:raed()\n")
    t.ok(text:find("hint: ipc.SharedMemory has 'read'", 1, true), "of named memory: " .. text)
    text = run("local r = ipc.Pipe() r:filno()\n")
    t.ok(text:find("hint: ipc.Connection has 'fileno'", 1, true), "of a connection: " .. text)
end)

t.test("full names and short names are the same modules", function()
    for _, name in ipairs {"process", "signal", "sync", "ipc", "pool"} do
        t.ok(require("luamp." .. name) == require(name) and require(name) == _G[name], name)
    end
    local text = run([[print(require("luamp.sync").Lock == require("sync").Lock, sync.Lock == require("sync").Lock)]])
    t.is(text, "true\ttrue\n", "also before the global was used")
end)

t.test("a time may be any number; NaN and less than nothing do not block", function()
    local e = sync.Event()
    for _, time in ipairs {0, -1, -math.huge, 0 / 0, math.mininteger} do
        t.is({e:wait(time)}, {false, "timeout"}, tostring(time))
    end
    e:set()
    for _, time in ipairs {1e300, math.huge, math.maxinteger} do
        t.is({e:wait(time)}, {true}, tostring(time))
    end
end)

t.test("printed lines of different processes never mix", function()
    local text = run([[
local ps = {}
for i = 1, 4 do
    ps[i] = process.spawn(function()
        local line = string.char(96 + i):rep(300 * i)
        for k = 1, 200 do
            if k % 2 == 0 then
                print(line, k)
            else
                io.write(line, "\t", k, "\n")
            end
        end
    end)
end
for i = 1, 4 do
    ps[i]:join()
end
]])
    local counts, torn = {0, 0, 0, 0}, 0
    for line in text:gmatch("(.-)\n") do
        local letters, k = line:match("^(%l+)\t(%d+)$")
        local i = letters and letters:byte() - 96
        if i and i >= 1 and i <= 4 and letters == string.char(96 + i):rep(300 * i) then
            counts[i] = counts[i] + tonumber(k)
        else
            torn = torn + 1
        end
    end
    t.is(torn, 0, "no line is torn")
    t.is(counts, {20100, 20100, 20100, 20100}, "each once")
end)

t.test("nothing buffered is printed twice after a fork", function()
    local text = run([[
io.write("before ")
io.stderr:write("")
local p = process.spawn(function() io.write("child\n") end)
p:join()
io.write("after\n")
]])
    t.is(text, "before child\nafter\n", "once each")
end)

t.test("a class made known by register_class keeps its metatable in messages", function()
    local Point = {}
    Point.__index = Point
    Point.__eq = function(a, b) return a.x == b.x end
    function Point:double() return self.x * 2 end
    local q = ipc.Queue()
    t.raises(function() q:put({p = setmetatable({x = 1}, Point)}) end,
        "cannot send value.p: .*register_class", "without it raises, and says what to do")
    t.is(q:qsize(), 0, "nothing was put")
    t.ok(ipc.register_class("Point", Point) == Point, "register_class returns the class")
    q:put({p = setmetatable({x = 4}, Point)})
    local got = q:get().p
    t.ok(getmetatable(got) == Point, "the metatable arrives")
    t.is(got:double(), 8, "its methods work")
    local back = ipc.Queue()
    local p = process.spawn(function() back:put(setmetatable({x = q:get():double()}, Point)) end)
    q:put(setmetatable({x = 5}, Point))
    t.is(back:get().x, 10, "to another process and back")
    p:join()
    local d = ipc.Dict({here = setmetatable({x = 6}, Point)})
    t.is(d.here:double(), 12, "in a Dict")
    t.raises(function() ipc.register_class(5) end, "table expected", "no class")
    t.raises(function() ipc.register_class() end, "string expected", "no name")
end)

t.test("a message of a class that the receiver does not know raises there, and no other is lost", function()
    local q, told = ipc.Queue(), ipc.Queue()
    local p = process.spawn(function()
        told:put("forked")
        local ok, message = pcall(q.get, q)
        told:put({ok, message})
        told:put(q:get(5))
        told:put(q:get(5))
    end)
    told:get()
    local Late = ipc.register_class("Late", {})
    q:put({setmetatable({1}, Late), sync.Event()})
    q:put("next")
    q:put({("x"):rep(5000)})
    local result = told:get(30)
    t.is(result[1], false, "raised")
    t.ok(result[2]:find("Late", 1, true), "names the class: " .. tostring(result[2]))
    t.is(told:get(30), "next", "the next one arrives")
    t.is(told:get(30), {("x"):rep(5000)}, "and the one after it")
    p:join()
end)

t.done()
