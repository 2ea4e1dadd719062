-- The functions of the module: who is who, the clocks, and what a child starts with.

local t = require "tap"
local cli = require "host.cli"

local function first_line(command)
    local pipe <close> = io.popen(command)
    return pipe:read "l"
end

t.test("current_process is this process", function()
    local q = ipc.Queue()
    local p = process.spawn(function()
        local c = process.current_process()
        q:put {c.name, c.pid, process.getpid(), c.daemon, process.getppid()}
    end)
    t.is(q:get(30), {p.name, p.pid, p.pid, false, process.getpid()}, "in a child")
    p:join()
    local c = process.current_process()
    t.is({c.name, c.pid, c.daemon}, {"MainProcess", process.getpid(), false}, "in the main process")
    t.is({c:is_alive(), c.exitcode}, {true, nil}, "which runs")
end)

t.test("the object of the child is the one that was started", function()
    local C = process.Process:extend "Mine"
    local q = ipc.Queue()
    function C:run() q:put(process.current_process() == self and self.extra) end
    local p = C()
    p.extra = 5
    p:start()
    t.is(q:get(30), 5, "with its fields")
    p:join()
end)

t.test("parent_process is who started this one", function()
    t.is(process.parent_process(), nil, "nobody started the main process")
    local q = ipc.Queue()
    local p = process.spawn(function()
        local parent = process.parent_process()
        q:put {parent.name, parent.pid, parent:is_alive(), {parent:join(0.01)}}
    end)
    t.is(q:get(30), {"MainProcess", process.getpid(), true, {false, "timeout"}}, "seen by a child")
    p:join()
end)

t.test("a child sees its parent die", function()
    local q = ipc.Queue()
    local parent = process.spawn(function()
        process.spawn(function()
            local p = process.parent_process()
            q:put "ready"
            q:put {p:join(30), p:is_alive(), p.name}
        end)
        process.sleep(600)
    end)
    t.is(q:get(30), "ready", "while it runs")
    parent:kill()
    parent:join()
    t.is(q:get(30), {true, false, parent.name}, "it can be joined")
end)

t.test("who started it, a child can ask when that is dead", function()
    local q, is_dead = ipc.Queue(), sync.Event()
    local name = ("a name of many letters, "):rep(10)
    local parent = process.Process{name = name, target = function()
        process.spawn(function()
            q:put "ready"
            is_dead:wait(30)
            local p = process.parent_process()
            q:put {p.name, p.pid, p:is_alive()}
        end)
        process.sleep(600)
    end}
    parent:start()
    local pid = parent.pid
    t.is(q:get(30), "ready", "while it runs")
    parent:kill()
    parent:join()
    is_dead:set()
    t.is(q:get(30), {name, pid, false}, "its whole name, and its pid")
end)

