-- 线程, 10. 全局解释器锁（GIL）: there is none. Each thread has an interpreter of its own.
-- Watch two threads do the same work as one on two cores, in about half of the time.

local function work()
    local x = 0
    for i = 1, 50000000 do
        x = x + i % 7
    end
end

local function time_of(f)
    local start = process.monotonic()
    f()
    return process.monotonic() - start
end

local one_by_one = time_of(function()
    work()
    work()
end)
print(("单线程 %.2f 秒"):format(one_by_one))

local two_threads = time_of(function()
    local t1 = thread.Thread{target = work}
    local t2 = thread.Thread{target = work}
    t1:start()
    t2:start()
    t1:join()
    t2:join()
end)
print(("双线程 %.2f 秒"):format(two_threads))
print(("加速比 %.1f"):format(one_by_one / two_threads))
