-- 四、进程对象其他相关的属性或方法: pid, name, terminate and is_alive.
-- Watch for the child's ppid, which is the main program's pid, and for the three answers of
-- is_alive: before terminate, right after it (either is right), and after a join.

local function task()
    local me = process.current_process()
    print(("子进程 pid %d ppid %d name %s"):format(me.pid, process.getppid(), me.name))
    process.sleep(10)
end

print("主进程 pid " .. process.getpid())
local p = process.Process{target = task, name = "egon"}
p:start()
process.sleep(1)

print(p:is_alive())
p:terminate()
print(p:is_alive())
p:join()
print(p:is_alive())
