-- 信号通信, alarm: the clock's signal ends a process that does not handle it.
-- Watch for three lines in three seconds, and the number of SIGALRM, negative. The process is
-- a child, so that somebody is left to tell.

local function wait()
    signal.alarm(3)
    while true do
        process.sleep(0.8)
        print("等待时钟信号")
    end
end

local p = process.Process{target = wait}
p:start()
p:join()
print("exitcode " .. p.exitcode)
