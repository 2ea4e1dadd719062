-- The scripts once more, by stock lua: what is written for the program luamp runs there, too, with
-- the module luamp.short_names. See run.lua.
--
--     LUA=lua5.4 luamp tests/scripts/stock.lua [part of a script's name]

local lua = os.getenv "LUA" or "lua5.4"
local top = os.getenv "top_srcdir" or "."

package.path = ("%s/tests/?.lua;%s"):format(top, package.path)
local t = require "tap"

if not os.execute("command -v " .. lua .. " >/dev/null") then
    t.skip("the scripts by stock lua", "there is no " .. lua)
    t.done()
elseif not os.execute(lua .. " -e 'require [[luamp]]' 2>/dev/null") then
    t.skip("the scripts by stock lua", "the module luamp is not built")
    t.done()
else
    assert(loadfile(top .. "/tests/scripts/run.lua")) {
        command = lua .. " -l luamp.short_names", name = "lua", times = 1,
    }
end
