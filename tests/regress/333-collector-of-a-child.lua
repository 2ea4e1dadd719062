-- No finalizer runs while a process is started. In the child they run, and its garbage is collected.

local t = require "tap"

local function collects()
    local is_collected = false
    setmetatable({}, {__gc = function() is_collected = true end})
    local before = collectgarbage "count"
    repeat
        local _ = {}
    until is_collected or collectgarbage "count" > 8 * before + (1 << 16)
    return is_collected
end

local q = ipc.Queue()
local function child() q:put(collects()) end
process.spawn(child)
t.is(q:get(60), true, "of a child")
process.spawn(process.spawn, child)
t.is(q:get(60), true, "of a child's child")
t.is(pool.Pool(1):apply(collects), true, "of a worker")
thread.Thread {target = process.spawn, args = {child}}:start()
t.is(q:get(60), true, "of a child of a thread")
t.ok(collects(), "and of the one that started them")
t.done()
