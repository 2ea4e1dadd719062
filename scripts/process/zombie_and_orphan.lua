-- 五、僵尸进程与孤儿进程.
-- Watch for the state Z of a child that has ended and that nobody has waited for yet, and for
-- an orphan's parent, which is another process after its own has ended.

local function state(pid)
    local f <close> = io.open(("/proc/%d/stat"):format(pid))
    return f and f:read("a"):match("%) (%a)")
end

local child = process.spawn(function() end)
process.sleep(1)
print(("僵尸进程 %d %s"):format(child.pid, state(child.pid)))
child:join()
if not state(child.pid) then
    print("已回收")
end

local finished = sync.Event()

local function orphan()
    local parent = process.getppid()
    process.sleep(2)
    print(("孤儿进程 %d ppid %d -> %d"):format(process.getpid(), parent, process.getppid()))
    finished:set()
end

local parent = process.spawn(function()
    process.spawn(orphan)
    process.sleep(10)
end)
process.sleep(1)
parent:kill()       -- one that ends by itself waits for its children first
parent:join()
finished:wait()     -- nobody can join an orphan
