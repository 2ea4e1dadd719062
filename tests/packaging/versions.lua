-- The version has one place, src/luamp.h: all else that states it follows. And all that state a licence
-- state the same one.

local cli = require "host.cli"
local tap = require "tap"

local build = assert(os.getenv "top_builddir", "top_builddir must be the build tree")
local source = assert(os.getenv "top_srcdir", "top_srcdir must be the source tree")

local version = cli.shell("cd " .. source .. " && build-aux/version").out
cli.ok(version:find "^%d+%.%d+%.%d+$", "the header states a version", version)

cli.ok(cli.read(build .. "/luamp.pc"):match "\nVersion: (%S+)\n" == version, "pkg-config's is that one")
cli.ok(cli.read(source .. "/NEWS"):match "\n\n(%d[%d.]*)," == version, "the latest news are of that one")
cli.ok(cli.read(source .. "/debian/changelog"):match "^luamp %((%S+)%-[%w.~+]+%) " == version,
    "Debian's packages are of that one")

local rockspecs = cli.shell("cd " .. source .. " && ls *.rockspec").out
local name = rockspecs:match "^luamp%-(%S+)%-%d+%.rockspec\n$"
cli.ok(name == version, "there is one rockspec, of that one", rockspecs)
local rock = {}
assert(load(cli.read(source .. "/" .. rockspecs:match "%S+"), "rockspec", "t", rock))()
cli.ok(rock.version:match "^(.*)%-%d+$" == version, "and it says so itself", rock.version)
cli.ok(rock.source.dir == "luamp-" .. version and rock.source.url:find(rock.source.dir .. ".tar.gz", 1, true),
    "and is built from the archive of that one", rock.source.url)
if cli.has "luarocks" then
    local lint = cli.shell("luarocks --lua-version=5.4 lint " .. source .. "/" .. rockspecs:match "%S+")
    cli.ok(lint.status == 0, "luarocks cli.has nothing to say against it", lint.out .. lint.err)
else
    tap.skip("luarocks cli.has nothing to say against it", "there is no luarocks")
end

local licence = cli.read(source .. "/LICENSE")
cli.ok(licence:find "^MIT License\n", "the licence is MIT")
cli.ok(rock.description.license == "MIT", "the rock's is, too")
local copyright = cli.read(source .. "/debian/copyright")
local text = copyright:match "\nLicense: MIT\n( .*)$"
local expected = licence:match "\n\n(Permission.*)$":gsub("[^\n]+", " %0"):gsub("\n\n", "\n .\n")
cli.ok(text == expected:gsub("\n\n", "\n .\n"), "and the packages', word for word", text)
cli.ok(copyright:match "\nCopyright: ([^\n]+)" == licence:match "Copyright %(c%) ([^\n]+)",
    "by the same authors")

cli.done()
