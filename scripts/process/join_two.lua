-- 二、join方法: the main program waits for both of its children.
-- Watch the clock: both run at once, so the run takes two seconds and not three.

local function task(name, n)
    print(name .. " is running")
    process.sleep(n)
    print(name .. " is done")
end

local p1 = process.Process{target = task, args = {"p1", 1}}
local p2 = process.Process{target = task, args = {"p2", 2}}
p1:start()
p2:start()
p1:join()
p2:join()
print("主程序")
