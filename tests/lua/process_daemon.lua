-- Daemons: what ends them, and what they may not do.

local t = require "tap"
local cli = require "host.cli"

local function script(text)
    cli.file("script.lua", text)
    return cli.run "script.lua"
end

-- True once no process has this pid, or only a zombie.
local function is_gone(pid)
    local f = io.open(("/proc/%d/stat"):format(pid))
    if not f then return true end
    local text = f:read "a"
    f:close()
    return text == nil or text:match "%) (%a)" == "Z"
end

local function wait_until_gone(pid)
    local deadline = process.monotonic() + 30
    while not is_gone(pid) do
        if process.monotonic() > deadline then return false end
        process.sleep(0.002)
    end
    return true
end

-- Starts a script, reads the pids that it prints, its own first, kills it by SIGKILL, and gives the
-- pids.
local function kill_parent(text)
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write(text)
    file:flush()
    local pipe <close> = assert(io.popen(("exec %s %s"):format(cli.luamp, name)))
    local pids = {}
    for pid in assert(pipe:read "l"):gmatch "%d+" do pids[#pids + 1] = math.tointeger(pid) end
    os.remove(name)
    signal.kill(pids[1], signal.SIGKILL)
    return pids
end

cli.expect("a daemon does not keep the script from ending", script [[
process.Process {daemon = true, target = function() process.sleep(600) end}:start()
print "end"
]], {out = "end\n", err = "", status = 0})

cli.expect("a daemon that ignores SIGTERM is killed", script [[
local ready = sync.Event()
local p = process.Process {daemon = true, target = function()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready:set()
    while true do process.sleep(600) end
end}
p:start()
ready:wait()
process.atexit(function() print(p.exitcode) end)
]], {out = "-9\n", err = "", status = 0})

-- One after the other they would take 25 seconds, of a second each.
cli.expect("several that ignore it share one grace", script [[
local ready = sync.Semaphore(0)
for i = 1, 25 do
    process.Process {daemon = true, target = function()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ready:release()
        while true do process.sleep(600) end
    end}:start()
end
for i = 1, 25 do ready:acquire() end
local before = process.monotonic()
process.atexit(function() print(process.monotonic() - before < 20) end)
]], {out = "true\n", err = "", status = 0})

cli.expect("one that heeds it is not", script [[
local p = process.Process {daemon = true, target = function() process.sleep(600) end}
p:start()
process.atexit(function() print(p.exitcode) end)
]], {out = "-15\n", err = "", status = 0})

cli.expect("a stopped one is ended as well", script [[
local p = process.Process {daemon = true, target = function() process.sleep(600) end}
p:start()
p:send_signal(signal.SIGSTOP)
process.atexit(function() print(p:is_alive()) end)
]], {out = "false\n", err = "", status = 0})

cli.expect("a child's daemons are ended when the child ends", script [[
local pids = ipc.Queue()
local child = process.spawn(function()
    local p = process.Process {daemon = true, target = function() process.sleep(600) end}
    p:start()
    pids:put(p)
end)
child:join()
print(pids:get():is_alive())
]], {out = "false\n", err = "", status = 0})

t.test("a daemon may not start processes", function()
    local q = ipc.Queue()
    local p = process.Process {daemon = true, target = function()
        q:put(select(2, pcall(process.spawn, print)))
        q:put(select(2, pcall(function() process.Process {}:start() end)))
    end}
    p:start()
    t.ok(q:get(30):find "daemon may not start processes", "spawn says so")
    t.ok(q:get(30):find "process_daemon.lua:%d+: a daemon may not start",
        "start says so, and where")
    p:join()
end)

t.test("daemon is read and set as a field", function()
    local p = process.Process {}
    t.is(p.daemon, false, "false by default")
    p.daemon = true
    t.is(p.daemon, true, "set")
    t.is(process.current_process().daemon, false, "the main process is none")
end)

t.test("a daemon dies with its parent, when that is killed", function()
    local pids = kill_parent [[
        local p = process.Process {daemon = true, target = function() process.sleep(600) end}
        p:start()
        print(process.getpid(), p.pid)
        io.stdout:flush()
        process.sleep(600)
    ]]
    t.is(#pids, 2, "two processes")
    t.ok(wait_until_gone(pids[1]), "the parent is gone")
    t.ok(wait_until_gone(pids[2]), "and the daemon")
end)

t.test("so do a pool's workers and their children", function()
    local pids = kill_parent [[
        local p = pool.Pool(2)
        local pids = ipc.Queue()
        p:apply_async(function(q)
            local child = process.spawn(function()
                local grandchild = process.spawn(function() process.sleep(600) end)
                q:put(grandchild.pid)
                process.sleep(600)
            end)
            q:put(child.pid)
            q:put(process.getpid())
            process.sleep(600)
        end, {pids})
        print(process.getpid(), pids:get(), pids:get(), pids:get())
        io.stdout:flush()
        process.sleep(600)
    ]]
    t.is(#pids, 4, "parent, worker, child and grandchild")
    for i = 1, 4 do t.ok(wait_until_gone(pids[i]), "the process number " .. i .. " is gone") end
end)

t.test("another child lives on", function()
    local pids = kill_parent [[
        local p = process.spawn(function() process.sleep(600) end)
        print(process.getpid(), p.pid)
        io.stdout:flush()
        process.sleep(600)
    ]]
    t.ok(wait_until_gone(pids[1]), "the parent is gone")
    t.is(is_gone(pids[2]), false, "the child is not")
    signal.kill(pids[2], signal.SIGKILL)
end)

cli.done()
