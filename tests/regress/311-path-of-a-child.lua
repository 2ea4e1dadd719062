-- A child ends by _exit, and left the path of its listener behind.

local t = require "tap"

local path = os.tmpname()

local function is_there()
    local _, what = io.open(path)
    return what == nil or not what:find "No such file"
end

local ends = {
    ["a return"] = function() end,
    exit = function() process.exit(0) end,
}
for how, finish in pairs(ends) do
    os.remove(path)
    local made = ipc.Queue()
    local p = process.spawn(function()
        local listener, why = ipc.Listener(path)
        made:put(why or is_there())
        finish()
        return listener
    end)
    t.is(made:get(60), true, how .. ": it listens")
    p:join(60)
    t.ok(not is_there(), how .. ": the path is gone")
end

t.done()
