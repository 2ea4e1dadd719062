-- 创建自定义进程类: a class of one's own, with a constructor and a run method.
-- Watch the time be told five times, two seconds apart.

local ClockProcess = process.Process:extend("ClockProcess")

function ClockProcess:init(value)
    ClockProcess.super.init(self, {})
    self.value = value
end

function ClockProcess:run()     -- 重写run方法
    for _ = 1, 5 do
        print("The time is " .. os.date())
        process.sleep(self.value)
    end
end

local p = ClockProcess(2)
p:start()                       -- 自动调用run
p:join()
