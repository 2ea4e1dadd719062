-- Below the target stood luamp's own functions, and then the parent's stack at the fork, as if the parent had made
-- the call.

local cli = require "host.cli"

cli.file("deep.lua", [[
local deep = {}
function deep.er(n)
    if n == 0 then error "deep" end
    deep.er(n - 1)
    return 1
end
return deep
]])

-- The script's standard error.
local function told(promise, text, err)
    cli.file("script.lua", "local deep = require 'deep'\n" .. text)
    local result = cli.run "script.lua"
    result.err = result.err:gsub("pid %d+", "pid N"):gsub("%./deep%.lua", "deep.lua")
    cli.expect(promise, {err = result.err}, {err = err})
end

local function calls(n) return ("\tdeep.lua:4: in function 'deep.er'\n"):rep(n) end
local top = [[
deep.lua:3: deep
stack traceback:
	[C]: in function 'error'
	deep.lua:3: in function 'deep.er'
]]

told("of a process", "process.spawn(function() deep.er(2) end):join()",
    "Process-1:\n" .. top .. calls(2) .. "\tscript.lua:2: in function <script.lua:2>\n")
told("of one of a child, in a coroutine of it", [[
process.spawn(function()
    coroutine.wrap(function() process.spawn(function() deep.er(1) end):join() end)()
end):join()]], "Process-1:1:\n" .. top .. calls(1) .. "\tscript.lua:3: in function <script.lua:3>\n")
told("of a deep stack, as much as of any", "process.spawn(function() deep.er(30) end):join()",
    "Process-1:\n" .. top .. calls(8) .. "\t...\t(skipping 12 levels)\n" .. calls(10)
    .. "\tscript.lua:2: in function <script.lua:2>\n")
told("of the longest that is told whole", "process.spawn(function() deep.er(18) end):join()",
    "Process-1:\n" .. top .. calls(18) .. "\tscript.lua:2: in function <script.lua:2>\n")
told("a target that is not the script's", "process.spawn(error, 'at once'):join()",
    "Process-1:\nat once\nstack traceback:\n\t[C]: in function 'error'\n")
told("a run that calls its super's is there", [[
local C = process.Process:extend "C"
function C:run()
    C.super.run(self)
    return 1
end
C{target = function() deep.er(0) end}:start():join()]], {"^Process%-1:\n" .. top:gsub("%p", "%%%0")
    .. "\tscript.lua:7: in function <script.lua:7>\n.*\n\tscript.lua:4: in function <script.lua:3>\n$"})
told("of a function given to atexit", "process.spawn(function() process.atexit(function() deep.er(0) end) end):join()",
    "Process-1: error in a function given to process.atexit:\n" .. top
    .. "\tscript.lua:2: in function <script.lua:2>\n")
told("of a thread", "thread.Thread{target = function() deep.er(1) end}:start():join()",
    "Thread-1:\n" .. top .. calls(1) .. "\tscript.lua:2: in function <script.lua:2>\n")
told("of a class of threads", [[
local T = thread.Thread:extend "T"
function T:run() error "no" end
T():start():join()]], "Thread-1:\nscript.lua:3: no\nstack traceback:\n\t[C]: in function 'error'\n"
    .. "\tscript.lua:3: in method 'run'\n")

local stack = "in W-1 (pid N), stack traceback:\n\t[C]: in function 'error'\n\tdeep.lua:3: in function 'deep.er'\n"
    .. calls(1)
for call, item in pairs {
    ["apply(function() deep.er(1) end)"] = "",
    ["map(function() deep.er(1) end, {1})"] = "item 1 of the list\n",
    ["map(function() deep.er(1) end, setmetatable({1}, {}))"] = "item 1 of the list\n",
} do
    told("of a pool's " .. call, "pool.Pool{processes = 1, name = 'W'}:" .. call,
        {("luamp: deep.lua:3: deep\n" .. item .. stack):gsub("%p", "%%%0")
        .. "\tscript.lua:2: in function <script.lua:2>\nstack traceback:\n"})
end

cli.done()
