-- 一、开启进程的两种方法, 方法二: a subclass of Process has a run method of its own.
-- Watch for the same as with a target: "主程序" does not wait for "egon is done".

local MyProcess = process.Process:extend("MyProcess")

function MyProcess:init(name)
    MyProcess.super.init(self, {name = name})
end

function MyProcess:run()
    print(self.name .. " is running")
    process.sleep(3)
    print(self.name .. " is done")
end

local p = MyProcess("egon")
p:start()
print("主程序")
