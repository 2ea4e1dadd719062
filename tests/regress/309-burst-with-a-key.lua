-- A listener has room for 64 handshakes. Of clients that came at once, the sixty-fifth threw out the
-- first, which was about to prove its key.

local t = require "tap"

local CLIENTS, LONG = 80, 60

local l = ipc.Listener("@luamp-309-" .. process.getpid(), {authkey = "key"})
local coming, got = ipc.Queue(), ipc.Queue()
for i = 1, CLIENTS do
    process.spawn(function()
        coming:put(i)
        local c, why = ipc.Client(l.address, {authkey = "key", timeout = LONG})
        got:put(c and c:recv() or why)
    end)
end
for _ = 1, CLIENTS do coming:get(LONG) end
process.sleep(0.3) -- most of them wait for an answer by now

local failures = {}
for i = 1, CLIENTS do
    local c, why = l:accept(LONG)
    if c then c:send(i) else failures[#failures + 1] = why end
end
t.is(failures, {}, "all are accepted")
local sum = 0
for _ = 1, CLIENTS do
    local what = got:get(LONG)
    if math.type(what) == "integer" then sum = sum + what end
end
t.is(sum, CLIENTS * (CLIENTS + 1) // 2, "and each has its connection")

t.done()
