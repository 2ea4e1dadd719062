-- thread.Local.

local t = require "tap"

local seen = ipc.Queue()

t.test("each thread has fields of its own in it", function()
    local loc = thread.Local()
    loc.x = "main"
    local all = sync.Barrier(4)
    local list = {}
    for i = 1, 4 do
        list[i] = thread.Thread{target = function()
            local before = loc.x
            loc.x = i
            all:wait() -- all have written
            seen:put{i, before or "nothing", loc.x}
        end}:start()
    end
    local got = {}
    for _ = 1, 4 do
        local one = seen:get()
        got[one[1]] = {one[2], one[3]}
    end
    for _, th in ipairs(list) do th:join() end
    t.is(got, {{"nothing", 1}, {"nothing", 2}, {"nothing", 3}, {"nothing", 4}}, "four threads")
    t.is(loc.x, "main", "and the main one")
end)

t.test("it takes anything as key and value, since nothing is sent", function()
    local loc = thread.Local()
    local key, co = {}, coroutine.create(print)
    loc[key], loc[1], loc.file, loc.f = co, "one", io.stdout, print
    t.ok(loc[key] == co and loc[1] == "one" and loc.file == io.stdout and loc.f == print, "stored")
    loc[1] = nil
    t.is(loc[1], nil, "taken out")
    local n = 0
    for _ in pairs(loc) do n = n + 1 end
    t.is(n, 3, "pairs sees what is there")
    t.raises(function() loc[nil] = 1 end, "nil", "but nil is no key")
end)

t.test("two of them do not meet, and one is itself on both sides of a thread", function()
    local a, b = thread.Local(), thread.Local{name = "b"}
    a.x, b.x = 1, 2
    t.is({a.x, b.x}, {1, 2}, "two")
    t.ok(tostring(a):find '^Local "a"', "printed: " .. tostring(a))
    t.ok(tostring(b):find '^Local "b"', "printed: " .. tostring(b))
    thread.Thread{target = function(c)
        c.x = 3
        seen:put{a == c, a.x, b.x or "nothing"}
    end, args = {a}}:start():join()
    t.is(seen:get(), {true, 3, "nothing"}, "as upvalue and as argument it is the same")
    t.is({a.x, b.x}, {1, 2}, "unchanged here")
end)

t.test_of_forks("a child has what the thread that forked it had", function()
    local loc = thread.Local()
    loc.x = "main"
    process.spawn(function() seen:put(loc.x) end):join()
    t.is(seen:get(), "main", "of the main thread")
    thread.Thread{target = function()
        loc.x = "thread"
        process.spawn(function() seen:put(loc.x) end):join()
    end}:start():join()
    t.is(seen:get(), "thread", "of another")
end)

t.test("what a Local held is forgotten with it", function()
    local weak = setmetatable({}, {__mode = "v"})
    for i = 1, 20 do
        local loc = thread.Local{name = "x"}
        loc.x = {}
        weak[i] = loc.x
    end
    local again = 0
    repeat
        collectgarbage()
        local loc = thread.Local{name = "y"}
        loc.x = 1 -- a new one sweeps
        again = again + 1
        collectgarbage()
        local n = 0
        for _ in pairs(weak) do n = n + 1 end
    until n <= 1 or again == 10
    local n = 0
    for _ in pairs(weak) do n = n + 1 end
    t.ok(n <= 1, n .. " of 20 are left")
end)

t.test("it takes no arguments but a name", function()
    t.raises(function() thread.Local(1) end, "thread.Local takes at most 0 arguments", "one more")
    t.raises(function() thread.Local{nme = "x"} end,
        "unknown option 'nme' of thread.Local; did you mean 'name'", "misspelt")
end)

t.done()
