-- Threads and processes together: children that threads fork, threads of children.

local t = require "tap"
local cli = require "host.cli"

local seen = ipc.Queue()

t.file_of_forks("threads and processes together")

local function start(f, ...)
    return thread.Thread{target = f, args = table.pack(...)}:start()
end

local function is_gone(pid)
    local deadline = process.monotonic() + 60
    while process.monotonic() < deadline do
        local f = io.open(("/proc/%d/stat"):format(pid))
        local text = f and f:read "a"
        if f then f:close() end
        if not text or text:match "%) (%a)" == "Z" then return true end
        process.sleep(0.002)
    end
    return false
end

local function program(promise, text, expected)
    cli.file("script.lua", text)
    cli.expect(promise, cli.shell("timeout -k 1 60 " .. cli.luamp .. " script.lua"), expected)
end

t.test("a thread starts a process, joins it and has its exit code", function()
    local here = process.getpid()
    start(function()
        local p = process.spawn(function()
            seen:put{process.getppid(), process.current_process().name,
                process.parent_process().name, thread.current_thread().name, thread.active_count()}
            process.exit(5)
        end)
        seen:put{#process.active_children() >= 0, p:join(), p.exitcode}
    end):join()
    local child = seen:get()
    t.is(child[1], here, "the parent is this process")
    t.ok(child[2]:find "^Process%-%d+$", "the name is one of this process's: " .. child[2])
    t.is({child[3], child[4], child[5]}, {"MainProcess", "MainThread", 1},
        "the thread that forked is the child's main thread, and its only one")
    t.is(seen:get(), {true, true, 5}, "joined by the thread")
end)

t.test("names of children of different threads differ", function()
    local list = {}
    for i = 1, 4 do
        list[i] = start(function()
            local p = process.spawn(function() end)
            seen:put(p.name)
            p:join()
        end)
    end
    local names, n = {}, 0
    for _, th in ipairs(list) do
        th:join()
        local name = seen:get()
        if not names[name] then n = n + 1 end
        names[name] = true
    end
    t.is(n, 4, "four names")
end)

t.test("threads in a forked child", function()
    local p = process.spawn(function()
        local sum = ipc.Value("i", 0)
        local list = {}
        for i = 1, 4 do list[i] = thread.Thread{target = function() sum:add(i) end}:start() end
        for _, th in ipairs(list) do th:join() end
        seen:put{sum.value, list[1].name, list[1].ident, thread.current_thread().native_id == process.getpid()}
    end)
    p:join()
    t.is(p.exitcode, 0, "it ends well")
    t.is(seen:get(), {10, "Thread-1", 2, true}, "they count from one there")
end)

t.test("process.exit of a child's thread is that child's status", function()
    local p = process.spawn(function()
        thread.Thread{target = function() process.exit(9) end}:start()
        process.sleep(60)
    end)
    p:join()
    t.is(p.exitcode, 9, "the exit code")
    p = process.spawn(function()
        thread.Thread{target = function() process.sleep(0.05) seen:put("ended") end}:start()
    end)
    p:join()
    t.is(seen:get(false), "ended", "a child joins its threads at its end")
end)

t.test("a child has no handler of the main thread's when a thread forked it", function()
    local old = signal.signal(signal.SIGUSR1, function() end)
    start(function()
        local ready = sync.Event()
        local p = process.spawn(function() ready:set() process.sleep(60) end)
        ready:wait()
        p:send_signal(signal.SIGUSR1)
        p:join()
        seen:put(p.exitcode)
    end):join()
    t.is(seen:get(), -signal.SIGUSR1, "the default action")
    start(function()
        local p = process.spawn(function()
            local got
            signal.signal(signal.SIGUSR1, function() got = true end)
            signal.raise(signal.SIGUSR1)
            process.exit(got and 7 or 1)
        end)
        p:join()
        seen:put(p.exitcode)
    end):join()
    t.is(seen:get(), 7, "it may set its own")
    signal.signal(signal.SIGUSR1, old)
end)

t.test("a child that a thread left is the process's", function()
    local stop = sync.Event()
    start(function()
        local p = process.Process{name = "left", target = function() stop:wait() end}
        p:start()
        seen:put(p.pid)
    end):join()
    local pid = seen:get()
    local found
    for _, p in ipairs(process.active_children()) do
        if p.pid == pid then found = p end
    end
    t.ok(found and found.name == "left", "it is among its active children")
    stop:set()
    t.is(found and found:join(60), true, "and can be joined")
    t.is(found and found.exitcode, 0, "with its exit code")
    t.ok(is_gone(pid), "it has gone")
end)

program("the end of the program joins a child that a thread left", [[
thread.Thread{target = function()
    process.spawn(function() process.sleep(0.2) print("child") end)
end}:start():join()
process.atexit(function() print("atexit") end)
]], {status = 0, out = "child\natexit\n", err = ""})

t.test("a daemon that a thread started outlives the thread, and not the program", function()
    cli.file("script.lua", [[
local pids = ipc.Queue()
thread.Thread{target = function()
    local p = process.Process{daemon = true, target = process.sleep, args = {3600}}
    p:start()
    pids:put(p.pid)
end}:start():join()
local pid = pids:get()
process.sleep(0.1)
print(pid, pcall(signal.kill, pid, 0))
if arg[1] == "killed" then signal.kill(process.getpid(), signal.SIGKILL) end]])
    for _, how in ipairs {"at its end", "killed"} do
        local r = cli.run("script.lua " .. (how == "killed" and "killed" or ""))
        local pid, alive = r.out:match "^(%d+)\t(%a+)"
        t.is(alive, "true", how .. ": it outlives the thread")
        t.ok(is_gone(math.tointeger(pid)), how .. ": it is gone with the program")
    end
end)

t.test("a daemon thread may start processes; a daemon process's thread may not", function()
    thread.Thread{daemon = true, target = function()
        seen:put(process.spawn(function() end):join())
    end}:start():join()
    t.is(seen:get(), true, "a daemon thread")
    local d = process.Process{daemon = true, target = function()
        thread.Thread{target = function()
            seen:put(select(2, pcall(process.spawn, print)))
        end}:start():join()
    end}
    d:start()
    d:join()
    t.ok(seen:get():find "a daemon may not start processes", "a daemon process's")
end)

t.test("a copy of what the thread has goes into its child: upvalues, globals", function()
    start(function()
        a_global = "of the thread"
        local upvalue = {n = 1}
        process.spawn(function()
            upvalue.n = upvalue.n + 1
            seen:put{a_global, upvalue.n}
        end):join()
        seen:put(upvalue.n)
    end):join()
    t.is({seen:get(), seen:get()}, {{"of the thread", 2}, 1}, "by the fork")
    t.is(a_global, nil, "not here")
end)

t.test("forks while other threads work on every kind of object: no child hangs", function()
    local stop = sync.Event()
    local lock, q, d = sync.Lock(), ipc.Queue(), ipc.Dict()
    local v, l, sem, c = ipc.Value("i", 0), ipc.List{1}, sync.Semaphore(2), sync.Condition()
    local function work(n)
        for i = 1, n do
            lock:with(function() end)
            q:put{i}
            q:get()
            d[i % 7] = ("x"):rep(i % 100)
            v:add(1)
            l[1] = i
            sem:acquire()
            sem:release()
            c:acquire()
            c:notify_all()
            c:release()
            local o = ipc.Queue{name = "new"}
            o:put(sync.Lock{name = "inside"})
            io.stderr:write("")
            string.format("%5.3f", i / 3)
        end
    end
    local list = {}
    for i = 1, 4 do
        list[i] = start(function()
            while not stop:is_set() do work(1) end
        end)
    end
    local ended = 0
    local function fork_some(n)
        for _ = 1, n do
            local p = process.spawn(function() work(20) collectgarbage() end)
            if p:join(60) and p.exitcode == 0 then seen:put(true) else p:kill() seen:put(false) end
        end
    end
    list[5] = start(fork_some, 30)
    fork_some(30)
    for _ = 1, 60 do
        if seen:get(60) then ended = ended + 1 end
    end
    stop:set()
    for _, th in ipairs(list) do th:join() end
    t.is(ended, 60, "all children ended well")
end)

t.test("a child of a thread finds a lock that another thread held, still held by it", function()
    local lock, held, release = sync.Lock{name = "held"}, sync.Event(), sync.Event()
    local th = start(function()
        lock:acquire()
        held:set()
        release:wait()
        lock:release()
    end)
    held:wait()
    process.spawn(function() seen:put{lock:acquire(0) or "no", tostring(lock)} end):join()
    local got = seen:get()
    t.is(got[1], "no", "the child does not get it")
    t.ok(got[2]:find(th.name, 1, true), "and sees whose it is: " .. got[2])
    local p = process.spawn(function() seen:put(lock:acquire() == lock) lock:release() end)
    release:set()
    t.is(seen:get(), true, "it gets it when it is released")
    p:join()
    th:join()
end)

t.test("a child does not wait for its parent's thread that would be the next", function()
    for _ = 1, 50 do
        start(function() end):join() -- its system's thread stays for a moment
        process.spawn(function()
            local th = start(function() seen:put(true) end)
            th:join()
        end):join()
        if seen:get(60) ~= true then return t.ok(false, "the child's thread runs") end
    end
    t.ok(true, "the children's threads run")
end)

program("children forked while a thread is stuck in a read of stdin", [[
local t = thread.Thread{daemon = true, target = function() io.stdin:read("a") end}
t:start()
process.sleep(0.05)
for i = 1, 3 do
    local p = process.spawn(function() io.write("child ", i, "\n") end)
    p:join()
    print(p.exitcode)
end
]], {status = 0, out = "child 1\n0\nchild 2\n0\nchild 3\n0\n", err = ""})

cli.done()
