-- What threads print: lines stay whole, and nothing is lost or written twice.

local t = require "tap"
t.file_of_forks("what threads print")
local cli = require "host.cli"

-- Runs the script, whose output is the file "out"; counts its lines.
local function lines_of(text)
    cli.file("script.lua", text)
    local r = cli.run "script.lua"
    cli.expect("the script ends", r, {status = 0, err = ""})
    local counts, n = {}, 0
    for line in r.out:gmatch "([^\n]*)\n" do
        counts[line] = (counts[line] or 0) + 1
        n = n + 1
    end
    t.ok(r.out == "" or r.out:sub(-1) == "\n", "the last line is whole")
    return counts, n
end

local forms = {
    ["print with several arguments"] = [[print("thread", n, i % 2, "x" .. long)]],
    ["io.write with several arguments"] = [[io.write("thread", "\t", n, "\t", i % 2, "\t", "x" .. long, "\n")]],
    ["io.stdout:write"] = [[io.stdout:write("thread", "\t", n, "\t", i % 2, "\t", "x" .. long, "\n")]],
}

for name, form in pairs(forms) do
    t.test(name .. ": lines of many threads never mix", function()
        local counts, total = lines_of(([[
local long = ("="):rep(300)
for n = 1, 8 do
    thread.Thread{target = function()
        for i = 1, 500 do %s end
    end}:start()
end]]):format(form))
        t.is(total, 4000, "all lines")
        local expected = {}
        for n = 1, 8 do
            for i = 0, 1 do
                expected[("thread\t%d\t%d\tx%s"):format(n, i, ("="):rep(300))] = 250
            end
        end
        t.is(counts, expected, "each whole")
    end)
end

t.test("threads and processes together", function()
    local counts, total = lines_of([[
local function say(who)
    for _ = 1, 300 do print(who, "a", "line") io.write(who, "\tanother\n") end
end
local list = {}
for n = 1, 4 do
    thread.Thread{target = say, args = {"thread"}}:start()
    process.spawn(say, "process")
    thread.Thread{target = function() process.spawn(say, "child of a thread"):join() end}:start()
end]])
    t.is(total, 7200, "all lines")
    local expected = {}
    for _, who in ipairs {"thread", "process", "child of a thread"} do
        expected[who .. "\ta\tline"] = 1200
        expected[who .. "\tanother"] = 1200
    end
    t.is(counts, expected, "each whole, and once")
end)

t.test("stderr, too", function()
    cli.file("script.lua", [[
for n = 1, 4 do
    thread.Thread{target = function()
        for i = 1, 200 do io.stderr:write("thread ", n, " says ", "something\n") end
    end}:start()
end]])
    local r = cli.run "script.lua"
    local _, n = r.err:gsub("thread %d says something\n", "")
    t.is(n, 800, "all lines")
    t.is(#r.err, 800 * #"thread 1 says something\n", "and nothing else")
end)

t.test("a file that several threads append to has whole calls", function()
    cli.file("script.lua", [[
local list = {}
for n = 1, 4 do
    list[n] = thread.Thread{target = function()
        local f <close> = assert(io.open("log", "a"))
        f:setvbuf("line")
        for i = 1, 200 do f:write("thread ", n, " ", "line\n") end
    end}:start()
end]])
    cli.expect("the script ends", cli.run "script.lua", {status = 0, err = ""})
    local _, n = cli.text "log":gsub("thread %d line\n", "")
    t.is(n, 800, "all lines")
end)

t.test("what was written and not flushed when the program ends is written", function()
    local counts = lines_of([[
io.stdout:setvbuf("full")
thread.Thread{target = function() io.write("from the thread\n") end}:start():join()
io.write("from the main thread\n")
thread.Thread{daemon = true, target = function() while true do end end}:start()]])
    t.is(counts, {["from the thread"] = 1, ["from the main thread"] = 1}, "both")
end)

t.test("half a line that is written before a fork is written once", function()
    local counts, n = lines_of([[
local forked = sync.Event()
local t = thread.Thread{target = function()
    io.write("half ")
    process.spawn(function() print("child") end):join()
    print("and half")
end}
t:start()
t:join()]])
    t.is(n, 2, "two lines")
end)

t.test("write's results are Lua's own", function()
    local f = assert(io.tmpfile())
    t.ok(f:write("a", 1, 2.5) == f, "the file")
    f:seek("set")
    t.is(f:read "a", "a12.5", "numbers as Lua writes them")
    t.raises(function() f:write({}) end, "bad argument #1 to 'write' %(string expected, got table%)", "a table")
    t.raises(function() f:write("a", nil) end, "bad argument #2 to 'write'", "the second argument")
    f:close()
    t.raises(function() f:write("x") end, "attempt to use a closed file", "a closed one")
    local full = io.open("/dev/full", "w")
    full:setvbuf("no")
    local ok, why, code = full:write("x")
    t.is({ok, code}, {nil, 28}, "no room")
    t.ok(type(why) == "string", why)
    full:close()
end)

cli.done()
