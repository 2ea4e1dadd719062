-- How a script ends: error messages, tracebacks and exit statuses are lua's; Ctrl-C is luamp's own.

local cli = require "host.cli"
local same = cli.same

cli.file("ok.lua", "print 'fine'")
cli.file("syntax.lua", "local x = = 1\n")
cli.file("unfinished.lua", "for i = 1, 2 do\n")
cli.file("raise.lua", "local function f() error 'wrong' end\nf()\n")
cli.file("index.lua", "local t\nprint(t.x)\n")
cli.file("table.lua", "error {code = 1}")
cli.file("nil.lua", "error()")
cli.file("number.lua", "error(42)")
cli.file("tostring.lua", "error(setmetatable({}, {__tostring = function () return 'as text' end}))")
cli.file("notext.lua", "error(setmetatable({}, {__tostring = function () return 1 end}))")
cli.file("named.lua", "error(setmetatable({}, {__name = 'Mine'}))")
cli.file("newline.lua", "error('two\\nlines', 0)")
cli.file("overflow.lua", "local function f() return 1 + f() end f()")
cli.file("coroutine.lua", "coroutine.wrap(function () error 'inside' end)()")
cli.file("handler.lua", "error(setmetatable({}, {__tostring = function () error 'again' end}))")
cli.file("exit.lua", "io.write 'out' os.exit(...)")
cli.file("close.lua", [[
local x <close> = setmetatable({}, {__close = function () print 'closed' end})
error 'x'
]])
cli.file("collect.lua", "setmetatable({}, {__gc = function () print 'collected' end}) print 'end'")
cli.file("shebang.lua", "#!/usr/bin/env lua\nerror 'line 2'")

same("a script that ends well has status 0", "ok.lua")
same("a missing script", "nowhere.lua")
same("a folder in place of a script", ".")
for _, name in ipairs {"syntax", "unfinished", "raise", "index", "table", "nil", "number",
    "tostring", "notext", "named", "newline", "coroutine", "handler", "close", "collect",
    "shebang"} do
    same("a script with " .. name .. ".lua's ending", name .. ".lua")
end
same("a stack overflow is an error like others", "overflow.lua", "", "", function (result)
    result.err = result.err:match "^[^\n]*"
    return result
end)
same("an error in -e", "-e 'error \"x\"'")
same("a syntax error in -e", "-e 'x ='")
same("after an error in -e the script does not run", "-e 'error \"x\"' ok.lua")
same("an error in standard input", "-", "print 'one'\nerror 'two'\n")
same("a syntax error in standard input", "-", "x = = 1")
same("an error in what is piped in", "", "print 'one'\nerror 'two'\n")
same("os.exit with a number", "-e 'os.exit(7)'")
same("os.exit with true", "-e 'os.exit(true)'")
same("os.exit with false", "-e 'os.exit(false)'")
same("os.exit writes what is buffered", "-e 'io.write \"x\" os.exit()'")

cli.file("interrupt.lua", [[
-- The shell's parent is this program.
local function interrupt()
  io.popen("kill -INT $PPID"):close()
  while true do end
end
if ... == "caught" then
  local ok, message = pcall(interrupt)
  print(ok, (tostring(message):gsub("^.-:%d+: ", "")))
else
  interrupt()
end
]])
cli.expect("Ctrl-C ends a script with one line, which says where, and status 130", cli.run "interrupt.lua",
    {status = 130, out = "", err = {"^luamp: interrupt.lua:%d: interrupted!\n$"}})
cli.expect("pcall catches Ctrl-C", cli.run "interrupt.lua caught",
    {status = 0, out = "false\tinterrupted!\n", err = ""})
cli.expect("Ctrl-C in -e ends the program before the script",
    cli.run "-e 'dofile \"interrupt.lua\"' ok.lua",
    {status = 130, out = "", err = {"^luamp: interrupt.lua:%d: interrupted!\n$"}})

cli.file("hint.lua", "local l = require 'luamp.sync'.Lock()\nl:aquire()\n")
cli.expect("a method's slip gets a hint between the message and the traceback", cli.run "hint.lua",
    {status = 1, err = {"^luamp: hint.lua:2: [^\n]*'aquire'[^\n]*\nhint: [^\n]*'acquire'\n"
        .. "stack traceback:\n"}})

cli.done()
