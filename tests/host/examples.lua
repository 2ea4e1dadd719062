-- The programs of examples/: each is compiled as pkg-config says, as C and as C++, without a warning, and
-- prints what it is to print. In a build with sanitizers they are compiled with them, too.

local cli = require "host.cli"
local tap = require "tap"

local build = assert(os.getenv "top_builddir", "top_builddir must be the build tree")
local source = assert(os.getenv "top_srcdir", "top_srcdir must be the source tree")

if not cli.has "pkg-config" then
    tap.skip("the programs of examples/", "there is no pkg-config")
    cli.done()
    return
elseif cli.shell("ls " .. build .. "/.libs/libluamp.so").status ~= 0 then
    tap.skip("the programs of examples/", "there is no shared library")
    cli.done()
    return
end

local programs = {
    {"pool", "55\n"},
    {"producer", {"LOCKS", "POOLS", "QUEUES", "THREADS"}},
    {"threads", "500500\n"},
    {"loop", "false\n3 messages, and an interrupt\n"},
}

local flags = "-Wall -Wextra -pedantic -Werror " .. (os.getenv "SANITIZE_FLAGS" or "")
local libraries = ("-I%s/src -L%s/.libs $(PKG_CONFIG_PATH=%s pkg-config --cflags --libs luamp) -pthread")
    :format(source, build, build)

-- The lines that it printed, sorted: workers answer in any order.
local function sorted(text)
    local lines = {}
    for line in text:gmatch "[^\n]+" do
        lines[#lines + 1] = line
    end
    table.sort(lines)
    return table.concat(lines, " ")
end

local function try(compiler, language, name, expected)
    local built = cli.shell(("%s %s %s/examples/%s.c -o %s %s"):format(compiler, flags, source, name,
        name, libraries))
    if not cli.ok(built.status == 0, ("%s compiles as %s"):format(name, language), built.err) then
        return
    end
    local ran = cli.shell(("LD_LIBRARY_PATH=%s/.libs timeout -k 2 60 ./%s"):format(build, name))
    local kept = ran.status == 0 and ran.err == ""
    if type(expected) == "table" then
        kept = kept and sorted(ran.out) == table.concat(expected, " ")
    else
        kept = kept and ran.out == expected
    end
    cli.ok(kept, ("and runs: %s in %s"):format(name, language),
        ("status %s\n%s%s"):format(ran.status, ran.out, ran.err))
end

local c = (os.getenv "CC" or "cc") .. " -std=c11"
for _, program in ipairs(programs) do
    local name, expected = table.unpack(program)
    try(c, "C", name, expected)
    if cli.has "g++" then
        try("g++ -std=c++17 -x c++", "C++", name, expected)
    else
        tap.skip(name .. " in C++", "there is no g++")
    end
    local lines = 0
    for _ in io.lines(source .. "/examples/" .. name .. ".c") do
        lines = lines + 1
    end
    cli.ok(lines < 80, name .. " is short")
end

cli.done()
