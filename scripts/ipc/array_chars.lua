-- 共享内存, Array: an array of characters, which a child reads and changes.
-- Watch for the first letter: the child has made it small, and the main program sees it.

local shm = ipc.Array("c", "Hello")

local function fun()
    for _, c in ipairs(shm) do
        print(c)
    end
    shm[1] = "h"
end

local p = process.Process{target = fun}
p:start()
p:join()

for _, c in ipairs(shm) do
    print(c)
end
print(shm.value)    -- 打印字符串
