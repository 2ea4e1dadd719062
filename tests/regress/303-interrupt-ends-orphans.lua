-- Ctrl-C did not end a process whose own parent had died before.

local t = require "tap"
local cli = require "host.cli"

local script = os.tmpname()
local file = assert(io.open(script, "w"))
file:write [[
local q = ipc.Queue()
local child = process.spawn(function()
    process.spawn(function()
        q:put(process.spawn(process.sleep, 600).pid)
        q:put(process.getpid())
        process.sleep(600)
    end)
    process.sleep(600)
end)
local pids = {q:get(), q:get()}
child:kill()
child:join()
print(table.concat(pids, " "))
io.stdout:flush()
signal.raise(signal.SIGINT)
]]
file:close()
local pipe = assert(io.popen(("exec %s %s 2>&1"):format(cli.luamp, script)))
local inner, outer = pipe:read("n", "n")
t.ok(pipe:read "a":find "^\nluamp: [^\n]*:15: interrupted!\n$", "one line is printed")
local _, _, status = pipe:close()
t.is(status, 130, "the status is 130")
local function is_there(pid)
    local stat <close> = io.open(("/proc/%d/stat"):format(pid))
    return stat and not stat:read "a":match "%) [ZX]"
end
local deadline = process.monotonic() + 30
for _, pid in ipairs {inner, outer} do
    while is_there(pid) and process.monotonic() < deadline do process.sleep(0.001) end
    t.ok(not is_there(pid), "a process is gone")
end
os.remove(script)
t.done()
