-- A release of more permits than can be released gave back some of them before it raised.

local t = require "tap"

local b = sync.BoundedSemaphore(3)
b:acquire()
t.raises(function() b:release(2) end, "this thread holds 1", "two of one")
t.is(b:get_value(), 2, "none was given back")
local s = sync.Semaphore((1 << 30) - 2)
t.raises(function() s:release(2) end, "it has room for 1", "two into one place")
t.is(s:get_value(), (1 << 30) - 2, "none was added")
t.done()
