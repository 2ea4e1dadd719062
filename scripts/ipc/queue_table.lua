-- 消息队列, second example: a table goes through a queue.
-- Watch the second child get what the first has put a second before.

local q = ipc.Queue()

local function fun1()
    process.sleep(1)
    q:put{a = 1, b = 2}
end

local function fun2()
    process.sleep(2)
    local message = q:get()
    print(("收到消息: a=%d, b=%d"):format(message.a, message.b))
end

local p1 = process.Process{target = fun1}
local p2 = process.Process{target = fun2}
p1:start()
p2:start()
p1:join()
p2:join()
