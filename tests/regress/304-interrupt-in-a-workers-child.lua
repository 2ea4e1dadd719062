-- A process that a pool's worker started ignored SIGINT, as its parent does.

local t = require "tap"
local cli = require "host.cli"


-- What SIGINT does in a worker, and in its child.
local function in_worker_and_child()
    local q = ipc.Queue()
    process.spawn(function() q:put(signal.getsignal(signal.SIGINT)) end):join()
    return {signal.getsignal(signal.SIGINT), q:get()}
end

do
    local p <close> = pool.Pool(1)
    t.is(p:apply(in_worker_and_child), {signal.SIG_IGN, signal.SIG_DFL}, "it has its default action")
    t.is(p:apply(function()
        local child = process.spawn(process.sleep, 600)
        child:interrupt()
        child:join()
        return child.exitcode
    end), -signal.SIGINT, "which ends it")
    t.is(p:apply(function()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return in_worker_and_child()
    end), {signal.SIG_IGN, signal.SIG_IGN}, "but what the task sets is inherited")
end

local ran = false
signal.signal(signal.SIGINT, function() ran = true end)
do
    local p <close> = pool.Pool(1)
    t.is(p:apply(function()
        local q = ipc.Queue()
        local child = process.spawn(function()
            signal.raise(signal.SIGINT)
            q:put "alive"
        end)
        child:join()
        return q:get_nowait()
    end), "alive", "and so is the handler that the script had set")
end
t.ok(not ran, "which ran in the child only")

local text = [[
local p <close> = pool.Pool(1)
print(p:apply(function()
    local q = ipc.Queue()
    process.spawn(function() q:put(signal.getsignal(signal.SIGINT)) end):join()
    return q:get()
end) == signal.SIG_IGN)
]]
cli.file("ignored.lua", text)
cli.expect("a program that was started with SIGINT ignored leaves it so",
    cli.shell(("(trap '' INT; exec %s ignored.lua)"):format(cli.luamp)), {out = "true\n", status = 0})
t.done()
