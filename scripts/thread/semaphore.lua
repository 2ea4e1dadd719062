-- 线程, 4. 使用信号量限制线程并发数: six threads, three permits.
-- Watch three print at once, and the others two seconds later.

local sem = sync.Semaphore(3)   -- 此处限制数量

local function run(i)
    sem:acquire()               -- 减1
    print(("%s--%d"):format(thread.current_thread().name, i))
    process.sleep(2)
    sem:release()               -- 增1
end

for i = 0, 5 do
    thread.Thread{target = run, args = {i}}:start()
end
