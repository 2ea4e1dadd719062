-- A program in which nobody can go on says so, and who waits for what; one in which somebody still can, does not. Each is a
-- program of its own, as this test waits with timeouts.

local cli = require "host.cli"

local LIMIT = 60 -- seconds: whoever takes longer hangs
local SUSPICION = 1 -- seconds after which a standstill is told; see core/wait.h

local function run(script)
    cli.file("script.lua", script)
    return cli.shell(("timeout -s KILL %d %s script.lua"):format(LIMIT, cli.luamp))
end

-- `told` is a pattern of what is on standard error, of any process; "..." is any text.
local function stands_still(promise, script, told, status)
    told = told:gsub("[%-%(%)%+%*%?%[%]%^%$%%]", "%%%0"):gsub("%.%.%.", ".-")
    cli.expect(promise, run(script), {err = {told}, status = status})
end

local function goes_on(promise, script)
    cli.expect(promise, run(("local LONG = %g\n"):format(SUSPICION + 0.7) .. script), {out = "done\n", err = "", status = 0})
end

stands_still("a get, and no other process", [[ipc.Queue{name = "jobs"}:get()]],
    [[script.lua:1: deadlock: MainProcess waits for Queue "jobs", and there is no other process or thread]], 1)
stands_still("a put into one's own full queue", [[
    local q = ipc.Queue(1)
    print(q:put(1), q:put(2))]],
    [[script.lua:2: deadlock: MainProcess waits for Queue "q", and there is no other process or thread]], 1)
stands_still("an event, a thread and its end", [[
    local e = sync.Event()
    local t = thread.Thread{name = "T", target = function() e:wait() end}
    t:start()
    t:join()]],
    [[script.lua:2: deadlock: MainProcess waits for the end of T...; T... waits for Event "e"; nobody is left to go on]])
stands_still("a child that wants what its joiner holds", [[
    local l = sync.Lock()
    l:acquire()
    local p = process.Process{name = "kid", target = function() l:acquire() end}
    p:start()
    p:join()
    print(p.exitcode)]],
    [[script.lua:3: deadlock: MainProcess waits for the end of kid; kid waits for the lock "l", held by MainProcess;]]
    .. [[ nobody is left to go on]], 0)
stands_still("permits that two hold crosswise", [[
    local one, other, both = sync.BoundedSemaphore(), sync.BoundedSemaphore(), sync.Barrier(2)
    local function f(x, y)
        x:acquire()
        both:wait()
        y:acquire()
        y:release()
        x:release()
    end
    local p = process.spawn(f, one, other)
    if not pcall(f, other, one) then other:release() end
    p:join()]], "", 0)
stands_still("a party of a barrier that never comes", [[sync.Barrier(2):wait()]], [[deadlock: MainProcess waits for Barrier]], 1)
stands_still("a condition that nobody notifies: and the lock is held again", [[
    local c = sync.Condition{name = "news"}
    c:acquire()
    local ok, why = pcall(function() c:wait() end)
    c:release()
    error(why, 0)]], [[script.lua:3: deadlock: MainProcess waits for Condition "news", and there is no other]], 1)
stands_still("a pipe whose other end is held, and not used", [[
    local a, b = ipc.Pipe()
    a:recv()]], [[script.lua:2: deadlock: MainProcess waits for Queue "a"]], 1)
stands_still("tasks of a worker that was killed", [[
    local jobs = ipc.JoinableQueue()
    jobs:put(1)
    process.spawn(function() jobs:get() signal.raise(signal.SIGKILL) end):join()
    jobs:join()]], [[script.lua:4: deadlock: MainProcess waits for Queue "jobs", and there is no other]], 1)
stands_still("several at once", [[ipc.wait{ipc.Queue(), sync.Event()}]], "deadlock: MainProcess waits for several", 1)
stands_still("a task of a pool: that task fails, and not its pool's idle workers", [[
    local e = sync.Event{name = "never"}
    local p <close> = pool.Pool(3)
    local r = p:apply_async(function() e:wait() end)
    local ok, why = pcall(r.get, r)
    print(p:apply(math.abs, {-1}), #process.active_children())
    error(why, 0)]], [[script.lua:3: deadlock: ...MainProcess waits for Queue...; ... waits for Event "never"; and 2 more wait;]]
    .. [[ nobody is left to go on]], 1)
cli.expect("who was told can go on, and so can then the others", run [[
    local a, b = ipc.Queue(), ipc.Queue()
    local p = process.spawn(function()
        local ok = pcall(function() a:get() end)
        b:put(ok)
    end)
    local ok, got = pcall(b.get, b)
    if not ok then
        a:put(1)
        got = b:get()
    end
    p:join()
    print(ok == not got)]], {out = "true\n", err = "", status = 0})

goes_on("somebody sleeps", [[
    local q = ipc.Queue()
    local p = process.spawn(function() process.sleep(LONG) q:put "done" end)
    print(q:get())]])
goes_on("a timeout comes", [[
    local q = ipc.Queue()
    local p = process.spawn(function() q:get() end)
    print(select(2, ipc.Queue():get(LONG)) == "timeout" and "done")
    q:put(1)]])
goes_on("somebody waits for what is outside", [[
    local q = ipc.Queue()
    local p = process.spawn(function()
        io.popen("sleep " .. LONG):read "a"
        q:put "done"
    end)
    print(q:get())]])
goes_on("a socket's other side comes", [[
    local q, address = ipc.Queue(), "@luamp-standstill-" .. process.getpid()
    local l = ipc.Listener(address)
    local t = thread.Thread{target = function() q:put(l:accept():recv()) end}
    local p = process.spawn(function()
        process.sleep(LONG)
        ipc.Client(address):send "done"
    end)
    t:start()
    print(q:get())]])
goes_on("a handler of a signal ends the wait", [[
    local e = sync.Event()
    signal.signal(signal.SIGALRM, function() e:set() end)
    signal.setitimer(LONG)
    e:wait()
    print "done"]])
goes_on("a task's time is limited", [[
    local e = sync.Event()
    local p <close> = pool.Pool{processes = 1, timeout = LONG}
    local ok, why = pcall(p.apply, p, function() e:wait() end)
    print(tostring(why):find "task timeout" and "done")]])
goes_on("a signal is waited for", [[
    local q = ipc.Queue()
    local p = process.spawn(function() signal.pause() end)
    local killer = io.popen(("sleep %g; kill -TERM %d"):format(LONG, p.pid))
    p:join()
    print "done"]])

cli.done()
