-- Single tasks: apply, apply_async and their results.

local t = require "tap"

local p = pool.Pool(2)

t.test("apply gives what the function returned", function()
    t.is({p:apply(function(a, b) return a + b end, {2, 3})}, {5}, "one value")
    t.is(table.pack(p:apply(function() return 1, nil, 3, nil end)), {1, nil, 3, nil, n = 4},
        "several, nils too")
    t.is(select("#", p:apply(function() end)), 0, "none")
    t.is(p:apply(function() return {a = {1, 2}} end), {a = {1, 2}}, "a table")
    t.is(p:apply(string.upper, {"x"}), "X", "a library function")
end)

t.test("args is a list whose n is honoured, and kwargs comes after it", function()
    local function all(...) return select("#", ...), ... end
    t.is({p:apply(all)}, {0}, "none")
    t.is({p:apply(all, {1, 2})}, {2, 1, 2}, "two")
    t.is(table.pack(p:apply(all, {n = 3})), {3, nil, nil, nil, n = 4}, "nils")
    t.is({p:apply(all, {1}, {key = 5})}, {2, 1, {key = 5}}, "kwargs")
    t.is({p:apply(all, nil, {key = 5})}, {1, {key = 5}}, "kwargs alone")
end)

t.test("callbacks in the place of kwargs are told where they go", function()
    for _, kwargs in ipairs {{callback = print}, {callback = print, error_callback = print}} do
        t.raises(function() p:apply_async(print, {1}, kwargs) end,
            "pool_apply.lua:%d+: apply_async takes callbacks after the kwargs: p:apply_async%(f, args, nil, callback",
            "they raise")
    end
    local function count(options)
        local n = 0
        for _ in pairs(options) do n = n + 1 end
        return n
    end
    t.is(p:apply_async(count, {}, {}):get(), 0, "kwargs without any are none")
    t.is(p:apply_async(count, {}, {callback = print, n = 1}):get(), 2, "nor with something else")
    t.is(p:apply_async(count, {}, {callback = 5}):get(), 1, "nor one that is no function")
    t.is(p:apply_async(count, {}, {callback = print}, function() end):get(), 1, "nor where there is one")
end)

t.test("any function can be a task", function()
    local upvalue = {3}
    local function closure(x) return x + upvalue[1] end
    t.is(p:apply(closure, {1}), 4, "a closure made after the pool")
    upvalue[1] = 10
    t.is(p:apply(closure, {1}), 11, "its upvalues are those of now")
    function a_global_of_the_test(x) return -x end
    t.is(p:apply(function(f, x) return f(x) end, {a_global_of_the_test, 5}), -5,
        "a function as an argument")
    local function recursive(n) return n < 2 and n or recursive(n - 1) + recursive(n - 2) end
    t.is(p:apply(recursive, {15}), 610, "a recursive one")
end)

t.test("tasks run in worker processes, at once", function()
    local b = sync.Barrier(2)
    local a, c = p:apply_async(function() b:wait() return process.getpid() end),
        p:apply_async(function() b:wait() return process.getpid() end)
    local one, other = a:get(30), c:get(30)
    t.ok(one ~= other and one ~= process.getpid() and other ~= process.getpid(), "two others")
    t.is(p:apply(function() return process.current_process().daemon end), true, "which are daemons")
    t.ok(p:apply(function() return process.current_process().name end):find "^PoolWorker%-%d+$",
        "with names")
end)

t.test("apply_async gives a result at once", function()
    local e = sync.Event()
    local r = p:apply_async(function(x) e:wait() return x, x + 1 end, {7})
    t.is(r:ready(), false, "not ready")
    t.is({r:get(0)}, {nil, "timeout"}, "get(0) does not wait")
    t.is({r:get(0.02)}, {nil, "timeout"}, "get gives up after its timeout")
    t.is({r:wait(0.02)}, {false, "timeout"}, "so does wait")
    t.raises(function() r:successful() end, "pool_apply.lua:%d+: .*not ready",
        "successful raises before")
    t.is(tostring(r), "AsyncResult (pending)", "it prints")
    e:set()
    t.is({r:wait(30)}, {true}, "wait")
    t.is({r:ready(), r:successful(), r:traceback()}, {true, true, nil}, "ready and successful")
    t.is({r:get()}, {7, 8}, "get")
    t.is({r:get(0)}, {7, 8}, "again")
end)

t.test("ready becomes true by itself", function()
    local r = p:apply_async(function() end)
    local deadline = process.monotonic() + 30
    while not r:ready() and process.monotonic() < deadline do process.sleep(0.001) end
    t.is(r:ready(), true, "without a get")
end)

t.test("get raises the function's error, with its own value", function()
    t.raises(function() p:apply(function() error "went wrong" end) end,
        "pool_apply.lua:%d+: went wrong$", "a string keeps its line")
    t.raises(function() p:apply(function() error("plain", 0) end) end, "^plain$", "a plain string")
    local ok, e = pcall(p.apply, p, function() error {code = 5} end)
    t.is({ok, e}, {false, {code = 5}}, "a table stays a table")
    ok, e = pcall(p.apply, p, function() error(42) end)
    t.is({ok, e}, {false, 42}, "a number stays a number")
    ok, e = pcall(p.apply, p, function() error() end)
    t.is({ok, e}, {false, nil}, "nil stays nil")
    ok, e = pcall(p.apply, p, function() error(true) end)
    t.is({ok, e}, {false, true}, "a boolean")
end)

