-- 三、进程之间内存空间互相隔离.
-- Watch for n: the child sets a copy of its own, and the main program's is untouched.

local n = 100

local function task()
    n = 0
    print("子进程n=" .. n)
end

local p1 = process.Process{target = task}
p1:start()
p1:join()
print("主进程n=" .. n)
