-- Objects that are made and dropped leave nothing behind: neither private memory nor shared. The number
-- of each class may be given as an argument: luamp tests/lua/leaks.lua 100000

local t = require "tap"

-- KiB of this process's memory: its own, and what it has touched of the family's.
local function memory()
    local f <close> = assert(io.open("/proc/self/status"))
    local text = f:read("a")
    return tonumber(text:match("RssAnon:%s*(%d+)")), tonumber(text:match("RssShmem:%s*(%d+)"))
end

local is_sanitized = t.is_sanitized()

local n = tonumber(arg and arg[1]) or is_sanitized and 500 or 3000

-- Open descriptors. Not by io.popen, whose own come and go.
local function descriptors()
    local name = os.tmpname()
    os.execute(("ls /proc/%d/fd > %s"):format(process.getpid(), name))
    local n = 0
    for _ in io.lines(name) do
        n = n + 1
    end
    os.remove(name)
    return n
end

local shared = ipc.Queue()
local keeper = ipc.Dict()
local nothing = {}

local makers = {
    Lock = function() sync.Lock{name = "x"}:with(function() end) end,
    RLock = function() local _ <close> = sync.RLock{name = "x"}:acquire() end,
    Semaphore = function() sync.Semaphore(3):acquire() end,
    BoundedSemaphore = function() sync.BoundedSemaphore(3):acquire() end,
    Event = function() sync.Event():set() end,
    Condition = function()
        local c = sync.Condition()
        c:acquire()
        c:notify_all()
        c:release()
    end,
    Barrier = function() sync.Barrier(1, function() end):wait() end,
    ["Queue, not used"] = function() ipc.Queue() end,
    ["Queue, with messages"] = function()
        local q = ipc.Queue(5)
        q:put(1)
        q:put({"two"})
        q:get()
    end,
    ["Queue, with objects in it"] = function() ipc.Queue():put({sync.Lock(), ipc.Queue()}) end,
    JoinableQueue = function()
        local q = ipc.JoinableQueue()
        q:put(1)
        q:get()
        q:task_done()
        q:join()
    end,
    SimpleQueue = function() ipc.SimpleQueue():put(1) end,
    Pipe = function()
        local a, b = ipc.Pipe()
        a:send(1)
        b:recv()
    end,
    ["Pipe, closed"] = function()
        local r, w = ipc.Pipe(false)
        w:send_bytes("x")
        w:close()
        r:close()
    end,
    Value = function() ipc.Value("q", 5):add(1) end,
    ["Value's lock"] = function() ipc.Value("q", 5):get_lock():with(function() end) end,
    Array = function() ipc.Array("d", {1, 2, 3})[2] = 5 end,
    Dict = function()
        local d = ipc.Dict({a = 1})
        d.b = {2}
        d.a = nil
        for _ in pairs(d) do
        end
    end,
    List = function()
        local l = ipc.List({1, 2})
        l:append({3})
        l:pop(1)
    end,
    SharedMemory = function()
        local m <close> = ipc.SharedMemory{create = true, size = 100}
        m:write(1, "x")
        m:unlink()
    end,
    ["an object that travels"] = function()
        shared:put({sync.Event(), ipc.Value("i")})
        shared:get()
    end,
    ["an object in a Dict"] = function()
        keeper.x = {ipc.Queue(), sync.Lock()}
        keeper.x = nil
    end,
    ["a message through one queue"] = function()
        shared:put({("x"):rep(100), {}, 1.5})
        shared:get()
    end,
    ["a large message"] = function()
        shared:put(("x"):rep(10000))
        shared:get()
    end,
    ["a message that cannot be sent"] = function() pcall(shared.put, shared, {sync.Lock(), io.stdout}) end,
    ["a class that was refused"] = function() pcall(ipc.Queue, "no number") end,
    ["an array that was refused"] = function() pcall(ipc.Array, "b", {1, 1000}) end,
    ["ipc.wait"] = function() ipc.wait({shared, sync.Event()}, 0) end,
}

-- What costs a system call or more each is made less often.
local slow = {
    ["a connection's descriptor"] = function()
        local r, w = ipc.Pipe(false)
        r:fileno()
        w:send(1)
        r:recv()
    end,
    ["ipc.wait with a descriptor"] = function() ipc.wait({shared, 0}, 0.0001) end,
    ["a process that uses an object"] = function()
        local q = ipc.Queue()
        local p = process.spawn(function()
            local r, w = ipc.Pipe()
            q:put({sync.Lock(), w})
        end)
        p:join()
        p:close()
    end,
    ["a process that is killed with objects in hand"] = function()
        local q = ipc.Queue()
        process.spawn(function()
            local b = sync.BoundedSemaphore(2)
            b:acquire()
            q:put({b, ipc.Dict({1})})
            signal.kill(process.getpid(), signal.SIGKILL)
        end):join()
    end,
}

local function collect()
    collectgarbage()
    collectgarbage()
end

local function check(name, make, count)
    local function round()
        for i = 1, count do
            make(nothing)
            if i % 100 == 0 then collect() end -- so that each round's peak is the same
        end
        collect()
    end
    round() -- what is kept for the next time, is kept after this
    round()
    local private, common = memory()
    local lua, open = collectgarbage("count"), descriptors()
    round()
    round()
    local private_now, common_now = memory()
    local lua_now = collectgarbage("count")
    local limit = 256 + 2 * count * 16 // 1024
    t.diag(("%s: %d made, private %+d KiB, Lua %+.1f KiB, shared %+d KiB"):format(name, 2 * count,
        private_now - private, lua_now - lua, common_now - common))
    if is_sanitized then
        t.skip(name .. ": private memory", "a sanitizer keeps what was freed")
    else
        t.ok(private_now - private <= limit, name .. ": private memory")
    end
    t.ok(lua_now - lua <= limit // 2, name .. ": Lua's memory")
    t.ok(common_now - common <= limit, name .. ": shared memory")
    t.is(descriptors(), open, name .. ": descriptors")
end

for name, make in pairs(makers) do
    check(name, make, n)
end
for name, make in pairs(slow) do
    check(name, make, n // 50)
end

t.test("arrays that are dropped make room for others, however large", function()
    for _ = 1, 400 do
        ipc.Array("d", 1 << 20) -- 3.2 GiB together
    end
    local _, common = memory()
    t.ok(common < 1 << 20, ("less than 1 GiB is in use: %d KiB"):format(common))
end)

t.done()
