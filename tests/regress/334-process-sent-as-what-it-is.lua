-- A process that had been started was sent with its target and its arguments: the message was as large as they, and
-- where one of them could not be sent, nor could the process. One's own process arrived as one that was not started.

local t = require "tap"
local cli = require "host.cli"

local q, gate, ended = ipc.Queue(), sync.Event(), sync.Event()

-- What can be seen of a process, and what of one that runs.
local function seen(p) return {p.name, p.pid, p:is_alive(), p.exitcode, tostring(p)} end
local function as_running(p) return {p.name, p.pid, true, nil, tostring(p)} end

local p = process.spawn(function() gate:wait() end, io.stdout, ("x"):rep(1 << 20))
local c = process.spawn(function()
    local sent = q:get()
    gate:set()
    ended:set()
    q:put {sent:join(60), sent:is_alive()}
end)
t.ok(pcall(q.put, q, p), "a process whose arguments cannot be sent is sent")
ended:wait(60)
c:join()
t.is(q:get(60), {true, false}, "and joined there")
p:join()
q:put(p)
t.is(seen(q:get()), seen(p), "as is one that has ended")

local C = process.Process:extend "Sent"
function C:run()
    q:put(self)
    q:put(process.current_process())
    gate:wait()
end
gate:clear()
p = C {target = print, args = {io.stdout}, name = "sent"}
p:start()
local by_run, by_current = q:get(60), q:get(60)
t.is(seen(by_run), as_running(p), "a process sends itself")
t.is(seen(by_current), as_running(p), "and what current_process gives")
t.is(getmetatable(by_run), C, "it is of its class")
t.raises(function() by_run:start() end, "was started already", "and not started anew")
gate:set()
t.is({by_run:join(60), by_run:is_alive()}, {true, false}, "it can be joined")
t.is(tostring(by_run), ('Sent "sent" (pid %d, ended)'):format(p.pid), "and then has ended")
p:join()

local main = process.current_process()
c = process.spawn(function()
    q:put {seen(main), (main:join(0))}
    q:put(main)
end)
t.is(q:get(60), {as_running(main), false}, "a child knows the main process by what it inherited")
t.is(seen(q:get(60)), as_running(main), "and sends it")
c:join()
q:put(main)
local again = q:get()
t.is(seen(again), as_running(main), "the main process sends itself")
t.raises(function() again:join() end, "itself", "and is told when it joins itself")
for _, method in ipairs {"join", "kill", "terminate", "interrupt"} do
    t.raises(function() main[method](main) end, "a process cannot " .. method .. " itself", method)
end
t.raises(function() main:close() end, "still running", "it cannot be closed")

cli.file("orphan.lua", [[
    local main, q = process.current_process(), ipc.Queue()
    process.spawn(function()
        while process.getppid() == main.pid do process.sleep(0.01) end
        print(main:is_alive(), main:join(60))
        q:put(main)
        print(q:get():is_alive())
    end)
    signal.kill(process.getpid(), signal.SIGKILL)
]])
t.is(cli.shell(cli.luamp .. " orphan.lua | cat").out, "false\ttrue\nfalse\n", "one that has died meanwhile has ended")

local thr = thread.Thread {target = function() q:put(process.current_process()) end}
thr:start()
thr:join()
again = q:get(60)
t.is(seen(again), as_running(main), "a thread sends the process that it is one of")

q:put(process.Process {target = function(x) q:put {"ran", x} end, args = {3}})
local new = q:get()
t.is(tostring(new):match "%((.*)%)", "not started", "one that is not started arrives so")
new:start()
t.is(q:get(60), {"ran", 3}, "and can be started there")
new:join()

t.done()
