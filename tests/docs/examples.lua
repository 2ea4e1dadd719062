-- Runs every example of README.md and docs/*.md, and of their translations (README.zh-CN.md and
-- docs/*.zh-CN.md), and compares what it prints with what the page says.
--
--     LUAMP=path/of/luamp top_srcdir=. luamp tests/docs/examples.lua [part of a page's name]
--
-- A fenced block is an example when its first word is one of these:
--
--     lua         a script, run by luamp as example.lua in an empty folder
--     lua fails   the same, and it must end with a status other than 0
--     lua stock   a script for stock lua, with luamp as its module
--     lua norun   not run; the word is there for what needs a terminal
--     c           a program, compiled and linked as pkg-config says, and run
--     sh          lines for a shell, with luamp in its path; run where an output block follows, since
--                 the others install things
--
-- What it must print, on standard output and standard error together, is either the block `output`
-- that follows next, or what stands behind each `-->` of the script, a line for each in their order.
-- `...` stands for any text, since pids differ, and any blanks are like any others. An example that says
-- neither must print nothing.

local t = require "tap"
local markdown = require "markdown"

local luamp = assert(os.getenv "LUAMP", "LUAMP must be the path of the program to test")
local source = os.getenv "top_srcdir" or "."
local build = os.getenv "top_builddir"
local filter = arg[1] or ""

local compiler = os.getenv "CC" or "cc"

local LIMIT = 30 -- seconds for one example

local function quoted(s)
    return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function shell(command)
    local f <close> = assert(io.popen(command))
    return (f:read("a"):gsub("\n$", ""))
end

local scratch = shell "mktemp -d"
process.atexit(function() os.execute("rm -r " .. quoted(scratch)) end)
luamp = shell("realpath " .. quoted(luamp))
assert(os.execute(("mkdir %s/bin && ln -s %s %s/bin/luamp"):format(scratch, quoted(luamp), scratch)))

local function write(path, text)
    local f <close> = assert(io.open(path, "wb"))
    f:write(text)
end

local function read(path)
    local f <close> = assert(io.open(path, "rb"))
    return f:read "a"
end

-- Pages ------------------------------------------------------------------------------------------------

-- The output that the comments promise.
local function promised_by_comments(script)
    local lines = {}
    for promise in script:gmatch "%-%-> ?([^\n]*)" do
        lines[#lines + 1] = promise .. "\n"
    end
    return table.concat(lines)
end

local function pattern_of(expected)
    local pattern = expected:gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
    return "^" .. pattern .. "$"
end

local function one_blank(text)
    return (text:gsub("[ \t]+", " "):gsub(" \n", "\n"))
end

-- Running ----------------------------------------------------------------------------------------------

local count = 0

-- Runs a shell's command line in a new folder that holds the one file. Gives the output and the status.
local function run(name, text, command)
    count = count + 1
    local folder = ("%s/%d"):format(scratch, count)
    assert(os.execute("mkdir " .. folder))
    write(folder .. "/" .. name, text)
    local _, how, status = os.execute(([[cd %s && PATH=%s/bin:$PATH && export PATH &&
        timeout -k 2 %d %s </dev/null >%s/out 2>&1]]):format(folder, scratch, LIMIT, command, scratch))
    if how == "signal" then
        status = "signal " .. status
    elseif status == 124 or status == 137 then
        status = ("none after %d seconds"):format(LIMIT)
    end
    return read(scratch .. "/out"), status
end

local function compiler_is_missing()
    if not build then
        return "there is no build tree (top_builddir)"
    elseif not os.execute "command -v pkg-config >/dev/null" then
        return "there is no pkg-config"
    elseif not os.execute("ls " .. quoted(build) .. "/.libs/libluamp.* >/dev/null 2>&1") then
        return "the library is not built"
    elseif not os.execute("command -v " .. compiler:match "%S+" .. " >/dev/null") then
        return "there is no compiler"
    end
end

-- How to run a block: a function that gives output and status; or nil, and why it is skipped.
local runners = {}

function runners.lua(block)
    return run("example.lua", block.text, "luamp example.lua")
end

runners["lua fails"] = runners.lua

runners["lua stock"] = function(block)
    if not os.execute "command -v lua5.4 >/dev/null" then
        return nil, "there is no lua5.4"
    elseif not build then
        return nil, "there is no build tree (top_builddir)"
    elseif not os.execute("test -f " .. quoted(build .. "/.libs/luamp.so")) then
        return nil, "the module is not built (--disable-shared)"
    end
    return run("example.lua", block.text,
        ("env LUA_CPATH=%s lua5.4 example.lua"):format(quoted(build .. "/.libs/?.so")))
end

runners["lua norun"] = function()
    return nil, "the page says that it cannot be run by a test"
end

function runners.sh(block)
    return run("commands", block.text, "sh ./commands")
end

function runners.c(block)
    local missing = compiler_is_missing()
    if missing then
        return nil, missing
    end
    write(scratch .. "/build.sh", ([[
set -e
build=%s
test -f $build/.libs/libluamp.so || static=--static
%s -Wall -Wextra -Werror -I%s/src -L$build/.libs example.c -o example \
    $(PKG_CONFIG_PATH=$build pkg-config $static --cflags --libs luamp)
LD_LIBRARY_PATH=$build/.libs exec ./example
]]):format(quoted(build), compiler, quoted(source)))
    return run("example.c", block.text, "sh " .. scratch .. "/build.sh")
end

local function check(block, expected)
    local promise = ("%s:%d (%s)"):format(block.page, block.line, block.words)
    local got, status = runners[block.words](block)
    if not got then
        t.skip(promise, status)
        return
    end
    local wanted = expected and expected.text or promised_by_comments(block.text)
    local fails = block.words == "lua fails"
    local kept = one_blank(got):find(pattern_of(one_blank(wanted))) ~= nil
        and math.type(status) == "integer" and (status ~= 0) == fails
    if not t.ok(kept, promise) then
        t.diag(("status %s; it printed:\n%s"):format(status, got))
        t.diag("the page says:\n" .. wanted)
    end
end

local pages = {}
for path in shell("cd " .. quoted(source) .. " && ls README*.md docs/*.md"):gmatch "[^\n]+" do
    pages[#pages + 1] = path
end

for _, page in ipairs(pages) do
    if page:find(filter, 1, true) then
        local text = markdown.read(source .. "/" .. page)
        local blocks = text.blocks
        if text.unfinished then
            t.ok(false, ("%s:%d ends"):format(page, text.unfinished))
        end
        for i, block in ipairs(blocks) do
            block.page = page
            local next_one = blocks[i + 1]
            local expected = next_one and next_one.words == "output" and next_one
            local kind = block.words:match "^%a*"
            if kind == "lua" or kind == "c" or kind == "sh" and expected then
                if runners[block.words] then
                    check(block, expected)
                else
                    t.ok(false, ("%s:%d is of a known kind: %s"):format(page, block.line, block.words))
                end
            end
        end
    end
end

t.done()
