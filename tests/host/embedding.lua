-- What is built beside the host: the library, the module for stock lua, and modules in C in the
-- host.

local cli = require "host.cli"
local tap = require "tap"

local build = assert(os.getenv "top_builddir", "top_builddir must be the build tree")
local source = assert(os.getenv "top_srcdir", "top_srcdir must be the source tree")

if cli.shell("test -f " .. build .. "/.libs/luamp.so").status ~= 0 then
    tap.skip("the library and the modules", "no shared library is built (--disable-shared)")
    cli.done()
    return
end

cli.expect("the host gives modules in C Lua's functions",
    cli.run "-e 'print(require \"probe\".add(1, 2))'",
    {status = 0, out = "3\n", err = ""})

for _, name in ipairs {"luamp", "luamp.process", "luamp.signal", "luamp.sync", "luamp.ipc",
    "luamp.pool"} do
    cli.expect("stock lua can require " .. name,
        cli.run_lua("-e 'print(type(require \"" .. name .. "\"), process, sync)'"),
        {status = 0, out = "table\tnil\tnil\n", err = ""})
end

local function exported(library)
    local names = {}
    local listing = cli.shell("nm -D --defined-only " .. build .. "/.libs/" .. library).out
    for name in listing:gmatch "(%S+)\n" do
        names[#names + 1] = name
    end
    table.sort(names)
    return table.concat(names, " ")
end

local public = exported "libluamp.so"
for _, name in ipairs {"luamp_main", "luamp_openlibs", "luamp_version", "luaopen_luamp"} do
    cli.ok(public:find(name, 1, true), "the library exports " .. name, public)
end
local rest = public:gsub("luaopen_luamp[%w_]*", ""):gsub("luamp_[%w_]+", "")
    :gsub("amp_public_[%w_]+", "")
cli.ok(not rest:find "%S", "and nothing that is not public", rest)

-- All that the header declares, and so a program can call.
local header = io.open(source .. "/src/luamp.h"):read "a":gsub("/%*.-%*/", "")
local missing = {}
for name in header:gmatch "LUAMP_API [%w_ ]-%*?(lua[%w_]+)%(" do
    if not (" " .. public .. " "):find(" " .. name .. " ", 1, true) then
        missing[#missing + 1] = name
    end
end
cli.ok(#missing == 0, "every function of the header is exported", table.concat(missing, " "))

-- The layers: no Lua below the modules.
for _, layer in ipairs {"core", "capi"} do
    local undefined = cli.shell(("nm -u %s/.libs/lib%s.a"):format(build, layer))
    cli.ok(undefined.status == 0 and not undefined.out:find "U lua_" and not undefined.out:find "U luaL_",
        "no function of Lua's is used in src/" .. layer)
end
local module = exported "luamp.so"
cli.ok(module:find "luaopen_luamp" and not module:gsub("luaopen_luamp[%w_]*", ""):find "%S",
    "the module exports its openers only", module)
local needed = cli.shell("readelf -d " .. build .. "/.libs/luamp.so").out
cli.ok(needed:find "libc%.so" and not needed:find "liblua",
    "the module brings no Lua of its own", needed)

local compiler = os.getenv "CC" or "cc"
cli.file("header.c", '#include "luamp.h"\n#if LUAMP_VERSION_NUM < 100\n#error version\n#endif\n'
    .. "const char *version = LUAMP_VERSION;\n")
cli.expect("the header is plain C",
    cli.shell(compiler .. " -std=c99 -pedantic -Wall -Wextra -Werror -I" .. source .. "/src "
        .. (os.getenv "LUA_CFLAGS" or "") .. " -c header.c"),
    {status = 0, out = "", err = ""})
if cli.shell("command -v g++").status == 0 then
    cli.expect("and plain C++",
        cli.shell("g++ -x c++ -std=c++17 -pedantic -Wall -Wextra -Werror -I" .. source .. "/src "
            .. (os.getenv "LUA_CFLAGS" or "") .. " -c header.c"),
        {status = 0, out = "", err = ""})
end
local stated = cli.shell("cd " .. source .. " && build-aux/version").out
cli.ok(cli.run("--version").out:match "^luamp (%S+)" == stated,
    "the program's version is the header's", stated)

cli.done()
