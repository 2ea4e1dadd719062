-- 进程, 2. 常见方法和属性: the two tables, a line for each entry.
-- Watch for the exitcode of a process ended by terminate(): -15, the signal's number; and for
-- what is missing, "子进程结束".

local function run()
    print("子进程启动 父进程是: " .. process.getppid())
    process.sleep(3)
    print("子进程结束")
end

print("父进程启动 " .. process.getpid())
local p = process.Process{target = run, name = "进程名"}
p.daemon = true
print("daemon " .. tostring(p.daemon))
print("name " .. p.name)

p:start()
print("start() 启动进程")
print("pid " .. p.pid)
print("is_alive() " .. tostring(p:is_alive()))
print("join(1) " .. tostring(p:join(1)))    -- 最多等待进程1秒
p:terminate()
print("terminate() 立即停止该进程")
process.sleep(2)
p:join()
print("join() 等待子进程结束再执行后续")
print("exitcode " .. p.exitcode)

-- without a target, start() runs the method run()
local Runner = process.Process:extend("Runner")

function Runner:run()
    print("run() 未设置target参数")
end

local r = Runner{}
r:start()
r:join()
print("父进程结束")
