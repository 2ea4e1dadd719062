-- 信号通信, kill: one process sends a signal to another.
-- Watch for the exitcode: a process that a signal has ended tells its number, negative.

local function work()
    while true do
        process.sleep(0.5)
        print("子进程 " .. process.getpid())
    end
end

local p = process.Process{target = work}
p:start()
process.sleep(1.2)
signal.kill(p.pid, signal.SIGKILL)
p:join()
print("exitcode " .. p.exitcode)
