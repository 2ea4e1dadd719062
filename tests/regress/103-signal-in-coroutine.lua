-- A handler did not run while a coroutine computed: Lua's hooks are each coroutine's own.

local t = require "tap"

local n = 0
signal.signal(signal.SIGALRM, function() n = n + 1 end)
signal.setitimer(0.002, 0.002)
local deadline = process.monotonic() + 30
coroutine.wrap(function()
    coroutine.resume(coroutine.create(function()
        while n < 3 and process.monotonic() < deadline do end
    end))
end)()
signal.setitimer(0)
t.ok(n >= 3, "three times in a coroutine of a coroutine")

local q = ipc.Queue()
q:put {coroutine.resume, coroutine.wrap}
local got = q:get()
t.ok(got[1] == coroutine.resume and got[2] == coroutine.wrap, "its functions can be sent by name")

t.done()
