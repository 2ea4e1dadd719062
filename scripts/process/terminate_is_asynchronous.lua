-- 1.2 Process 其他方法: start and terminate do not wait (异步非阻塞).
-- Watch for is_alive: true, as a rule still true right after terminate, then false.

local function son1()
    while true do
        print("is alive")
        process.sleep(0.5)
    end
end

local p = process.Process{target = son1}
p:start()               -- 异步 非阻塞
print(p:is_alive())
process.sleep(1)
p:terminate()           -- 异步 非阻塞
print(p:is_alive())     -- 操作系统还没来得及关闭进程
process.sleep(0.1)
print(p:is_alive())     -- 操作系统已经响应了我们要关闭进程的需求
