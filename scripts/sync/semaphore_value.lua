-- 信号量（信号灯）: three permits for four processes.
-- Watch the fourth take its permit three seconds after the others, when one of them gives its
-- own back, and for the value at the end: all three are there again.

local sem = sync.Semaphore(3)

local function fun()
    print(("进程%d等待信号量"):format(process.getpid()))
    sem:acquire()       -- 消耗一个信号量
    print(("进程%d消耗信号量"):format(process.getpid()))
    process.sleep(3)
    sem:release()
    print(("进程%d添加信号量"):format(process.getpid()))
end

local jobs = {}
for _ = 1, 4 do
    local p = process.Process{target = fun}
    jobs[#jobs + 1] = p
    p:start()
end
for _, p in ipairs(jobs) do
    p:join()
end
print(sem:get_value())
