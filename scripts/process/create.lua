-- 进程, 1. Process创建子进程.
-- Watch the pid: run(id, name) runs in a process of its own.

local function run(id, name)
    print(("子进程 %d: id %d, name %s"):format(process.getpid(), id, name))
end

print(("主进程 %d"):format(process.getpid()))
local p = process.Process{target = run, args = {1, "小明"}}
p:start()
p:join()
