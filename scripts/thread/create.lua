-- 线程, 1. threading创建线程: made as a process is, and it runs in the same process.
-- Watch for the pid, which is the main program's: 线程无pid.

local function run(n)
    print(("%s %d pid %d"):format(thread.current_thread().name, n, process.getpid()))
end

print("主线程 pid " .. process.getpid())
local t = thread.Thread{target = run, args = {1}, name = "线程名"}
t:start()
t:join()
