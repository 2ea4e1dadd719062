-- A pool whose worker died while the system had no room for another process went on with one worker less for good.

local t = require "tap"
local cli = require "host.cli"

local script = [[
    local helper = io.popen("sh", "w") -- whose own limit stays as it is
    local function limit(n)
        helper:write(("prlimit --pid %d --nproc=%d:1000\n"):format(process.getpid(), n))
        helper:flush()
    end
    local function can_start()
        local p = process.spawn(process.exit)
        return p and p:join()
    end
    local function await(is)
        local deadline = process.monotonic() + 10
        while can_start() ~= is and process.monotonic() < deadline do process.sleep(0.01) end
        return can_start() == is
    end

    local p <close> = pool.Pool(2)
    limit(1)
    if not await(false) then
        print "no limit"
        helper:write "exit\n"
        return
    end
    print(pcall(p.apply, p, function() signal.kill(process.getpid(), signal.SIGKILL) end))
    print(p)
    limit(1000)
    print(await(true))
    local met = sync.Barrier(2)
    local ok, came = pcall(p.map, p, function() return met:wait(10) and "met" end, {1, 2}, 1)
    print(ok, came[1], came[2])
    print(p)
    helper:write "exit\n" -- the workers have its pipe, too
    helper:close()
]]
local as_user = io.popen("id -u"):read("l") == "0" and "setpriv --reuid=54321 --clear-groups " or ""
local result = cli.run("-", script, as_user .. "prlimit --nproc=1000:1000 ")
if result.out == "no limit\n" or result.out == "" then
    t.skip("the limit", "no setpriv or prlimit here, or it is not enforced: " .. result.err)
else
    local lost, short, again, map, whole = result.out:match "^(.-)\n(.-)\n(.-)\n(.-)\n(.-)\n$"
    t.ok(lost and lost:find "^false\tworker lost: ", "a worker dies: " .. tostring(lost))
    t.is(short, 'Pool "PoolWorker" (1 workers, 0 tasks, running)', "the other one goes on")
    t.is(again, "true", "processes can be started again")
    t.is(map, "true\tmet\tmet", "then two tasks run at the same time")
    t.is(whole, 'Pool "PoolWorker" (2 workers, 0 tasks, running)', "since there are two workers")
end
t.done()
