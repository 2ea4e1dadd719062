-- 线程, 3. 局部变量实现线程数据不共享: every thread can read and write the Local, and sees its own.
-- Watch each print the number that it was given, whatever the others do.

local loc = thread.Local()      -- 每个线程有独立的存储空间

local function run(x, n)
    x = x + n
    return x - n
end

local function func(n)
    loc.x = n                   -- 每个线程都有loc.x
    for _ = 1, 100000 do
        loc.x = run(loc.x, n)
    end
    print(("%s--%d"):format(thread.current_thread().name, loc.x))
end

for i = 1, 4 do
    thread.Thread{target = func, args = {i * 100}}:start()
end
