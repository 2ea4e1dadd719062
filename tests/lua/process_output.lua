-- Output of several processes: lines are whole, and nothing is printed twice.

local t = require "tap"
local cli = require "host.cli"

local function script(text)
    cli.file("script.lua", text)
    return cli.run "script.lua"
end

local function lines_of(text)
    local seen = {}
    for line in text:gmatch "([^\n]*)\n" do seen[line] = (seen[line] or 0) + 1 end
    return seen
end

cli.expect("what the parent has buffered is printed once", script [[
io.write "buffered "
for i = 1, 5 do process.spawn(function() end):join() end
print "line"
]], {out = "buffered line\n"})

cli.expect("also what it buffered in a file", script [[
local f = assert(io.open("file.txt", "w"))
f:write "buffered\n"
process.spawn(function() end):join()
f:write "and more\n"
f:close()
io.write(io.open("file.txt"):read "a")
]], {out = "buffered\nand more\n"})

cli.expect("the order of parent and child is kept", script [[
print "parent"
process.spawn(function() print "child" io.write "without a newline\n" end):join()
print "parent again"
]], {out = "parent\nchild\nwithout a newline\nparent again\n"})

t.test("lines of different processes never mix", function()
    local result = script [[
local e = sync.Event()
for i = 1, 8 do
    process.spawn(function()
        local letter = string.char(96 + i)
        e:wait()
        for k = 1, 50 do
            print(letter:rep(10 + 37 * k), k)
            io.write(letter:rep(3), letter:rep(2000), " ", k, "\n")
        end
    end)
end
e:set()
]]
    local seen, n, whole = lines_of(result.out), 0, true
    for line, times in pairs(seen) do
        n = n + times
        local letter = line:sub(1, 1)
        if times ~= 1 or not line:find("^" .. letter .. "+[\t ]%d+$") then
            whole = false
            t.diag(line:sub(1, 200))
        end
    end
    t.ok(whole, "every line is one process's")
    t.is(n, 800, "and none is lost")
end)

t.test("a line of sixty thousand bytes is one write", function()
    local result = script [[
local e = sync.Event()
for i = 1, 4 do
    process.spawn(function()
        e:wait()
        for k = 1, 10 do print(string.char(96 + i):rep(60000)) end
    end)
end
e:set()
]]
    local n, whole = 0, true
    for line in result.out:gmatch "([^\n]*)\n" do
        n = n + 1
        whole = whole and line == line:sub(1, 1):rep(60000)
    end
    t.ok(whole and n == 40, "forty whole lines")
end)

cli.expect("what a child left unflushed is written at its end", script [[
process.spawn(function() io.write "no newline" end):join()
]], {out = "no newline"})

cli.expect("a child's child prints once, too", script [[
io.write "a"
process.spawn(function()
    io.write "b"
    process.spawn(function() io.write "c" end):join()
    io.write "d"
end):join()
print "e"
]], {out = "abcde\n"})

cli.done()
