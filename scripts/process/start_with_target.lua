-- 一、开启进程的两种方法, 方法一: a process is given a function as its target.
-- Watch for "主程序" between the child's two lines: start() does not wait.

local function task(name)
    print(name .. " is running")
    process.sleep(3)
    print(name .. " is done")
end

local p = process.Process{target = task, args = {"egon"}}
p:start()
print("主程序")
