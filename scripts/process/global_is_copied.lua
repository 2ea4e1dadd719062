-- multiprocessing 模块创建进程, first example: a child has a copy of its parent's globals.
-- Watch for the last a: the child has set its own to 10000.

a = 1

local function fun()
    process.sleep(3)
    print("a = " .. a)
    a = 10000
    print("子进程事件")
    print("**********")
end

local p = process.Process{target = fun}
p:start()
process.sleep(2)
print("这是父进程")
p:join()
print("parent a = " .. a)
print("**********")
