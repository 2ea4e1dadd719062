-- cli: runs luamp, or lua, with a command line as a user types it, and sees what comes of it.
--
-- A test that says "as lua does" runs both programs with the same line in the same folder, and
-- compares standard output, standard error and the exit status. The two programs' own names are
-- taken out first. All of it happens in a scratch folder, which the test fills with cli.file.

local tap = require "tap"

local cli = {}

cli.luamp = assert(os.getenv "LUAMP", "LUAMP must be the path of the program to test")
cli.lua = os.getenv "LUA" or "lua5.4"

local pipe <close> = assert(io.popen "mktemp -d")
local scratch = assert(pipe:read "l", "cannot make a scratch folder")

-- The text of any file.
function cli.read(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:read "a"
end

-- Writes a file into the scratch folder.
function cli.file(name, text)
    local file <close> = assert(io.open(scratch .. "/" .. name, "wb"))
    file:write(text)
end

-- The text of a file in the scratch folder.
function cli.text(name)
    return cli.read(scratch .. "/" .. name)
end

-- Runs a shell's command line in the scratch folder. Its standard input is `input`, or empty.
-- Returns {out=, err=, status=}.
function cli.shell(line, input)
    cli.file(".in", input or "")
    -- The braces let the line redirect what it wants to otherwise.
    local command = ("cd %s && { %s\n} <.in >.out 2>.err"):format(scratch, line)
    local _, how, status = os.execute(command)
    if how == "signal" then
        status = "signal " .. status
    end
    return {out = cli.text ".out", err = cli.text ".err", status = status}
end

-- Is there such a command?
function cli.has(command)
    return cli.shell("command -v " .. command).status == 0
end

-- Runs luamp with the arguments, written as for a shell; `before` may set variables.
function cli.run(arguments, input, before)
    return cli.shell((before or "") .. " " .. cli.luamp .. " " .. arguments, input)
end

-- The same for lua.
function cli.run_lua(arguments, input, before)
    return cli.shell((before or "") .. " " .. cli.lua .. " " .. arguments, input)
end

-- One promise, kept or not; `seen` is shown when it is not.
function cli.ok(kept, promise, seen)
    if not tap.ok(kept, promise) and seen then
        tap.diag(seen)
    end
end

local function show(result)
    return ("status %s\nstdout %q\nstderr %q"):format(result.status, result.out, result.err)
end

-- Holds a result to what is expected: any of out, err and status. A text is compared whole; a table
-- {"pattern"} is matched.
function cli.expect(promise, result, expected)
    local kept = true
    for field, value in pairs(expected) do
        if type(value) == "table" then
            kept = kept and result[field]:find(value[1]) ~= nil
        else
            kept = kept and result[field] == value
        end
    end
    cli.ok(kept, promise, show(result))
end

local function without_name(result, program)
    local plain = program:gsub("%p", "%%%0")
    local function clean(text)
        return (text:gsub(plain, "PROGRAM"))
    end
    local err = clean(result.err):gsub("^luamp: ", "PROGRAM: ")
    return {out = clean(result.out), err = err, status = result.status}
end

-- Promises that luamp does with this line what lua does. `adapt`, if given, takes out of a result
-- what is known to differ, and returns it.
function cli.same(promise, arguments, input, before, adapt)
    local ours = without_name(cli.run(arguments, input, before), cli.luamp)
    local theirs = without_name(cli.run_lua(arguments, input, before), cli.lua)
    if adapt then
        ours, theirs = adapt(ours), adapt(theirs)
    end
    cli.ok(ours.out == theirs.out and ours.err == theirs.err and ours.status == theirs.status,
        promise, "luamp\n" .. show(ours) .. "\nlua\n" .. show(theirs))
end

-- Ends the test.
function cli.done()
    os.execute("rm -rf " .. scratch)
    tap.done()
end

return cli
