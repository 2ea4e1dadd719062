-- To register a pool's metatable was the advice where a pool was to be sent. And one who had registered a class after
-- the pool was made was advised to register it, and not told by which line the object went.

local t = require "tap"

local p <close> = pool.Pool(1)
local r = p:apply_async(math.abs, {-1})
local here = "^[^:]*351[^:]*:%d+: "

t.raises(function() p:apply(function() p:close() end) end,
    here .. "cannot send f's upvalue 'p': a pool belongs to the process that made it$", "a pool stays")
t.raises(function() p:apply(print, {r}) end,
    here .. "cannot send args%[1%]: a pool's result belongs to the process that made the pool$", "a result, too")
t.raises(function() ipc.Queue():put {workers = p} end, here .. "cannot send value%.workers: a pool belongs to",
    "and in a queue")
t.raises(function() ipc.register_class("Pool", getmetatable(p)) end,
    here .. "cannot register class 'Pool': a pool belongs to the process that made it$", "it cannot be registered")

local Job = {}
Job.__index = Job
function Job:run(n) return n * self.n end
ipc.register_class("Job", Job)
local job = setmetatable({n = 3}, Job)
local late = here .. "cannot receive an object of class 'Job': the class is not known here; "
    .. "register it before the pool is made, so that its workers know it$"
t.raises(function() p:map(function(n) return job:run(n) end, {1, 2}) end, late, "a class of later, of a map")
t.raises(function() p:apply(function() return job:run(1) end) end, late, "of a call")
t.raises(function() p:apply_async(print, {job}):get() end, late, "of a result")
for _, list in ipairs {{1}, setmetatable({1}, {})} do
    t.raises(function() p:imap(function(n) return job:run(n) end, list)() end, late, "of an iterator")
end
t.is(p:apply(math.abs, {-4}), 4, "the pool goes on")
local known <close> = pool.Pool(1)
t.is(known:apply(function(n) return job:run(n) end, {2}), 6, "one that was made then has it")

t.done()
