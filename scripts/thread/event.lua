-- 线程, 7. 线程通信--Event: a thread waits until the main program sends an event.
-- Watch for "sending event..." before "end...".

local event1 = sync.Event()

local function run()
    print("start...")
    event1:wait()               -- 进入到等待事件的阻塞状态中
    process.sleep(2)
    print("end...")
end

local t1 = thread.Thread{target = run}
t1:start()
process.sleep(2)
print("sending event...")       -- 发送事件
event1:set()
