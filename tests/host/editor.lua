-- The interactive mode on a terminal: lines are edited, remembered and completed. script(1) makes the
-- terminal; what is typed comes from a pipe.

local cli = require "host.cli"
local tap = require "tap"

-- What the terminal shows when these lines are typed, and "exit status".
local function typed(lines, before)
    return cli.shell(("TERM=xterm %s script -qec %s /dev/null"):format(before, cli.luamp),
        table.concat(lines, "\n") .. "\n").out
end

local function shows(promise, text, seen)
    cli.ok(seen:find(text, 1, true) ~= nil, promise, seen)
end

-- With what is missing there is no editor, and the interactive mode is tested by repl.lua.
local probe = typed({"string.re\tverse 'olleh'"}, "LUAMP_HISTORY=")
if not probe:find("hello", 1, true) then
    tap.skip("lines are edited", "no libedit, or no script(1)")
    cli.done()
    return
end
shows("a name is completed", "hello", probe)

cli.file("history", "")
local seen = typed({"for i = 1, 2 do", "print(i * 11)", "end", "sync.Barr\t", "{1, {2}, x = 'y'}",
    "\27[A\27[A"}, "LUAMP_HISTORY=history")
shows("an unfinished statement goes on", "22", seen)
shows("a module that was not loaded yet is completed", "function: ", seen)
shows("a table is shown", '{1, {2}, x = "y"}', seen)
local _, times = seen:gsub("function: ", "")
tap.is(times, 2, "a line before can be had again")
shows("statements are kept, in one piece", "for\\040i\\040=\\0401,\\0402\\040do\\012print(i\\040*\\04011)\\012end",
    cli.text "history")

seen = typed({"\27[A"}, "LUAMP_HISTORY=history")
shows("and found by the next one", "sync.Barrier", seen)

seen = typed({"string.re\tverse 'olleh'"}, "LUAMP_HISTORY= TERM=dumb")
cli.ok(not seen:find("hello", 1, true), "a terminal that can do nothing has no editor", seen)

cli.done()
