-- The second message that could not be decoded here told no line: the first had left the thread's
-- buffer in use for ever, so that all messages after it took a slow way, on which the line got lost.

local t = require "tap"

local q = ipc.Queue()
process.spawn(function()
    local stranger = setmetatable({}, ipc.register_class("Stranger", {}))
    q:put_many {stranger, stranger}
end):join()
for i = 1, 2 do
    t.raises(function() q:get() end, "^[^:]*302[^:]*:%d+: cannot receive", "error " .. i .. " says where")
end
t.done()
