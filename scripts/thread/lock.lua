-- 线程, 2. 使用线程锁解决数据混乱问题: two threads change one number.
-- Watch it be 100 in the end. A thread has its own copy of a variable; what all of them see is a
-- shared value. Without the lock each would write over what the other has written.

local num = ipc.Value("i", 100)
local lock = sync.Lock()        -- 锁对象

local function run(n)
    for _ = 1, 100000 do
        lock:acquire()          -- 获取锁
        num.value = num.value + n
        num.value = num.value - n
        lock:release()          -- 修改完一定要释放锁
    end
end

local t1 = thread.Thread{target = run, args = {6}}
local t2 = thread.Thread{target = run, args = {9}}
t1:start()
t2:start()
t1:join()
t2:join()
print("num= " .. num.value)
