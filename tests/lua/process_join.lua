-- The end of a child, as its parent sees it, and others: join, exitcode, sentinel, close.

local t = require "tap"

local Process = process.Process

local function sleeper()
    return process.spawn(function() process.sleep(600) end)
end

local function exitcode_of(f)
    local p = process.spawn(f)
    p:join()
    return p.exitcode
end

-- Runs f in a child whose stderr goes nowhere.
local function silently(f)
    return function()
        io.stderr:setvbuf "no"
        local null <close> = assert(io.open("/dev/null", "w"))
        io.stderr = null
        f()
    end
end

t.test("join waits until the process has ended", function()
    local v = ipc.Value("i", 0)
    local p = process.spawn(function()
        process.sleep(0.05)
        v.value = 1
    end)
    t.is(p:join(), true, "true")
    t.is(v.value, 1, "what it did is done")
    t.is(p:join(), true, "again")
    t.is(p:join(0), true, "and with a timeout")
end)

t.test("join gives up after its timeout", function()
    local p = sleeper()
    local before = process.monotonic()
    t.is({p:join(0.05)}, {false, "timeout"}, "a short one")
    t.ok(process.monotonic() - before >= 0.05, "not before")
    t.is({p:join(0)}, {false, "timeout"}, "none")
    t.is({p:join(-1)}, {false, "timeout"}, "less than none")
    t.is(p:is_alive(), true, "it runs on")
    t.is(p.exitcode, nil, "without an exitcode")
    p:kill()
    t.is(p:join(30), true, "until it is ended")
end)

t.raises(function() process.current_process():join() end, "process_join.lua:%d+: .*itself",
    "a process cannot join itself")
t.raises(function() sleeper():join "x" end, "process_join.lua:%d+: .*number.*string",
    "a timeout that is no number raises")
for _, p in ipairs(process.active_children()) do
    p:kill()
    p:join()
end

t.test("the exitcode of a process is its status, or the signal that ended it", function()
    t.is(exitcode_of(function() end), 0, "the end of its function")
    t.is(exitcode_of(function() return 5 end), 0, "what the target returns is not looked at")
    for _, status in ipairs {0, 1, 2, 77, 255} do
        t.is(exitcode_of(function() process.exit(status) end), status, "process.exit of " .. status)
        t.is(exitcode_of(function() os.exit(status) end), status, "os.exit of " .. status)
    end
    t.is(exitcode_of(function() process.exit(256 + 3) end), 3, "eight bits of it")
    t.is(exitcode_of(function() process.exit() end), 0, "no status")
    t.is(exitcode_of(function() process.exit(nil) end), 0, "nil")
    t.is(exitcode_of(function() process.exit(true) end), 0, "true")
    t.is(exitcode_of(function() process.exit(false) end), 1, "false")
    t.is(exitcode_of(function() os.exit(true) end), 0, "os.exit of true")
    t.is(exitcode_of(function() os.exit(false) end), 1, "os.exit of false")
    for _, number in ipairs {signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1} do
        t.is(exitcode_of(function()
            signal.kill(process.getpid(), number)
            process.sleep(60)
        end), -number, "signal " .. number)
    end
end)

t.test("terminate, kill, interrupt and send_signal send what they say", function()
    for method, number in pairs {terminate = signal.SIGTERM, kill = signal.SIGKILL,
        interrupt = signal.SIGINT} do
        local p = sleeper()
        t.is(p[method](p), nil, method .. " returns at once")
        p:join()
        t.is(p.exitcode, -number, "exitcode after " .. method)
        t.ok(pcall(p[method], p), method .. " of an ended process does nothing")
    end
    local p = sleeper()
    p:send_signal(signal.SIGUSR2)
    p:join()
    t.is(p.exitcode, -signal.SIGUSR2, "exitcode after send_signal")
    t.ok(pcall(p.send_signal, p, signal.SIGUSR2), "send_signal to an ended process does nothing")
end)