t.test("an error that cannot be sent arrives as its text", function()
    local ok, e = pcall(p.apply, p, function()
        error(setmetatable({}, {__tostring = function() return "as text" end}))
    end)
    t.is({ok, e}, {false, "as text"}, "by __tostring")
    ok, e = pcall(p.apply, p, function() error(io.stdout) end)
    t.ok(not ok and type(e) == "string" and e:find "^file %(", "or as what it is: " .. tostring(e))
    ok, e = pcall(p.apply, p, function() error {code = 5, log = io.stdout} end)
    t.is({ok, e}, {false, "(error object is a table value; cannot send error.log: a file handle belongs to its process)"},
        "a table, with why it could not be sent")
    ok, e = pcall(p.map, p, function() error {log = io.stdout} end, {1})
    t.is({ok, e}, {false, "(error object is a table value; cannot send error.log: a file handle belongs to its process)"},
        "in a map, too")
    ok, e = pcall(p.apply, p, function()
        error(setmetatable({}, {__tostring = function() error "again" end}))
    end)
    t.ok(not ok and type(e) == "string", "even if __tostring fails: " .. tostring(e))
end)

t.test("a class's object as an error keeps its class", function()
    local class = {__tostring = function(self) return "E" .. self.code end}
    class.__index = class
    function class:get() return self.code end
    ipc.register_class("pool_apply.class", class)
    local fresh <close> = pool.Pool(1)
    local ok, e = pcall(fresh.apply, fresh, function() error(setmetatable({code = 6}, class)) end)
    t.is({ok, getmetatable(e) == class, e:get()}, {false, true, 6}, "and its methods")
end)

t.test("the result of a failed task", function()
    local function inner() error "deep" end
    local r = p:apply_async(function() inner() end)
    r:wait()
    t.is({r:ready(), r:successful()}, {true, false}, "is ready, and not successful")
    t.ok(r:traceback():find "pool_apply.lua:%d+: deep\nstack traceback:.*inner",
        "has the worker's traceback")
    t.raises(function() r:get() end, "deep", "get raises")
    t.raises(function() r:get() end, "deep", "again")
    t.is(tostring(r), "AsyncResult (failed)", "it prints")
end)

t.test("a stack overflow is an error of its task", function()
    local function f() return 1 + f() end
    t.raises(function() p:apply(f) end, "stack overflow", "it arrives")
    t.is(p:apply(function() return "fine" end), "fine", "the worker goes on")
end)

t.test("so is a string that is too large", function()
    t.raises(function() p:apply(function() return ("x"):rep(1 << 62) end) end, ".", "it arrives")
    t.is(p:apply(function() return "fine" end), "fine", "the worker goes on")
end)

t.test("a result that cannot be sent is an error of its task", function()
    t.raises(function() p:apply(function() return {file = io.stdout} end) end,
        "cannot send result.*file.*a file handle belongs to its process", "it names what")
    t.raises(function() p:apply(function() return coroutine.create(print) end) end,
        "cannot send result", "a coroutine")
    t.is(p:apply(function() return "fine" end), "fine", "the worker goes on")
end)

t.test("a task that cannot be sent raises at once, and nothing is lost", function()
    t.raises(function() p:apply(print, {io.stdout}) end, "cannot send args.*a file handle belongs",
        "an argument")
    local file = io.stdout
    t.raises(function() p:apply_async(function() return file end) end, "cannot send .*file",
        "an upvalue")
    t.ok(tostring(p):find "0 tasks", "no task is pending: " .. tostring(p))
    t.is(p:apply(function() return "fine" end), "fine", "the pool goes on")
end)

t.test("callbacks run in this process, before get returns", function()
    local pid = process.getpid()
    local got, pid_there
    local r = p:apply_async(function() return 1, 2 end, {}, nil, function(...)
        got, pid_there = {...}, process.getpid()
    end, function() got = "error" end)
    r:get()
    t.is({got, pid_there}, {{1, 2}, pid}, "the callback, with all results")
    r = p:apply_async(function() error {code = 1} end, {}, nil, function() got = "no" end,
        function(e) got = e end)
    pcall(r.get, r)
    t.is(got, {code = 1}, "the error callback, with the error")
end)

t.test("a callback may give the pool another task", function()
    local second
    local r = p:apply_async(function() return 1 end, {}, nil, function(x)
        second = p:apply_async(function(y) return y + 1 end, {x})
    end)
    r:get()
    t.is(second:get(30), 2, "which runs")
    local third
    p:apply_async(function() return 1 end, {}, nil, function(x)
        third = p:apply(function(y) return y + 2 end, {x})
    end):get()
    t.is(third, 3, "and may wait for it")
end)

