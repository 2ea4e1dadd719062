-- How a process ends: exit, atexit, errors and their reports, and the children that it leaves.

local t = require "tap"
local cli = require "host.cli"

-- Runs a script of its own.
local function script(text)
    cli.file("script.lua", text)
    return cli.run "script.lua"
end

local function count(text, pattern)
    return select(2, text:gsub(pattern, ""))
end

cli.expect("process.exit ends the main process with its status, past any pcall", script [[
pcall(function() pcall(process.exit, 7) end)
print "not reached"
]], {out = "", err = "", status = 7})

cli.expect("os.exit ends the main process with its status, past any pcall", script [[
pcall(os.exit, 7)
print "not reached"
]], {out = "", err = "", status = 7})

cli.expect("and does so with children as well, which it joins", script [[
local p = process.spawn(function() process.sleep(0.05) print "the child" end)
pcall(os.exit, 7)
print "not reached"
]], {out = "the child\n", err = "", status = 7})

for _, case in ipairs {
    {"", 0, ""}, {"nil", 0, ""}, {"true", 0, ""}, {"false", 1, ""}, {"0", 0, ""}, {"5", 5, ""},
    {"255", 255, ""}, {"'what went wrong'", 1, "what went wrong\n"},
    {"setmetatable({}, {__tostring = function() return 'as text' end})", 1, "as text\n"},
} do
    local argument, status, err = table.unpack(case)
    cli.expect("process.exit(" .. argument .. ") in the main process",
        script("process.exit(" .. argument .. ")"), {out = "", err = err, status = status})
    cli.expect("process.exit(" .. argument .. ") in a child",
        script(("local p = process.spawn(process.exit, %s) p:join() os.exit(p.exitcode)"):format(
            argument == "" and "nil" or argument)), {out = "", err = err, status = status})
    cli.expect("os.exit(" .. argument .. ") in a child",
        script(([[
local p = process.spawn(function() pcall(os.exit, %s) end)
p:join()
os.exit(p.exitcode)]])
            :format(argument == "" and "nil" or argument)), {out = "", err = err, status = status})
end

cli.expect("a float with an integer's value is a status", script "process.exit(3.0)",
    {err = "", status = 3})

cli.expect("what was written before an exit is written", script [[
local p = process.spawn(function() io.write "child, " process.exit(0) end)
p:join()
io.write "main"
process.exit(0)
]], {out = "child, main", err = ""})

cli.expect("an exit inside of a coroutine is an exit", script [[
coroutine.wrap(function() process.exit(4) end)()
]], {status = 4})

cli.expect("atexit functions run when the process ends, the last first", script [[
process.atexit(function() print "first" end)
process.atexit(function() print "second" end)
print "script"
]], {out = "script\nsecond\nfirst\n", err = "", status = 0})

cli.expect("also after an error, an exit, and os.exit", script [[
for _, how in ipairs {function() error "x" end, process.exit, os.exit} do
    local p = process.spawn(function()
        process.atexit(function() print "atexit" end)
        how()
    end)
    p:join()
end
process.atexit(function() print "of the main process" end)
os.exit(3)
]], {out = "atexit\natexit\natexit\nof the main process\n", status = 3})

cli.expect("os.exit runs them in a main process that has no children, too", script [[
process.atexit(function() print "atexit" end)
os.exit(3)
]], {out = "atexit\n", status = 3})

cli.expect("a child drops its parent's", script [[
process.atexit(function() print "the parent's" end)
process.spawn(function() process.atexit(function() print "the child's" end) end):join()
]], {out = "the child's\nthe parent's\n"})

cli.expect("one that fails does not stop the others, and is told", script [[
process.atexit(function() print "first" end)
process.atexit(function() error "no good" end)
]], {out = "first\n", err = {"MainProcess.*no good"}, status = 1})

cli.expect("one may add another, and may start a process", script [[
process.atexit(function()
    process.atexit(function() print "added" end)
    process.spawn(function() print "started" end):join()
end)
]], {out = "started\nadded\n", err = "", status = 0})

cli.expect("one may exit: the rest are not run, and the status is its", script [[
process.atexit(function() print "never" end)
process.atexit(function() process.exit(9) end)
]], {out = "", status = 9})

cli.expect("daemons are ended, then children joined, then atexit functions run", script [[
process.atexit(function() print "atexit" end)
local ended = ipc.Value("i", 0)
process.Process {daemon = true, target = function()
    signal.signal(signal.SIGTERM, function() ended.value = 1 os.exit(0) end)
    ended.value = 2
    process.sleep(600)
end}:start()
while ended.value ~= 2 do process.sleep(0.001) end
process.spawn(function()
    while ended.value ~= 1 do process.sleep(0.001) end
    print "the daemon has ended"
end)
print "script"
]], {out = "script\nthe daemon has ended\natexit\n", err = "", status = 0})

