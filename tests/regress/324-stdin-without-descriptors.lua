-- A child that was the first to be started, when its parent had no descriptor left for an empty stdin, read its parent's.

local t = require "tap"
local cli = require "host.cli"

cli.file("script.lua", [[
    local q = ipc.Queue()
    local files = {}
    repeat
        local file = io.open("/dev/null")
        files[#files + 1] = file
    until not file
    process.spawn(function() print(io.read "l") end):join()
    print(io.read "l", #files > 0)
]])
cli.expect("its stdin is empty, and the parent reads on",
    cli.run("script.lua", "one\ntwo\n", "ulimit -n 40;"), {out = "nil\none\ttrue\n"})
t.done()
