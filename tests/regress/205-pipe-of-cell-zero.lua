-- The search for a free object found number 0, whose handle means "none": among many pipes that were
-- made and dropped, one could not send.

local t = require "tap"

local good = 0
for i = 1, 2000 do
    local a, b = ipc.Pipe()
    if a.readable and a.writable and b.readable and b.writable then
        good = good + 1
    end
    if i % 2 == 0 then
        a:close()
    end
end
t.is(good, 2000, "all pipes have two directions")
t.done()
