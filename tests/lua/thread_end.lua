-- How threads end: by themselves, by an error, by os.exit and process.exit, with the program.

local t = require "tap"
t.file_of_forks("how threads end")
local cli = require "host.cli"

local Thread = thread.Thread
local seen = ipc.Queue()

-- Runs a script in a program of its own; a hang is a failure.
local function script(text)
    cli.file("script.lua", text)
    return cli.shell("timeout -k 1 60 " .. cli.luamp .. " script.lua")
end

local function program(promise, text, expected)
    cli.expect(promise, script(text), expected)
end

-- Failures ------------------------------------------------------------------------------------------

program("a thread that fails prints its name and the traceback; the process goes on",
    [[
local t = thread.Thread{name = "printer", target = function() error("no more paper") end}
t:start()
print(t:join())
print(t:join())
print(t)
]], {status = 0,
    out = {"^true\tscript.lua:1: no more paper\ntrue\tscript.lua:1: no more paper\n" ..
        'Thread "printer" %(failed%)\n$'},
    err = {"^printer:\nscript.lua:1: no more paper\nstack traceback:\n.*script.lua:1: in "}})

program("a value that is no string is a failure as it reads",
    [[
local function try(v)
    local t = thread.Thread{target = function() error(v, 0) end}
    t:start()
    print(select(2, t:join()))
end
try({})
try(42)
try(nil)
local E = {__tostring = function(e) return "E of " .. e.n end}
ipc.register_class("E", E)
try(setmetatable({n = 3}, E))
]], {status = 0, out = "(error object is a table value)\n42\n(error object is a nil value)\nE of 3\n"})

program("the first line of the error is what join gives",
    [[
local t = thread.Thread{target = function() error("one\ntwo", 0) end}
t:start()
print(t:join())
]], {status = 0, out = "true\tone\n", err = {"Thread%-1:\none\ntwo\nstack traceback"}})

program("a global of the main thread's is told with a hint",
    [[
function helper() end
local t = thread.Thread{target = function() helper() end}
t:start()
t:join()
]], {status = 0, err = {"attempt to call a nil value %(global 'helper'%)\n" ..
        "hint: a thread has globals of its own; make 'helper' local"}})

program("an error that unwinds closes what is to be closed",
    [[
local lock = sync.Lock()
local t = thread.Thread{target = function()
    local _ <close> = lock:acquire()
    error("x")
end}
t:start()
t:join()
print(lock:acquire())
]], {status = 0, out = {'^Lock "lock" %(held by MainProcess%)\n$'}})

-- os.exit and process.exit ----------------------------------------------------------------------------

t.test("os.exit ends the thread past any pcall, and nothing else", function()
    local lock = sync.Lock()
    local th = Thread{target = function()
        local _ <close> = lock:acquire()
        local outer <close> = setmetatable({}, {__close = function() end})
        pcall(function()
            xpcall(function()
                coroutine.wrap(function() pcall(os.exit, 3) seen:put("inside") end)()
            end, function() return "handled" end)
            seen:put("after")
        end)
        seen:put("not reached")
        while true do end
    end}
    th:start()
    t.is({th:join(60)}, {true}, "it has ended, and did not fail")
    t.is({seen:get(false)}, {nil, "empty"}, "nothing behind the exit was done")
    t.is({lock:acquire()}, {lock}, "the lock was released, not orphaned")
    lock:release()
end)

program("os.exit's status is not the program's",
    [[
thread.Thread{target = os.exit, args = {3}}:start():join()
print("here")
]], {status = 0, out = "here\n", err = ""})

for _, case in ipairs {
    {"process.exit(7)", 7}, {"process.exit()", 0}, {"process.exit(false)", 1}, {"process.exit(256 + 9)", 9},
    {"pcall(process.exit, 7) while true do end", 7},
} do
    for place, wait in pairs {
        ["waits in a join"] = "t:join()",
        ["runs a loop"] = "while true do end",
        ["runs a loop in pcall"] = "while true do pcall(function() while true do end end) end",
        ["runs a loop in a coroutine"] = "coroutine.wrap(function() while true do end end)()",
        ["has ended its own code"] = "",
    } do
        program(("%s of a thread ends the program while it %s"):format(case[1], place), ([[
process.atexit(function() io.write("atexit") end)
local t = thread.Thread{target = function() %s end}
t:start()
%s
]]):format(case[1], wait), {status = case[2], out = "atexit", err = ""})
    end
end

program("process.exit with a text prints it and is 1", [[
thread.Thread{target = process.exit, args = {"no"}}:start()
process.sleep(60)
]], {status = 1, err = "no\n"})

program("a thread of a thread may end the program, too", [[
thread.Thread{target = function()
    thread.Thread{target = function() process.exit(5) end}:start():join()
    while true do end
end, daemon = true}:start()
process.sleep(60)
]], {status = 5})

program("process.exit of a thread joins the other threads that are no daemons", [[
local ready = sync.Event()
thread.Thread{target = function()
    ready:wait()
    process.sleep(0.2)
    print("the other has ended")
end}:start()
thread.Thread{target = function() ready:set() process.exit(4) end}:start()
process.sleep(60)
]], {status = 4, out = "the other has ended\n"})

-- The end of the program ------------------------------------------------------------------------------

program("the program's end joins threads that are no daemons, and those that they start", [[
thread.Thread{target = function()
    process.sleep(0.1)
    thread.Thread{target = function()
        process.sleep(0.1)
        print("second")
    end}:start()
    print("first")
end}:start()
process.atexit(function() print("atexit") end)
print("main")
]], {status = 0, out = "main\nfirst\nsecond\natexit\n"})

