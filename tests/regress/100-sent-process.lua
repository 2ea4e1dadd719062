-- A process that was sent through a queue arrived as the main process: its slot was lost on the
-- way.

local t = require "tap"

local q, answers = ipc.Queue(), ipc.Queue()
local p = process.spawn(function() process.sleep(600) end)
local other = process.spawn(function()
    local sent = q:get()
    sent:kill()
    answers:put {sent:join(30), sent:is_alive()}
end)
q:put(p)
t.is(answers:get(60), {true, false}, "it can be killed and joined where it arrives")
t.is(p:join(30), true, "it is the one that was sent")
other:join()

t.done()
