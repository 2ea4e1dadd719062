-- The interactive mode, with its input from a pipe.

local cli = require "host.cli"

-- What the interactive mode says after the line with the version.
local function talk(input, before)
    local result = cli.run("-i", input, before)
    result.out = result.out:gsub("^luamp [^\n]*\n", "")
    return result
end

local function says(promise, input, out, err)
    cli.expect(promise, talk(input), {status = 0, out = out, err = err or ""})
end

says("an empty input ends it", "", "> \n")
says("an expression's value is printed", "1 + 1\n", "> 2\n> \n")
says("all values are printed", "1, nil, 'x'\n", "> 1\tnil\tx\n> \n")
says("= before an expression is allowed", "=1 + 1\n", "> 2\n> \n")
says("a statement prints nothing", "x = 1\nx\n", "> > 1\n> \n")
says("a call without results prints nothing", "(function () end)()\n", "> > \n")
says("a statement may take more lines", "for i = 1, 2 do\nprint(i)\nend\n", "> >> >> 1\n2\n> \n")
says("an expression may take more lines", "return 1 +\n2\n", "> >> 3\n> \n")
says("a long string keeps its lines", "return #[[a\nb]]\n", "> >> 3\n> \n")
says("an empty line is nothing", "\n\n", "> > > \n")
says("the last line needs no end", "1", "> 1\n> \n")
says("a long line is one line", "#'" .. ("x"):rep(10000) .. "'\n", "> 10000\n> \n")
says("a table is shown as its contents", "{1, 'a', {x = 2, ['b c'] = true}}, nil\n",
    '> {1, "a", {["b c"] = true, x = 2}}\tnil\n> \n')
says("one in itself as print does", "t = {} t[1] = t return t\n", {"^> {table: 0x%x+}\n> \n$"})
says("one that can say what it is says it",
    "setmetatable({}, {__tostring = function() return 'me' end})\n", "> me\n> \n")
says("one that is too wide for a line takes several",
    "{('a'):rep(50), ('b'):rep(50)}\n",
    ('> {\n  "%s",\n  "%s"\n}\n> \n'):format(("a"):rep(50), ("b"):rep(50)))
says("a long one is cut", "t = {} for i = 1, 300 do t[i] = i end return #t, t\n",
    {"^> 300\t{\n  1,\n.*\n  200,\n  %.%.%. 100 more\n}\n> \n$"})
says("one whose tables share others comes to an end",
    "t = {} for _ = 1, 8 do local u = {} for i = 1, 100 do u[i] = t end t = u end return t\n",
    {"%.%.%. %d+ more"})
says("a local is of its line only", "local x = 1\nx\n", "> > nil\n> \n")
says("a syntax error is told, and it goes on", "x = = 1\n2\n", "> > 2\n> \n",
    "stdin:1: unexpected symbol near '='\n")
says("an error is told with its traceback, and it goes on", "error 'wrong'\n2\n", "> > 2\n> \n",
    "stdin:1: wrong\nstack traceback:\n"
        .. "\t[C]: in function 'error'\n\tstdin:1: in main chunk\n\t[C]: in ?\n")
says("a statement that never ends is told", "for i = 1, 2 do\n", "> >> > \n",
    "stdin:1: 'end' expected near <eof>\n")
says("the prompts are variables", "_PROMPT = 'A' _PROMPT2 = 2\nreturn 1 +\n2\n", "> A23\nA\n")
says("a print that fails is told", "print = function () error 'no' end\n1\n", "> > > \n",
    "error calling 'print' (stdin:1: no)\n")
says("a print that is no function is told", "print = nil\n1\n", "> > > \n",
    "error calling 'print' (attempt to call a nil value)\n")
says("Ctrl-C ends the statement, and it goes on",
    "io.popen('kill -INT $PPID'):close() while true do end\n2\n", "> > 2\n> \n",
    {"^[^\n]*interrupted!"})

cli.file("script.lua", "x = 'from the script' print(...)")
cli.expect("-i goes on after the script", cli.run("-i script.lua one", "x\n"),
    {status = 0, out = {"^luamp [^\n]*\none\n> from the script\n> \n$"}})
cli.expect("after a script that fails there is none",
    cli.run("-i -e 'error \"x\"' script.lua", "x\n"),
    {status = 1, out = {"^luamp [^\n]*\n$"}})

-- lua's readline repeats the input where it is no terminal; that is taken out of what it prints.
local session = {"x = 1", "x", "=x", "for i = 1, 2 do", "print(i)", "end", "error 'x'", "error {}",
    "(nil)", "1, 2, nil", "f(", ")"}
local function without_echo(result)
    local at = 1
    result.out = result.out:gsub("^[^\n]*\n", "")
    for _, line in ipairs(session) do
        local from, to = result.out:find("> " .. line .. "\n", at, true)
        if from then
            result.out = result.out:sub(1, from + 1) .. result.out:sub(to + 1)
            at = from + 2
        end
    end
    return result
end
cli.same("a session goes as with lua", "-i", table.concat(session, "\n") .. "\n", "TERM=dumb",
    without_echo)

cli.done()
