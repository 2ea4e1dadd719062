-- What acquire or release raised inside of `with` had no line; and an error of the function was lost when
-- the function had released the lock itself.

local t = require "tap"

local lock = sync.Lock{name = "l"}
lock:acquire()
t.raises(function() lock:with(print) end, "200%-with%-tells%-the%-line.lua:%d+: deadlock", "acquire's")
lock:release()
t.raises(function() lock:with(lock.release, lock) end,
    '200%-with%-tells%-the%-line.lua:%d+: cannot release Lock "l": it is not held', "release's")
t.raises(function()
    lock:with(function()
        lock:release()
        error("mine")
    end)
end, "mine", "the function's own comes first")
t.done()
