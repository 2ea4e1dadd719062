-- Ctrl-C: what SIGINT does to a luamp program, and to its children.

local t = require "tap"
local cli = require "host.cli"

-- Runs a script of its own.
local function script(text)
    cli.file("script.lua", text)
    return cli.run "script.lua"
end

-- Starts a script, sends SIGINT to it alone, as often as asked, each time that it has printed a
-- line, and gives what else it printed, its stderr, and its status. The first line begins with its
-- pid.
local function interrupt(text, times)
    local script, err = os.tmpname(), os.tmpname()
    local file <close> = assert(io.open(script, "w"))
    file:write(text)
    file:flush()
    local pipe = assert(io.popen(("exec %s %s 2>%s"):format(cli.luamp, script, err)))
    local pids = {}
    for i = 1, times or 1 do
        local line = assert(pipe:read "l")
        for pid in (i == 1 and line or ""):gmatch "%d+" do pids[#pids + 1] = math.tointeger(pid) end
        signal.kill(pids[1], signal.SIGINT)
    end
    local out = pipe:read "a"
    local _, how, status = pipe:close()
    if how == "signal" then status = "signal " .. status end
    local errors <close> = assert(io.open(err))
    local result = {out = out, err = errors:read "a", status = status, pids = pids}
    os.remove(script)
    os.remove(err)
    return result
end

local function is_gone(pid)
    local deadline = process.monotonic() + 30
    while process.monotonic() < deadline do
        local f = io.open(("/proc/%d/stat"):format(pid))
        local text = f and f:read "a"
        if f then f:close() end
        if not text or text:match "%) (%a)" == "Z" then return true end
        process.sleep(0.002)
    end
    return false
end

local function all_gone(result, n)
    t.is(#result.pids, n, n .. " processes")
    for _, pid in ipairs(result.pids) do
        t.ok(is_gone(pid), "a process is gone")
    end
end

local ready = "print(process.getpid()) io.stdout:flush() "

for name, text in pairs {
    ["a loop"] = ready .. "while true do end",
    ["a loop in a coroutine"] = ready .. "coroutine.wrap(function() while true do end end)()",
    ["a sleep"] = ready .. "process.sleep(600)",
    ["a get"] = "local q = ipc.Queue() " .. ready .. "q:get()",
    ["a lock"] = "local l = sync.Lock() "
        .. "process.spawn(function() l:acquire() process.sleep(600) end) "
        .. "while not l:locked() do end " .. ready .. "l:acquire()",
    ["a join"] = "local p = process.spawn(function() process.sleep(600) end) " .. ready
        .. "p:join()",
    ["the wait for children at the end"] = "process.spawn(function() process.sleep(600) end) "
        .. ready,
    ["a pool's map"] = "local p = pool.Pool(2) " .. ready .. "p:map(process.sleep, {600, 600})",
    ["pool.map"] = ready .. "pool.map(process.sleep, {600, 600}, {processes = 2})",
    ["a pool's close"] = "do local p <close> = pool.Pool(2) "
        .. "p:apply_async(process.sleep, {600}) " .. ready .. "end",
    ["an atexit function"] = "process.atexit(function() " .. ready .. "process.sleep(600) end)",
} do
    local place = name:find "at the end" and "[^\n]*" or "[^\n]*:1: "
    cli.expect("Ctrl-C in " .. name .. " ends the program with one line, which says where, and status 130",
        interrupt(text), {out = "", err = {"^luamp: " .. place .. "interrupted!\n$"}, status = 130})
end

cli.expect("pcall can catch it", interrupt([[
local _, first = pcall(function() ]] .. ready .. [[ process.sleep(600) end)
local _, second = pcall(function() ]] .. ready .. [[ while true do end end)
print(first, second)
]], 2), {out = {"^%g*%s*interrupted!\t.*interrupted!\n$"}, err = "", status = 0})

cli.expect("an error after it was caught is an error", interrupt([[
pcall(function() ]] .. ready .. [[ process.sleep(600) end)
error "something else"
]]), {err = {"something else"}, status = 1})

t.test("children, daemons and pools are ended", function()
    local result = interrupt [[
local p = pool.Pool(2)
local child = process.spawn(function() process.sleep(600) end)
local stubborn = process.spawn(function()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.sleep(600)
end)
local daemon = process.Process {daemon = true, target = function() process.sleep(600) end}
daemon:start()
local workers = p:map(process.getpid, {1, 2}, 1)
print(process.getpid(), child.pid, stubborn.pid, daemon.pid, workers[1], workers[2])
io.stdout:flush()
p:map(function() process.sleep(600) end, {1, 2, 3})
]]
    cli.expect("with one line and status 130", result,
        {out = "", err = {"^luamp: [^\n]*:%d+: interrupted!\n$"}, status = 130})
    all_gone(result, 6)
end)

t.test("and so are the children's children", function()
    local result = interrupt [[
local q = ipc.Queue()
local child = process.spawn(function()
    local grandchild = process.spawn(function()
        local inner = process.spawn(function() process.sleep(600) end)
        q:put(inner.pid)
        process.sleep(600)
    end)
    q:put(grandchild.pid)
    process.sleep(600)
end)
print(process.getpid(), child.pid, q:get(), q:get())
io.stdout:flush()
process.sleep(600)
]]
    cli.expect("with one line and status 130", result,
        {out = "", err = {"^luamp: [^\n]*:%d+: interrupted!\n$"}, status = 130})
    all_gone(result, 4)
end)

t.test("Ctrl-C at a terminal, which every process gets, is one line as well", function()
    cli.file("group.lua", [[
local p = pool.Pool(2)
local children = {}
for i = 1, 3 do children[i] = process.spawn(function() process.sleep(600) end) end
signal.signal(signal.SIGTERM, signal.SIG_DFL)
process.spawn(function() process.sleep(0.1) signal.kill(0, signal.SIGINT) end)
p:map(process.sleep, {600, 600, 600})
]])
    cli.expect("and status 130", cli.run("group.lua", "", "exec setsid -w"),
        {out = "", err = "luamp: group.lua:6: interrupted!\n", status = 130})
end)

cli.expect("a handler of the script's replaces it", interrupt [[
local q = ipc.Queue()
signal.signal(signal.SIGINT, function(n) print("handled", n) q:put(1) end)
print(process.getpid()) io.stdout:flush()
q:get()
print "end"
]], {out = "handled\t2\nend\n", err = "", status = 0})

cli.expect("SIG_DFL lets it kill", interrupt [[
signal.signal(signal.SIGINT, signal.SIG_DFL)
print(process.getpid()) io.stdout:flush()
process.sleep(600)
]], {status = "signal 2"})

cli.expect("SIG_IGN ignores it", interrupt [[
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(process.getpid()) io.stdout:flush()
process.sleep(0.2)
print "end"
]], {out = "end\n", status = 0})

cli.expect("a script that was started with SIGINT ignored leaves it so", cli.shell(
    ([[(trap '' INT
    %s -e 'signal.kill(process.getpid(), 2) print(signal.getsignal(2) == signal.SIG_IGN)')]])
        :format(cli.luamp)), {out = "true\n", status = 0})

cli.expect("getsignal and signal give the handler that raises it, and it can be set again",
    interrupt [[
local old = signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGINT, old)
print(process.getpid()) io.stdout:flush()
process.sleep(600)
]], {err = {"^luamp: [^\n]*:%d+: interrupted!\n$"}, status = 130})

cli.expect("what was printed before is there",
    script "io.write 'no newline' signal.kill(process.getpid(), signal.SIGINT)",
    {out = "no newline", err = {"^luamp: [^\n]*:1: interrupted!\n$"}, status = 130})

cli.expect("an error in a pool's callback does not swallow it", script [[
local p = pool.Pool(1)
p:apply_async(function() end, {}, nil,
    function() signal.kill(process.getpid(), signal.SIGINT) end):get()
print "not reached"
]], {out = "", err = {"^luamp: [^\n]*:3: interrupted!\n$"}, status = 130})

cli.done()