program("a failure at the end does not change the status", [[
thread.Thread{target = function() process.sleep(0.05) error("late") end}:start()
]], {status = 0, err = {"late"}})

program("an error of the main thread still joins them", [[
thread.Thread{target = function() process.sleep(0.1) print("joined") end}:start()
error("main")
]], {status = 1, out = "joined\n", err = {"main"}})

local stuck = {
    ["in a loop"] = "while true do end",
    ["in a loop with pcall"] = "while true do pcall(error) end",
    ["in a loop in a coroutine"] = "local f = coroutine.wrap(function() while true do end end) f()",
    ["in a sleep"] = "process.sleep(3600)",
    ["in a sort"] = "while true do table.sort({3, 2, 1, 5, 4}) end",
    ["in a get"] = "q:get()",
    ["in an acquire"] = "lock:acquire()",
    ["in a wait for an event"] = "e:wait()",
    ["in a wait at a barrier"] = "sync.Barrier(2):wait()",
    ["in a wait of a condition"] = "local c = sync.Condition() c:acquire() c:wait()",
    ["in a semaphore"] = "sync.Semaphore(0):acquire()",
    ["in a recv"] = "ipc.Pipe():recv()",
    ["in ipc.wait"] = "ipc.wait{q}",
    ["in a join of a thread"] = "thread.Thread{target = process.sleep, args = {3600}}:start():join()",
    ["in a join of a process"] =
        "local p = process.Process{target = process.sleep, args = {3600}, daemon = true} p:start() p:join()",
    ["in a read of a pipe"] = "io.popen('exec sleep 3600'):read('l')",
    ["in a full put"] = "local f = ipc.Queue(1) f:put(1) f:put(2)",
    ["in a read of a fifo"] = "io.open(fifo, 'r+'):read('l')",
    ["in a Timer"] = "thread.Timer(3600, print):start():join()",
}
local names = {}
for name in pairs(stuck) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs(names) do
    program("a daemon thread " .. name .. " ends with the program", ([[
local q, lock, e, there = ipc.Queue(), sync.Lock(), sync.Event(), sync.Event()
local fifo = os.tmpname()
os.remove(fifo)
os.execute("mkfifo " .. fifo)
process.atexit(function() os.remove(fifo) end)
lock:acquire()
local t = thread.Thread{daemon = true, target = function()
    there:set()
    %s
end}
t:start()
there:wait()
process.sleep(0.02)
print(t:is_alive())
]]):format(stuck[name]), {status = 0, out = "true\n", err = ""})
end

program("a hundred daemons in all states end with the program", [[
local there, lock, q = sync.Semaphore(0), sync.Lock(), ipc.Queue()
local waits = {
    function() q:get() end, function() lock:acquire() end, function() process.sleep(3600) end,
    function() sync.Event():wait() end,
}
local function loop() while true do end end
lock:acquire()
for i = 1, 100 do
    thread.Thread{daemon = true, target = function(f) there:release() f() end,
        args = {i <= 4 and loop or waits[i % 4 + 1]}}:start()
end
for _ = 1, 100 do there:acquire() end
print("end")
]], {status = 0, out = "end\n", err = ""})

program("one that is told to end before it has begun never begins", [[
for _ = 1, 50 do
    thread.Thread{daemon = true, target = function() while true do end end}:start()
end
]], {status = 0, err = ""})

-- Ctrl-C ----------------------------------------------------------------------------------------------

for name, target in pairs {
    ["in a loop"] = "while true do end", ["in a wait"] = "ipc.Queue():get()",
    ["in a join of another"] = "thread.Thread{target = process.sleep, args = {3600}}:start():join()",
} do
    for where, main in pairs {
        ["in a join"] = "t:join()", ["in a loop"] = "while true do end", ["at the end"] = "",
    } do
        program(("Ctrl-C with a thread %s, the main thread %s: one line, status 130"):format(name, where),
            ([[
local t = thread.Thread{target = function() %s end}
t:start()
local main = process.getpid()
process.Process{daemon = true, target = function()
    process.sleep(0.1)
    signal.kill(main, signal.SIGINT)
    process.sleep(3600)
end}:start()
%s
]]):format(target, main), {status = 130, out = "", err = {"^luamp: [^\n]*interrupted!\n$"}})
    end
end

program("Ctrl-C that is caught leaves the threads alone", [[
local stop, main = sync.Event(), process.getpid()
local t = thread.Thread{target = function()
    signal.kill(main, signal.SIGINT)
    stop:wait()
    print("the thread ends")
end}
print(pcall(function() t:start() t:join() end)) -- it may come before start() returns
stop:set()
t:join()
]], {status = 0, out = {"^false\t.*interrupted!\nthe thread ends\n$"}, err = ""})

t.test("a system's thread that is used again obeys orders like a new one", function()
    local lock = sync.Lock()
    process.spawn(function()
        for _ = 1, 20 do Thread{target = function() end}:start():join() end
        local begun = sync.Event()
        Thread{daemon = true, target = function()
            local _ <close> = lock:acquire()
            begun:set()
            sync.Event():wait()
        end}:start()
        begun:wait()
    end):join()
    t.is({lock:acquire()}, {lock}, "a daemon that is told to end lets go of its lock")
    lock:release()
end)

cli.done()
