-- The options of the command line: lua's do what they do in lua, and luamp has some of its own.

local cli = require "host.cli"
local same = cli.same

cli.file("show.lua", [[
local low = 0
while arg[low - 1] do low = low - 1 end
for i = low, #arg do print(i, arg[i]) end
print("...", ...)
]])
cli.file("mod.lua", "return {name = ...}")
cli.file("other.lua", "print('other', ...) return 'other'")

-- As lua.

same("a script gets its arguments in arg and in ...", "show.lua one 'two words' ''")
same("a script without arguments has an empty ...", "show.lua")
same("what stands before the script has negative indexes", "-E -e 'x = 1' show.lua one")
same("options after the script are the script's", "show.lua -e 'print(1)' --version -x")
same("-- ends the options", "-e 'x = 1' -- show.lua -v")
same("after -- a script may be called -", "-- -")
same("- is standard input, with arguments", "- one two", "print('in', arg[0], ...)")
same("without a script, standard input is run", "", "print('in', arg[0], ...)")
same("without a script, -- leaves standard input to run", "--", "print('in', ...)")
same("-e runs a text", "-e 'print(1)'")
same("-e may stand without a space", "-e'print(1)'")
same("-e with -e run in their order", "-e 'x = 1' -e 'print(x)'")
same("-e leaves standard input alone", "-e 'print(io.read())'", "line\n")
same("-l requires into a global", "-l mod -e 'print(mod.name)'")
same("-l may stand without a space", "-lmod -e 'print(mod.name)'")
same("-l g=mod requires into a global of another name", "-l g=mod -e 'print(g.name, mod)'")
same("-l, -e and the script run in their order",
    "-e 'print(1)' -l other -e 'print(other)' show.lua")
same("-l of a module that is missing fails", "-l nowhere -e 'print(1)'")
same("-l of a library in a global of its own name", "-l string -e 'print(string.rep(1, 2))'")
same("-W turns warnings on", "-W -e 'warn(\"one\", \"two\")'")
same("without -W warnings are off until asked for", "-e 'warn \"one\" warn \"@on\" warn \"two\"'")
same("-W takes effect in its order", "-e 'warn \"one\"' -W -e 'warn \"two\"'")
same("LUA_INIT is run first", "-e 'print(x)'", "", "LUA_INIT='x = 1'")
same("LUA_INIT_5_4 goes before LUA_INIT", "-e 'print(x)'", "",
    "LUA_INIT='x = 1' LUA_INIT_5_4='x = 2'")
same("LUA_INIT may name a file", "-e 'print(1)'", "", "LUA_INIT=@other.lua")
same("an error in LUA_INIT ends the program", "-e 'print(1)'", "", "LUA_INIT='error \"x\"'")
same("a file in LUA_INIT that is missing ends the program", "-e 'print(1)'", "",
    "LUA_INIT=@nowhere")
same("-E ignores LUA_INIT and LUA_PATH", "-E -e 'print(x, package.path)'", "",
    "LUA_INIT='x = 1' LUA_PATH=here")
same("LUA_PATH is used", "-e 'print(package.path)'", "", "LUA_PATH='here;;'")
same("arg may be replaced before the script runs", "-e 'arg = {\"new\"}' show.lua old")
same("an arg that is no table is refused", "-e 'arg = 1' show.lua")
same("the collector starts in the same mode", "-e 'print(collectgarbage \"incremental\")'")

local function first_line(result)
    result.err = result.err:match "^[^\n]*"
    return result
end

for _, line in ipairs {"-h", "-x", "-vx", "-ix", "-Ex", "-Wx", "-e", "-l", "-e -v", "-l -i"} do
    same("wrong options are refused in the same words: " .. line, line, "", "", first_line)
end

-- luamp's own.

local usage = "usage: luamp %[options%]"

cli.expect("--version prints the version and ends", cli.run "--version show.lua",
    {status = 0, err = "", out = {"^luamp %d+%.%d+%.%d+  Lua 5%.4[^\n]*\n$"}})
cli.ok(cli.run("-v").out == cli.run("--version").out, "-v prints what --version prints")
cli.expect("-v goes on with the script", cli.run "-v other.lua",
    {status = 0, out = {"^luamp [^\n]*\nother\n$"}})
cli.expect("--help prints the usage on standard output", cli.run "--help",
    {status = 0, err = "", out = {"^" .. usage}})
for _, name in ipairs {"-e stat", "-l mod", "-m mod", "--no-short-names", "--version"} do
    cli.ok(cli.run("--help").out:find(name, 1, true), "--help tells of " .. name)
end

cli.expect("a long option with a slip is refused, with the one that was meant",
    cli.run "--verison show.lua",
    {status = 1, out = "",
        err = {"^luamp: unknown option '%-%-verison'; did you mean '%-%-version'%?\n" .. usage}})
cli.expect("a long option with one dash too", cli.run "-help",
    {status = 1, err = {"did you mean '%-%-help'%?\n"}})
cli.expect("a long option that is like none is refused plainly", cli.run "--something-else",
    {status = 1, err = {"^luamp: unknown option '%-%-something%-else'\n" .. usage}})
cli.expect("a very long option is refused too", cli.run("--" .. ("x"):rep(5000)),
    {status = 1, err = {"^luamp: unknown option '%-%-xxx"}})

cli.expect("the short names are there",
    cli.run "-e 'print(type(process), require \"process\" == process)'",
    {status = 0, out = "table\ttrue\n"})
cli.expect("--no-short-names leaves the full names only",
    cli.run "--no-short-names -e 'print(process, pcall(require, \"process\"))'",
    {status = 0, out = {"^nil\tfalse\tmodule 'process' not found"}})
cli.expect("--no-short-names leaves the full names",
    cli.run "--no-short-names -e 'print(type(require \"luamp.process\"))'",
    {status = 0, out = "table\n"})

cli.shell "mkdir -p pack"
cli.file("pack/tool.lua", "print('tool', arg[0], ...)")
cli.expect("-m runs a module as the script",
    cli.run("-m pack.tool one -v", "", "LUA_PATH='./?.lua'"),
    {status = 0, out = "tool\t./pack/tool.lua\tone\t-v\n"})
cli.expect("-m may stand without a space", cli.run("-mpack.tool one", "", "LUA_PATH='./?.lua'"),
    {status = 0, out = "tool\t./pack/tool.lua\tone\n"})
cli.expect("-m of a module that is missing tells where it was looked for",
    cli.run("-m pack.none", "", "LUA_PATH='./?.lua'"),
    {status = 1, out = "",
        err = "luamp: module 'pack.none' not found:\n\tno file './pack/none.lua'\n"})
cli.expect("-m needs a module", cli.run "-m",
    {status = 1, err = {"^luamp: '%-m' needs argument\n" .. usage}})

cli.done()
