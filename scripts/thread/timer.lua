-- 线程, 6. 定时执行线程: a thread that starts its work later.
-- Watch "timer" come after five seconds, once: the second timer is cancelled.

local function run()
    print("timer")
end

local timer = thread.Timer(5, run)
timer:start()

local cancelled = thread.Timer(3, run)
cancelled:start()
cancelled:cancel()