t.test("send_signal takes the number of a signal", function()
    local p = sleeper()
    t.raises(function() p:send_signal() end, "process_join.lua:%d+: ", "nothing")
    t.raises(function() p:send_signal "SIGTERM" end, "process_join.lua:%d+: .*number", "a name")
    t.raises(function() p:send_signal(4711) end, "process_join.lua:%d+: .*signal", "no such signal")
    t.raises(function() p:send_signal(-9) end, "process_join.lua:%d+: .*signal", "a negative one")
    t.is(p:is_alive(), true, "nothing was sent")
    p:kill()
    p:join()
end)

t.test("no signal reaches the pid of a process that has ended", function()
    -- The child is dead but nobody has waited for it: the pid is a zombie's, and stays so.
    local p = process.spawn(function() end)
    ipc.wait {p.sentinel}
    p:send_signal(signal.SIGKILL)
    t.is(p:is_alive(), false, "is_alive")
    t.is(p.exitcode, 0, "its own end is told, not the signal")
    -- Reaped: the pid is free, and may be somebody else's. Make it ours again if the kernel lets
    -- us.
    local pid = p.pid
    local next_pid = io.open("/proc/sys/kernel/ns_last_pid", "w")
    if not next_pid then
        return t.skip("a recycled pid", "ns_last_pid cannot be written")
    end
    local other
    for _ = 1, 50 do
        next_pid:write(("%d\n"):format(pid - 1))
        next_pid:flush()
        other = sleeper()
        if other.pid == pid then break end
        other:kill()
        other:join()
    end
    next_pid:close()
    if other.pid ~= pid then
        return t.skip("a recycled pid", "others make processes too fast")
    end
    p:kill()
    p:terminate()
    p:send_signal(signal.SIGKILL)
    t.is({other:join(0.05)}, {false, "timeout"}, "the new owner of the pid lives")
    t.is(p.exitcode, 0, "the old process's end is what it was")
    other:kill()
    other:join()
end)