t.test("a child that fails prints its name, the error and the traceback", function()
    local result = script [[
local function inner() error "it broke" end
local p = process.spawn(function() inner() end)
p:join()
os.exit(p.exitcode)
]]
    cli.expect("once, to stderr, with exitcode 1", result, {out = "", status = 1,
        err = {"^Process%-1:\nscript.lua:1: it broke\nstack traceback:\n.*in upvalue 'inner'"}})
    t.is(count(result.err, "it broke"), 1, "once")
end)

cli.expect("an error that is a table with __tostring is told as its text", script [[
process.spawn(function() error(setmetatable({},
    {__tostring = function() return "as text" end})) end)
]], {err = {"^Process%-1:\nas text\n"}, status = 0})
cli.expect("one without, as what it is", script [[
process.spawn(function() error {} end)
]], {err = {"^Process%-1:\n%(error object is a table value%)\n"}})
cli.expect("nil, too", script "process.spawn(function() error() end)",
    {err = {"^Process%-1:\n.*nil"}})
cli.expect("one whose __tostring fails does not hang or kill", script [[
local p = process.spawn(function() error(setmetatable({},
    {__tostring = function() error "again" end})) end)
p:join()
print(p.exitcode)
]], {out = "1\n", err = {"^Process%-1:\n"}})
cli.expect("a misspelt method comes with a hint", script [[
process.spawn(function() sync.Lock():aquire() end)
]], {err = {"aquire.*\nhint: sync.Lock has 'acquire'\nstack traceback:"}})
cli.expect("a stack overflow is an error like others", script [[
local function f() return 1 + f() end
local p = process.spawn(f)
p:join()
print(p.exitcode)
]], {out = "1\n", err = {"^Process%-1:\n.*stack overflow"}})
cli.expect("the parent is not disturbed", script [[
process.spawn(function() error "x" end)
print "fine"
]], {out = "fine\n", status = 0})

t.test("reports of several processes are not mixed", function()
    local result = script [[
local e = sync.Event()
for i = 1, 20 do
    process.spawn(function() e:wait() error(("x"):rep(500), 0) end)
end
e:set()
]]
    local reports = 0
    for text in (result.err .. "Process-"):gmatch "(%d+:\n.-)\n?%f[P]Process%-" do
        reports = reports + 1
        local expected = "^%d+:\n" .. ("x"):rep(500)
            .. "\nstack traceback:\n\t%[C%]: in function 'error'"
        if not text:find(expected) then
            t.ok(false, "a report is whole: " .. text)
        end
    end
    t.is(reports, 20, "each came")
end)

cli.expect("a child never falls through into its parent's script", script [[
local p = process.spawn(function() end)
print "once"
p:join()
]], {out = "once\n"})
cli.expect("nor does one started in a coroutine", script [[
local co = coroutine.wrap(function()
    local p = process.spawn(function() print "child" end)
    p:join()
    coroutine.yield()
    print "once"
end)
co()
co()
]], {out = "child\nonce\n"})
cli.expect("nor does one whose target raises inside of a pcall of its parent", script [[
print(pcall(function()
    local p = process.spawn(function() error "x" end)
    p:join()
    return p.exitcode
end))
]], {out = "true\t1\n"})
cli.expect("a to-be-closed variable of the parent is not closed by its child", script [[
do
    local x <close> = setmetatable({}, {__close = function() print "closed" end})
    process.spawn(function() end):join()
    process.spawn(process.exit):join()
end
]], {out = "closed\n"})

cli.expect("a child's stdin is empty, and its parent's is untouched", cli.run("-", [[
local p = process.spawn(function() print(io.read "a" == "", io.read "l") end)
p:join()
print "the parent reads on"
]]), {out = "true\tnil\nthe parent reads on\n"})
cli.file("reader.lua", [[
print(io.read "l")
process.spawn(function() print(io.read "l") end):join()
print(io.read "l")
]])
cli.expect("what the parent had read ahead is not the child's", cli.run("reader.lua", "one\ntwo\n"),
    {out = "one\nnil\ntwo\n"})

t.test("a script whose main code failed joins its children, and has status 1", function()
    cli.expect("as usual", script [[
process.spawn(function() process.sleep(0.05) print "the child ended" end)
error "x"
]], {out = "the child ended\n", err = {"^luamp: script.lua:2: x\n"}, status = 1})
end)

cli.expect("output that cannot be written makes a child fail, and says so", cli.run [[-e "
local p = process.spawn(function() io.write(('x'):rep(1000)) end)
p:join()
os.exit(p.exitcode)" >/dev/full]],
    {err = {"Process%-1: cannot write to standard output"}, status = 1})

cli.done()
