-- A float with an integer's value, and a string of digits, were numbers for some functions and not for others.

local t = require "tap"

local lock, queue, event = sync.Lock(), ipc.Queue(), sync.Event()
local semaphore, list, value = sync.Semaphore(5), ipc.List {1, 2}, ipc.Value "i"
local array, condition = ipc.Array("i", 3), sync.Condition()
local memory = ipc.SharedMemory {create = true, size = 8.0}
memory:unlink()
condition:acquire()
queue:put_many {1, 2, 3, 4}
local address = "@luamp-342-" .. process.getpid()

for name, call in pairs {
    ["ipc.Queue"] = function(n) return ipc.Queue(n) end,
    ["sync.Semaphore"] = function(n) return sync.Semaphore(n) end,
    ["sync.Barrier"] = function(n) return sync.Barrier(n) end,
    ["its timeout"] = function(n) return sync.Barrier(2, nil, n) end,
    ["ipc.Array"] = function(n) return ipc.Array("i", n == "1" and "i" or n) end,
    ["release"] = function(n) semaphore:release(n) end,
    ["notify"] = function(n) condition:notify(n) end,
    ["get_many"] = function(n) return queue:get_many(n) end,
    ["pop"] = function(n) return list:pop(n) end,
    ["an index of a List"] = function(n) list[n] = 1 end,
    ["add"] = function(n) value:add(n) end,
    ["totable"] = function(n) return array:totable(n) end,
    ["set"] = function(n) array:set(n, {1}) end,
    ["read"] = function(n) return memory:read(n) end,
    ["max_message"] = function(n) ipc.Listener(address, {max_message = n}):close() end,
    ["signal.strsignal"] = function(n) return signal.strsignal(n) end,
    ["a time to wait"] = function(n) return event:wait(n == 1.0 and 0 or n) end,
    ["block"] = function(n) lock:acquire(n) lock:release() end,
    ["timeout"] = function(n) lock:acquire(true, n) lock:release() end,
    ["sleep"] = function(n) process.sleep(n == 1.0 and 0.0 or n) end,
} do
    t.ok(pcall(call, 1.0), name .. " takes 1.0")
    t.raises(function() call "1" end, name == "block" and "number of seconds expected" or "string", name .. " takes no string")
end

t.ok(pcall(signal.kill, process.getpid(), 0.0), "signal 0.0 is 0")
local listener = ipc.Listener({"127.0.0.1", 0.0}, {max_message = 300e6 // 1})
t.ok(listener, "so is a port")
t.is(ipc.wait({listener:fileno() + 0.0}, 0), {}, "and a descriptor")
t.raises(function() ipc.Listener(address, {max_message = 1.5}) end,
    "option 'max_message' of ipc.Listener: an integer expected, got number", "but 1.5 is none")
t.done()
