-- What `make install` installs works from where it is, and `make uninstall` leaves nothing of it: in a
-- folder that stands for the system (DESTDIR).

local cli = require "host.cli"
local tap = require "tap"

local build = assert(os.getenv "top_builddir", "top_builddir must be the build tree")
local source = assert(os.getenv "top_srcdir", "top_srcdir must be the source tree")

-- The make that runs the tests is no parent of this one.
local function make(target)
    return cli.shell(("unset MAKEFLAGS MFLAGS MAKELEVEL; make -s -C %s %s DESTDIR=$PWD/root"):format(build,
        target))
end

local function installed()
    return cli.shell("cd root && find . ! -type d | sort").out
end

local done = make "install"
cli.ok(done.status == 0, "make install", done.out .. done.err)

local prefix = cli.shell("sed -n 's/^prefix=//p' " .. build .. "/luamp.pc").out:gsub("\n", "")
local files = installed()
local module = files:match "%./(%S+/lua/5%.4/luamp%.so)\n"
local shared = files:match "%./(%S+)/libluamp%.so\n"
local archive = files:match "%./(%S+)/libluamp%.a\n"
cli.ok(files:find "/pkgconfig/luamp%.pc\n" and files:find "/luamp%.h\n", "the header, and what pkg-config reads", files)

cli.expect("the program runs a script", cli.shell("root" .. prefix
    .. "/bin/luamp -e 'print(table.concat(pool.map(math.abs, {-1, -2}), [[ ]]))'"),
    {status = 0, out = "1 2\n", err = ""})

if not module then
    tap.skip("stock lua finds the module", "it is not built (--disable-shared)")
elseif not cli.has(cli.lua) then
    tap.skip("stock lua finds the module", "there is no " .. cli.lua)
elseif tap.is_sanitized() then
    tap.skip("stock lua finds the module", "it has no sanitizer")
else
    local line = [[local luamp = require "luamp" for _, name in ipairs {"process", "signal", "sync", "ipc", "pool", "thread"} do
        assert(luamp[name] == require("luamp." .. name)) assert(_G[name] == nil) end print(luamp._VERSION)]]
    cli.file("module.lua", line)
    cli.expect("stock lua finds the module, and it has all modules",
        cli.run_lua("module.lua", nil, "LUA_CPATH=$PWD/root/" .. module:gsub("luamp%.so$", "?.so")),
        {status = 0, out = cli.shell("cd " .. source .. " && build-aux/version").out .. "\n", err = ""})
end

-- Programs in C, built as pkg-config says; the file for it is made to say where the files lie now.

local compiler = (os.getenv "CC" or "cc") .. " " .. (os.getenv "SANITIZE_FLAGS" or "")

local function pkg_config(arguments)
    return "$(PKG_CONFIG_PATH=$PWD pkg-config " .. arguments .. " luamp)"
end

local function try(promise, text, flags, expected)
    cli.file("program.c", text)
    local built = cli.shell(compiler .. " -Wall program.c -o program " .. flags)
    if not tap.ok(built.status == 0, promise .. " is linked") then
        tap.diag(built.err)
        return
    end
    cli.expect("and runs", cli.shell("LD_LIBRARY_PATH=$PWD/root/" .. (shared or ".") .. " timeout -k 2 60 ./program"),
        {status = 0, out = expected, err = ""})
end

local embedding = cli.read(source .. "/examples/pool.c")
local whole = [[
#include <luamp.h>

int
main(int argc, char **argv)
{
    return luamp_main(argc, argv);
}
]]

if not cli.has "pkg-config" then
    tap.skip("programs in C", "there is no pkg-config")
else
    local root = cli.shell("pwd").out:match "%S+" .. "/root"
    cli.file("luamp.pc", (cli.read(build .. "/luamp.pc"):gsub("^prefix=", "%0" .. root)))
    if shared then
        try("a program with the shared library", embedding, pkg_config "--cflags --libs", "55\n")
    else
        tap.skip("a program with the shared library", "it is not built (--disable-shared)")
    end
    -- All of it static, the C library too: nothing of luamp or Lua is looked for when it runs.
    local lua = cli.shell("test -f $(pkg-config --variable=libdir lua5.4)/liblua5.4.a").status == 0
    if not archive or not lua then
        tap.skip("a static program", not archive and "libluamp.a is not built (--disable-static)"
            or "there is no liblua5.4.a")
    elseif (os.getenv "SANITIZE_FLAGS" or "") ~= "" then
        tap.skip("a static program", "sanitizers cannot be linked statically")
    else
        local flags = "-static " .. pkg_config "--cflags --libs --static" .. " 2>link.err"
        try("a static program", embedding, flags, "55\n")
        try("the whole program luamp, static,", whole, flags, "")
        cli.expect("it needs no library", cli.shell "readelf -d program | grep NEEDED", {out = ""})
        cli.expect("and runs scripts", cli.shell("./program " .. source .. "/scripts/pool/map.lua"),
            cli.run(source .. "/scripts/pool/map.lua"))
    end
end

local undone = make "uninstall"
cli.ok(undone.status == 0, "make uninstall", undone.out .. undone.err)
cli.ok(installed() == "", "and nothing is left", installed())

cli.done()
