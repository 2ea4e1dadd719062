-- 1.3 面向对象 创建子进程: a subclass whose constructor takes arguments.
-- Watch the daemon's loop of five end after its first round, with the main program.

local MyProcess = process.Process:extend("MyProcess")

function MyProcess:init(x, y)
    MyProcess.super.init(self, {})
    self.x = x
    self.y = y
end

function MyProcess:run()        -- the name must be run, 不能变
    print(self.x .. " " .. self.y)
    for _ = 1, 5 do
        print("in son1")
        process.sleep(1)
    end
end

local mp = MyProcess(1, 2)
mp.daemon = true
mp:start()
process.sleep(0.7)      -- not a whole second: the child's second round would be as early
print(1)