t.test("active_children are those that run", function()
    t.is(#process.active_children(), 0, "none")
    local e = sync.Event()
    local a = process.spawn(function() e:wait() end)
    local b = process.spawn(function() end)
    local c = process.spawn(function() e:wait() end)
    b:join()
    local active = process.active_children()
    t.ok(#active == 2 and active[1] == a and active[2] == c, "the oldest first")
    local q = ipc.Queue()
    local d = process.spawn(function() q:put(#process.active_children()) end)
    t.is(q:get(30), 0, "a child's are its own")
    d:join()
    e:set()
    a:join()
    c:join()
    t.is(#process.active_children(), 0, "none again")
end)

t.test("cpu_count is what this process may use", function()
    t.is(math.type(process.cpu_count()), "integer", "an integer")
    t.ok(process.cpu_count() >= 1, "at least one")
    local all = tonumber(first_line "nproc 2>/dev/null")
    if not all then return t.skip("no more than nproc", "there is no nproc") end
    t.ok(process.cpu_count() <= all, "not more than the affinity allows")
    local one = first_line("taskset -c 0 " .. cli.luamp
        .. " -e 'print(process.cpu_count())' 2>/dev/null")
    if one == nil then return t.skip("one of several", "there is no taskset") end
    t.is(one, "1", "one, where one is allowed")
end)

t.test("the clocks", function()
    t.ok(math.abs(process.time() - os.time()) < 2, "time is the wall's")
    t.is(math.type(process.time()), "float", "with fractions")
    local a = process.monotonic()
    process.sleep(0.02)
    local b = process.monotonic()
    t.ok(b - a >= 0.02, "sleep lasts at least as long as it says: " .. b - a)
    process.sleep(0)
    process.sleep(-1)
    local q = ipc.Queue()
    local p = process.spawn(function() q:put(process.monotonic()) end)
    t.ok(q:get(30) >= b, "monotonic goes on in a child")
    p:join()
end)

t.test("each of 1000 children draws its own random numbers", function()
    local q = ipc.Queue()
    math.randomseed(42)
    local seen, doubles = {}, 0
    for _ = 1, 20 do
        local list = {}
        for i = 1, 50 do
            list[i] = process.spawn(function() q:put(math.random(math.mininteger,
                math.maxinteger)) end)
        end
        for i = 1, 50 do list[i]:join() end
    end
    for _ = 1, 1000 do
        local n = q:get(30)
        doubles = doubles + (seen[n] and 1 or 0)
        seen[n] = true
    end
    t.is(doubles, 0, "none came twice")
    math.randomseed(42)
    local a = math.random(1 << 60)
    math.randomseed(42)
    process.spawn(function() end):join()
    t.is(math.random(1 << 60), a, "the parent's sequence is as it was")
end)

t.test("a limit of processes that is reached is a result, which names it", function()
    local inner = [[
        local list = {}
        for i = 1, 200 do
            local p, why = process.spawn(function() process.sleep(600) end)
            if not p then
                print(p, why)
                local q = process.Process {target = process.exit, args = {7}}
                print(q:start())
                for _, c in ipairs(list) do c:kill() c:join() end
                local again = process.spawn(function() end)
                print(again and again:join())
                print(q:start() == q, q:join(), q.exitcode)
                break
            end
            list[i] = p
        end
    ]]
    local as_user = first_line "id -u" == "0" and "setpriv --reuid=54321 --clear-groups " or ""
    local limit = as_user ~= "" and 12 or nil
    if not limit then -- of a user who has other processes: what is in use, and a few more
        limit = tonumber(first_line "ps -L --no-headers -U $(id -u) 2>/dev/null | wc -l") + 12
    end
    local result = cli.shell(("%sprlimit --nproc=%d %s -e '%s'"):format(as_user, limit, cli.luamp,
        inner:gsub("'", '"')))
    if result.out == "" then
        return t.skip("the limit",
            "no setpriv or prlimit here, or it is not enforced: " .. result.err)
    end
    local spawned, started, again, anew = result.out:match "^(.-)\n(.-)\n(.-)\n(.-)\n$"
    t.is(spawned,
        ("false\tcannot start a process: the limit of processes is reached, which is %d " ..
        "for this user (ulimit -u), or its control group's (pids.max)"):format(limit), "spawn")
    t.is(started, spawned, "start")
    t.is(again, "true", "and works again when others have ended")
    t.is(anew, "true\ttrue\t7", "what was not started can be then")
end)

t.test("a child inherits no descriptor but its parent's", function()
    local function descriptors()
        local n = 0
        for i = 0, 255 do
            local f = io.open("/proc/self/fdinfo/" .. i)
            if f then
                n = n + 1
                f:close()
            end
        end
        return n
    end
    local q = ipc.Queue()
    process.spawn(function() end):join()
    local before = descriptors()
    local p = process.spawn(function() q:put(descriptors()) end)
    t.is(q:get(30), before, "as many as the parent has")
    p:join()
    t.is(descriptors(), before, "and the parent has as many as before")
end)

cli.done()