t.test("callbacks are those of the results that came, one for each", function()
    local sum, results = 0, {}
    for i = 1, 100 do
        results[i] = p:apply_async(function(x) return x end, {i}, nil,
            function(x) sum = sum + x end)
    end
    for _, r in ipairs(results) do r:get() end
    t.is(sum, 5050, "each once")
end)

t.test("luamp's objects are shared with the tasks", function()
    local v, q, l = ipc.Value("i", 0), ipc.Queue(), sync.Lock()
    local results = {}
    for i = 1, 20 do
        results[i] = p:apply_async(function()
            l:with(function() v.value = v.value + 1 end)
            q:put(i)
        end)
    end
    for _, r in ipairs(results) do r:get() end
    t.is(v.value, 20, "a value and a lock")
    t.is(q:qsize(), 20, "a queue")
    t.is(p:apply(function() return q end), q, "an object comes back as the same")
end)

t.test("large arguments and results arrive", function()
    local s = ("x"):rep(3 << 20)
    t.ok(p:apply(function(x) return x .. "y" end, {s}) == s .. "y", "three megabytes")
end)

t.test("a worker keeps its globals from one task to the next", function()
    local one <close> = pool.Pool(1)
    one:apply(function() kept_by_worker = 5 end)
    t.is(one:apply(function() return kept_by_worker end), 5, "it does")
    t.is(kept_by_worker, nil, "they are its own")
end)

t.test("a task may start processes", function()
    t.is(p:apply(function()
        local q = ipc.Queue()
        local child = process.spawn(function()
            process.spawn(function() q:put "grandchild" end):join()
        end)
        child:join()
        return q:get(0)
    end), "grandchild", "and they theirs")
end)

t.test("a task may use a pool of its own", function()
    t.is(p:apply(function()
        local inner <close> = pool.Pool(2)
        return inner:map(function(x) return x * 2 end, {1, 2, 3})
    end), {2, 4, 6}, "and get its results")
end)

-- Wrong calls.
local here = "pool_apply.lua:%d+: "
for _, case in ipairs {
    {"apply without a function", function() p:apply(5) end,
        here .. "apply wants a function, not a number"},
    {"apply_async without a function", function() p:apply_async() end,
        here .. "apply_async wants a function"},
    {"args that are no list", function() p:apply(print, 5) end, here .. ".*list.*number"},
    {"kwargs that are no table", function() p:apply(print, {}, 5) end,
        here .. ".*kwargs.*table.*number"},
    {"a callback that is no function", function() p:apply_async(print, {}, nil, 5) end,
        here .. ".*callback.*function.*number"},
    {"an error callback that is no function", function() p:apply_async(print, {}, nil, nil, 5) end,
        here .. ".*error_callback.*function.*number"},
    {"a method called with a dot", function() p.apply(print) end, here .. ".*colon"},
    {"a timeout that is no number", function() p:apply_async(function() end):get "x" end,
        here .. ".*number"},
    {"an option that is misspelt", function() pool.Pool {proceses = 2} end,
        here .. ".*'proceses'.*did you mean 'processes'"},
    {"an option of a wrong type", function() pool.Pool {processes = "2"} end,
        here .. ".*'processes'.*integer.*string"},
    {"no workers", function() pool.Pool(0) end, here .. ".*'processes'.*at least 1"},
    {"half a worker", function() pool.Pool(1.5) end, here .. ".*integer"},
    {"a pool of strings", function() pool.Pool "x" end, here .. ".*integer"},
    {"retries below 0", function() pool.Pool {retries = -1} end, here .. ".*'retries'"},
    {"initargs that are no table", function() pool.Pool {initargs = 1} end,
        here .. ".*'initargs'.*table"},
    {"an initializer that is no function", function() pool.Pool {initializer = 1} end,
        here .. ".*'initializer'.*function"},
    {"join before close", function() p:join() end, here .. ".*close or terminate"},
} do
    t.raises(case[2], case[3], case[1] .. " raises at the caller's line")
end

t.test("a pool belongs to the process that made it", function()
    local q = ipc.Queue()
    local child = process.spawn(function()
        q:put(select(2, pcall(function() p:apply(print) end)))
        q:put(select(2, pcall(function() p:map(print, {1}) end)))
        p:terminate()
    end)
    t.ok(q:get(30):find(here .. "a pool belongs to the process that made it"), "apply says so")
    t.ok(q:get(30):find(here .. "a pool belongs to the process that made it"), "map says so")
    child:join()
    t.is(p:apply(function() return "fine" end), "fine", "its terminate there does nothing")
end)

t.test("a child may make a pool", function()
    local q = ipc.Queue()
    local child = process.spawn(function()
        local mine <close> = pool.Pool(2)
        q:put(mine:map(function(x) return x * x end, {1, 2, 3}))
    end)
    t.is(q:get(30), {1, 4, 9}, "and use it")
    child:join()
    t.is(child.exitcode, 0, "to its end")
end)

t.test("a child that inherited a pool ends without harm to it", function()
    process.spawn(function() end):join()
    process.spawn(function() p = nil collectgarbage() collectgarbage() end):join()
    t.is(p:apply(function() return "fine" end), "fine", "it works on")
end)

t.done()
