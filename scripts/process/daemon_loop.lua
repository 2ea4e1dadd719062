-- 1.1 守护进程: an endless loop as a daemon.
-- Watch for "start" once a second, and for nothing more after "main:".

local function son()
    while true do
        print("start")
        process.sleep(1)
    end
end

local p = process.Process{target = son}
p.daemon = true     -- 把p子进程设置成了一个守护进程
p:start()
process.sleep(5)
print("main:")
