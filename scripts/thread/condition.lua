-- 线程, 8. 线程调度: one thread prints the even numbers, another the odd ones.
-- Watch 0 to 9 come in order: after each number a thread wakes the other, and waits for its turn.

local condition = sync.Condition()
local even_is_first = sync.Event()

local function even()           -- 输出偶数
    local _ <close> = condition:acquire()
    even_is_first:set()
    for i = 0, 8, 2 do
        print(i)
        condition:wait()        -- 等待另一个线程执行，并释放锁
        condition:notify()      -- 通知另一个线程可以运行了
    end
end

local function odd()
    local _ <close> = condition:acquire()
    for i = 1, 9, 2 do
        print(i)
        condition:notify()      -- 通知上面的线程不用等了，该走了
        condition:wait()        -- 然后等待上一个线程给自己继续执行的信号
    end
end

local t1 = thread.Thread{target = even}
local t2 = thread.Thread{target = odd}
t1:start()
even_is_first:wait()
t2:start()
