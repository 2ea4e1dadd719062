-- 守护进程, first example: a daemon ends when the code of the main program has ended.
-- Watch for what is missing: "子进程 end" would come a second after "主进程".

local function func()
    print("子进程 start")
    process.sleep(3)
    print("子进程 end")
end

local p = process.Process{target = func}
p.daemon = true     -- 设置p为守护进程(必须在start()方法之前)
p:start()
process.sleep(2)
print("主进程")
