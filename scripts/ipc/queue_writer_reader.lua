-- 进程, 4. 进程之间的通信: one process puts letters into a queue, another gets them.
-- Watch every letter that was put be got, in order; only then is the reader terminated.

local function write(q)
    print("开始子进程" .. process.getpid())
    for value in ("abdcef"):gmatch(".") do
        print(os.date() .. " put " .. value .. " to queue")
        q:put(value)
        process.sleep(math.random())
    end
    q:join()                -- until the last letter is read
end

local function read(q)
    while true do
        local value = q:get()
        print(os.date() .. " get " .. value .. " from queue")
        q:task_done()
    end
end

local q = ipc.JoinableQueue()
local pw = process.Process{target = write, args = {q}}
local pr = process.Process{target = read, args = {q}}
pw:start()
pr:start()
pw:join()
pr:terminate()
