-- Mistakes that were ignored, or told in words that did not help.

local t = require "tap"

signal.signal(signal.SIGALRM, function() error("it waits", 0) end)
signal.alarm(60)

local function fails(name, f, message)
    local ok, why = pcall(f)
    why = not ok and why:match "^.-343[^:]*:%d+: (.*)$"
    t.is(why, message, name)
end

local lock, queue, dict, list = sync.Lock(), ipc.Queue(), ipc.Dict(), ipc.List {1}
local a, b = ipc.Pipe()

-- A timeout where there is none.
fails("recv", function() a:recv(0.1) end, "recv takes no timeout; wait with c:poll(0.1) first")
fails("not a number", function() a:recv {timeout = 1} end,
    "recv takes no timeout; wait with c:poll(seconds) first")
fails("recv_bytes", function() a:recv_bytes(0.1) end,
    "recv_bytes takes no timeout; wait with c:poll(0.1) first")
fails("behind the greatest length", function() a:recv_bytes(10, 2) end,
    "recv_bytes takes no timeout; wait with c:poll(2) first")
b:send "x"
t.is(a:recv(nil), "x", "nil is no argument")
fails("iter", function() for _ in queue:iter(1) do end end,
    "iter takes no timeout: it waits until the queue is closed; get takes one")
fails("pause", function() signal.pause(1) end,
    "pause takes no timeout; to wait for a time, use process.sleep, or set signal.alarm before")

-- What has happened before.
fails("put_many", function() queue:put_many {1, io.stdout, 3} end,
    "cannot send list[2]: a file handle belongs to its process; what stands before it was put")
t.is(queue:qsize(), 1, "it was put")

-- Which one it is.
fails("of a list for an Array", function() ipc.Array("i", {1, nil, 3}) end,
    "item 2: a number expected for typecode 'i', got nil")
fails("in set", function() ipc.Array("?", 5):set(3, {true, 0}) end,
    "item 2: a boolean expected for typecode '?', got number")
fails("the 2000th", function()
    local long = table.move({}, 1, 0, 1)
    for i = 1, 2000 do long[i] = i end
    long[2000] = 1 << 40
    ipc.Array("i", long)
end, "item 2000: 1099511627776 does not fit typecode 'i': an integer from -2147483648 to 2147483647 expected")
fails("a key", function() dict.f = io.stdout end,
    'cannot send value: a file handle belongs to its process; it is for the key "f"')
fails("another key", function() ipc.Dict {[5] = {io.stdout}} end,
    "cannot send value[1]: a file handle belongs to its process; it is for the key 5")
fails("an item", function() list[1] = io.stdout end,
    "cannot send value: a file handle belongs to its process; it is for the item 1")
fails("of a new List", function() ipc.List {1, 2, {io.stdout}} end,
    "cannot send value[1]: a file handle belongs to its process; it is for the item 3")
fails("append", function() list:append(io.stdout) end,
    "cannot send value: a file handle belongs to its process")

-- What there is instead.
fails("an option", function() sync.Semaphore {value = 3} end,
    "unknown option 'value' of sync.Semaphore; there are 'n' and 'name'")
fails("an option of none", function() sync.Lock {maxsize = 3} end,
    "unknown option 'maxsize' of sync.Lock; there is 'name'")
fails("a name", function() ipc.Value("i", 0, {name = "z"}) end,
    "ipc.Value takes at most 2 arguments, not 3; a name goes into one table with them: " ..
    "ipc.Value{typecode = ..., init = ..., name = ...}")
fails("a name alone", function() sync.Lock "z" end,
    "sync.Lock takes at most 0 arguments, not 1; a name goes into a table: sync.Lock{name = ...}")
fails("what is no name", function() sync.Lock(1) end, "sync.Lock takes at most 0 arguments, not 1")
fails("a field", function() lock.foo = 1 end, "a Lock has no fields to set, such as 'foo'")
fails("of another class", function() sync.Event()[1] = 1 end, "an Event has no fields to set, such as '1'")
a:send_bytes "abc"
fails("recv of bytes", function() b:recv() end,
    "malformed message: it goes on after its end; what send_bytes sent is read by recv_bytes")
local listener = ipc.Listener("@luamp-343-" .. process.getpid())
local p = process.spawn(function() listener:accept():send_bytes "abc" end)
t.is({ipc.Client(listener.address):recv()},
    {nil, "malformed message: it goes on after its end; what send_bytes sent is read by recv_bytes"}, "by a socket")
p:join()

-- What was given.
fails("a class", function() sync.Condition(sync.Semaphore(1)) end,
    "bad argument #1 to 'Condition' (Lock or RLock expected, got Semaphore)")
fails("an object as an option", function() ipc.Queue {maxsize = lock} end,
    "option 'maxsize' of ipc.Queue: an integer expected, got Lock")
fails("no colon", function() lock.release() end,
    "'release' wants a Lock to its left; call it with a colon: x:release(...)")
fails("another object", function() lock.release(sync.Event()) end,
    "'release' wants a Lock to its left, not an Event; call it with a colon: x:release(...)")
local condition = sync.Condition()
condition:acquire()
fails("a value for a predicate", function() condition:wait_for(true, 0) end,
    "bad argument #1 to 'wait_for' (function expected, got boolean)")
t.is(condition:wait_for(setmetatable({}, {__call = function() return 5 end}), 0), 5, "what can be called is one")

local jobs = ipc.JoinableQueue()
jobs:put_many {1, 2}
t.is(tostring(jobs), 'JoinableQueue "jobs" (2, 2 not done)', "how many are not done")
jobs:get()
jobs:get()
jobs:task_done()
t.is(tostring(jobs), 'JoinableQueue "jobs" (0, 1 not done)', "also of those that were got")
jobs:task_done()
t.is(tostring(jobs), 'JoinableQueue "jobs" (0)', "all done")
t.done()
