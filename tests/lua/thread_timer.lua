-- thread.Timer.

local t = require "tap"

local seen = ipc.Queue()

t.test("it calls the function once, after the time, with its arguments", function()
    local before = process.monotonic()
    local timer = thread.Timer(0.2, function(...)
        seen:put{process.monotonic(), thread.current_thread().name, table.pack(...)}
    end, {1, nil, 3, n = 3})
    t.is(timer:is_alive(), false, "not before the start")
    t.ok(timer:start() == timer, "start returns it")
    t.is(timer:is_alive(), true, "it waits")
    t.is({timer:join()}, {true}, "joined")
    local got = seen:get(false)
    t.ok(got and got[1] - before >= 0.2, "not too early")
    t.is(got[2], timer.name, "in a thread of its own")
    t.is(got[3], {1, nil, 3, n = 3}, "the arguments")
    t.is(seen:empty(), true, "once")
    timer:cancel()
    t.is(timer:is_alive(), false, "a cancel comes too late, and does nothing")
end)

t.test("a cancelled one never calls it, and ends at once", function()
    local called = ipc.Value("i", 0)
    local timer = thread.Timer(3600, function() called:add(1) end)
    timer:start()
    timer:cancel()
    t.is({timer:join(60)}, {true}, "it has ended")
    local before = thread.Timer(0, function() called:add(1) end)
    before:cancel()
    before:start():join()
    t.is(called.value, 0, "also when it is cancelled before the start")
end)

t.test("cancel works from another thread", function()
    local timer = thread.Timer(3600, function() seen:put("called") end)
    timer:start()
    thread.Thread{target = function(timer) timer:cancel() end, args = {timer}}:start():join()
    t.is({timer:join(60)}, {true}, "it has ended")
    t.is(seen:empty(), true, "without a call")
end)

t.test("0 and less do not wait; a fraction counts", function()
    for _, seconds in ipairs {0, -1, 0.001} do
        thread.Timer(seconds, function() seen:put(seconds) end):start():join()
        t.is(seen:get(false), seconds, tostring(seconds))
    end
end)

t.test("an error in it is a thread's failure", function()
    local timer = thread.Timer(0, error, {"no such luck"})
    timer.name = "alarm clock"
    t.is(timer.name, "alarm clock", "it can be named")
    timer.daemon = true
    t.is(timer.daemon, true, "and be a daemon")
end)

t.test("a wrong argument raises, and says what is wanted", function()
    t.raises(function() thread.Timer() end, "thread_timer.lua:%d+: thread.Timer takes a number of seconds",
        "nothing")
    t.raises(function() thread.Timer("1", print) end, "thread.Timer takes a number of seconds", "a string")
    t.raises(function() thread.Timer(1) end,
        "thread_timer.lua:%d+: thread.Timer takes a function as its second argument, not a nil",
        "no function")
    t.raises(function() thread.Timer(1, print, 2) end,
        "thread_timer.lua:%d+: thread.Timer takes a list of arguments", "no list")
    t.raises(function() thread.Timer.cancel() end, "'cancel' wants a thread to its left", "no colon")
end)

t.test("what cannot be sent is told by the names that it was given", function()
    local file = io.stdout
    t.raises(function() thread.Timer(1, print, {1, {log = file}}):start() end,
        "thread_timer.lua:%d+: cannot send args%[2%].log: a file handle belongs", "an argument")
    t.raises(function() thread.Timer(1, function() return file end):start() end,
        "cannot send f's upvalue 'file': a file handle belongs", "an upvalue of the function")
end)

t.test("it prints as what it is, and can be extended", function()
    local timer = thread.Timer(1, print)
    t.ok(tostring(timer):find '^Timer "Thread%-%d+" %(not started%)$', tostring(timer))
end)

t.done()
