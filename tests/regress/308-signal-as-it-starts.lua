-- A handler that raised just after a process or a thread was started left it unknown: it could not be
-- joined, and the end of the program did not wait for it.
local t = require "tap"

local stop = sync.Event()
local main = process.getpid()
signal.signal(signal.SIGUSR1, function() error("by signal", 0) end)

local function disturb_and_wait()
    signal.kill(main, signal.SIGUSR1)
    stop:wait()
end

local wrong = {}
for i = 1, 40 do
    stop:clear()
    local member = i % 2 == 0 and thread.Thread{target = disturb_and_wait}
        or process.Process{target = disturb_and_wait}
    local ok, why = pcall(function()
        member:start()
        member:join()
    end)
    if ok or why ~= "by signal" then wrong[#wrong + 1] = tostring(why) end
    stop:set()
    local joined, reason = pcall(member.join, member)
    if not joined then wrong[#wrong + 1] = reason end
end
t.is(wrong, {}, "whoever was started can be joined")
t.done()
