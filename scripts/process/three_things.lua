-- multiprocessing 模块创建进程, second example: three functions, three processes.
-- Watch the order, which is that of the sleeps, and the first number, the parent's pid.

local function th1()
    process.sleep(3)
    print("吃饭")
    print(process.getppid() .. " ---- " .. process.getpid())
end

local function th2()
    process.sleep(2)
    print("睡觉")
    print(process.getppid() .. " ---- " .. process.getpid())
end

local function th3()
    process.sleep(4)
    print("打豆豆")
    print(process.getppid() .. " ---- " .. process.getpid())
end

local processes = {}
for _, th in ipairs{th1, th2, th3} do
    local p = process.Process{target = th}
    processes[#processes + 1] = p
    p:start()
end
for _, p in ipairs(processes) do
    p:join()
end
