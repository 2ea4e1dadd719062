-- In a main process without children, os.exit forgot the functions that process.atexit had been
-- given; and Ctrl-C in such a function was told as its error and otherwise ignored.

local t = require "tap"
local cli = require "host.cli"

cli.file("exit.lua", "process.atexit(function() print 'atexit' end) os.exit(3)")
cli.expect("os.exit runs them", cli.run "exit.lua", {out = "atexit\n", err = "", status = 3})
cli.file("close.lua", [[
process.atexit(function() print "atexit" end)
kept = setmetatable({}, {__gc = function() print "closed" end})
os.exit(3, true)
]])
cli.expect("and closes the state if asked to", cli.run "close.lua",
    {out = "atexit\nclosed\n", status = 3})
cli.file("interrupt.lua", [[
process.atexit(function() print "never" end)
process.atexit(function() signal.kill(process.getpid(), signal.SIGINT) end)
]])
cli.expect("Ctrl-C in one ends the program", cli.run "interrupt.lua",
    {out = "", err = "luamp: interrupt.lua:2: interrupted!\n", status = 130})

cli.done()