t.test("the sentinel becomes readable when the process ends", function()
    local e = sync.Event()
    local p = process.spawn(function() e:wait() end)
    local sentinel = p.sentinel
    t.is(math.type(sentinel), "integer", "it is a descriptor")
    t.is(p.sentinel, sentinel, "always the same")
    t.is(#ipc.wait({sentinel}, 0), 0, "not readable while it runs")
    t.is(#ipc.wait({p}, 0), 0, "nor is the process ready")
    e:set()
    t.is(ipc.wait({sentinel}, 30), {sentinel}, "readable when it ended")
    t.ok(ipc.wait({p}, 30)[1] == p, "and the process is ready")
    p:join()
    t.ok(ipc.wait({p}, 30)[1] == p, "and stays so when it is joined")
end)

t.test("ipc.wait tells which of several processes have ended", function()
    local list = {}
    for i = 1, 5 do list[i] = sleeper() end
    list[4]:kill()
    local ready = ipc.wait(list, 30)
    t.is(#ready, 1, "one")
    t.ok(ready[1] == list[4], "the right one")
    for i = 1, 5 do
        list[i]:kill()
        list[i]:join()
    end
    t.is(#ipc.wait(list, 0), 5, "all")
end)

t.test("the sentinel of a process that was joined before anyone asked", function()
    local p = process.spawn(function() end)
    p:join()
    local sentinel = p.sentinel
    if sentinel then
        t.is(ipc.wait({sentinel}, 0), {sentinel}, "is readable")
    else
        t.is(sentinel, nil, "is nil")
    end
end)

t.test("close frees the handle of an ended process", function()
    local p = process.spawn(function() process.exit(6) end)
    local pid = p.pid
    p:join()
    p:close()
    t.is({p.name ~= nil, p.pid, p.exitcode}, {true, pid, 6}, "name, pid and exitcode can be read")
    t.is(p.sentinel, nil, "no sentinel")
    for _, method in ipairs {"join", "is_alive", "terminate", "kill", "interrupt", "start"} do
        t.raises(function() p[method](p) end, "process_join.lua:%d+: .*closed", method .. " raises")
    end
    t.raises(function() p:send_signal(15) end, "process_join.lua:%d+: .*closed",
        "send_signal raises")
    t.ok(pcall(p.close, p), "close does not")
end)

t.test("a running process cannot be closed", function()
    local p = sleeper()
    t.raises(function() p:close() end, "process_join.lua:%d+: .*running", "it raises")
    t.is(p:is_alive(), true, "and it runs on")
    p:kill()
    p:join()
    p:close()
end)

t.test("a process that ended by itself can be closed without a join, and still tells its exitcode",
    function()
    local p = process.spawn(function() process.exit(7) end)
    ipc.wait {p}
    p:close()
    t.is(p.exitcode, 7, "exitcode")
end)

t.test("a process that was never started can be closed", function()
    local p = Process {}
    p:close()
    t.raises(function() p:start() end, "closed", "and then not started")
end)

t.test("another process can ask for, signal and join one that it was sent", function()
    local target = process.spawn(function() process.sleep(600) end)
    local q, answers = ipc.Queue(), ipc.Queue()
    local other = process.spawn(function()
        local p = q:get()
        answers:put {p.name, p.pid, p:is_alive(), {p:join(0.01)}, #ipc.wait({p}, 0)}
        p:terminate()
        answers:put {p:join(), p:is_alive(), #ipc.wait({p}, 30)}
        p:kill()
        p:send_signal(9)
        answers:put(tostring(p))
    end)
    q:put(target)
    t.is(answers:get(30), {target.name, target.pid, true, {false, "timeout"}, 0}, "while it runs")
    t.is(answers:get(30), {true, false, 1}, "when it has ended")
    t.ok(answers:get(30):find(target.name, 1, true), "it prints")
    other:join()
    t.is(other.exitcode, 0, "without an error")
    target:join()
    t.is(target.exitcode, -signal.SIGTERM, "only the parent knows how it ended")
end)

t.test("a sibling that was inherited by fork can be joined and signalled, too", function()
    local target = process.spawn(function() process.sleep(600) end)
    local q = ipc.Queue()
    local sibling = process.spawn(function()
        local before = target:is_alive()
        target:kill()
        q:put {before, target:join(30), target:is_alive()}
    end)
    t.is(q:get(30), {true, true, false}, "as the sibling sees it")
    sibling:join()
    target:join()
    t.is(target.exitcode, -9, "exitcode")
end)

t.test("a process that comes back to its parent is that parent's child", function()
    local target = process.spawn(function() process.exit(9) end)
    local q = ipc.Queue()
    q:put(target)
    local copy = q:get()
    t.is(copy:join(30), true, "it can be joined")
    t.is(target:join(30), true, "and so can the first")
    t.is(target.exitcode, 9, "which knows the exitcode")
end)

t.test("two processes wait for a third at once", function()
    local target = process.spawn(function() process.sleep(600) end)
    local v = ipc.Value("i", 0)
    local function wait_for_it()
        target:join()
        v:add(1)
    end
    local a, b = process.spawn(wait_for_it), process.spawn(wait_for_it)
    target:kill()
    t.ok(a:join(30) and b:join(30), "both return")
    target:join()
    t.is(v.value, 2, "both did")
end)

t.test("a child cannot send or join itself into confusion", function()
    local q = ipc.Queue()
    local p = process.spawn(function()
        local self = process.current_process()
        local ok, message = pcall(self.join, self)
        q:put {self:is_alive(), self.pid == process.getpid(), self.exitcode == nil, ok, message}
    end)
    local got = q:get(30)
    t.is({table.unpack(got, 1, 4)}, {true, true, true, false}, "it runs, and may not join itself")
    t.ok(got[5]:find "itself", "and is told so: " .. got[5])
    p:join()
end)

t.test("no zombie is left by join, is_alive, exitcode or active_children", function()
    local function state(pid)
        local f <close> = io.open(("/proc/%d/stat"):format(pid))
        return f and f:read "a":match "%) (%a)"
    end
    for name, look in pairs {
        join = function(p) p:join() end,
        is_alive = function(p) while p:is_alive() do process.sleep(0.001) end end,
        exitcode = function(p) while p.exitcode == nil do process.sleep(0.001) end end,
        active_children = function()
            while #process.active_children() > 0 do process.sleep(0.001) end
        end,
    } do
        local p = process.spawn(function() end)
        look(p)
        t.is(state(p.pid), nil, name)
    end
end)

t.done()
