-- A message that could not be decoded took those with it that get_many had taken before it.

local t = require "tap"

local q = ipc.Queue()

-- Puts the values between messages of a class that is known to their sender only.
local function put(...)
    process.spawn(function(...)
        local bad = setmetatable({}, ipc.register_class("Stranger", {}))
        for _, v in ipairs {...} do q:put(v == "bad" and bad or v) end
    end, ...):join()
end

put(1, 2, "bad", 3, "bad")
t.is(q:get_many(10), {1, 2}, "the list ends before the bad message")
t.is(ipc.wait({q}, 0), {q}, "the queue is ready")
t.raises(function() q:get_many(10) end, "^[^:]*301[^:]*:%d+: .*Stranger", "whose error the next call raises")
t.is(q:get_many(10), {3}, "once")
t.raises(function() q:get(false) end, "Stranger", "get does so, too")
t.is({q:get(false)}, {nil, "empty"}, "and then goes on")

put("bad", 1)
t.raises(function() q:get_many(10) end, "^[^:]*301[^:]*:%d+: .*Stranger", "a bad message that is the first raises")
t.is(q:get_many(10), {1}, "and nothing else is lost")

put(1, "bad")
t.is(q:get_many(10), {1}, "the list ends before a bad message that is the last")
t.raises(function() for _ in q:iter() do end end, "Stranger", "an iterator raises its error")
t.done()
