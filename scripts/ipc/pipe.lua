-- 管道通信 Pipe: five children send, each a table, into the same end.
-- Watch five whole tables arrive; recv waits for each of them.

local fd1, fd2 = ipc.Pipe(false)    -- 单向管道: fd1只读, fd2只写

local function fun()
    process.sleep(3)
    fd2:send{1, 2, 3, 4, 5}
end

local jobs = {}
for _ = 1, 5 do
    local p = process.Process{target = fun}
    jobs[#jobs + 1] = p
    p:start()
end

for _ = 1, 5 do
    local data = fd1:recv()
    print("[" .. table.concat(data, ", ") .. "]")
end
for _, p in ipairs(jobs) do
    p:join()
end
