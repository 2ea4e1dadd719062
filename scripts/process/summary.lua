-- Process类汇总: every operation of the summary, once.
-- Watch each line name what is shown; the run() of the second process is cut short, as a
-- daemon's is.

-- 面向函数
local function func(n)
    process.sleep(n)
end

local p = process.Process{target = func, args = {10}}
p:start()
print("start() 开启进程, 异步非阻塞")
print("is_alive() 获取当前进程的状态: " .. tostring(p:is_alive()))
p:terminate()
print("terminate() 结束进程, 异步非阻塞")
p:join()
print("join() 同步阻塞, exitcode " .. p.exitcode)

-- 面向对象
local MyProcess = process.Process:extend("MyProcess")

function MyProcess:init(a, b)
    MyProcess.super.init(self, {})
    self.a = a
    self.b = b
end

function MyProcess:run()
    print(("run() 要在子进程中执行的代码, 参数 %s %s"):format(self.a, self.b))
    process.sleep(10)
    print("never printed: a daemon ends with the main program")
end

local mp = MyProcess("x", "y")
mp.daemon = true
print("daemon = true 设置为守护进程")
mp:start()
process.sleep(1)
