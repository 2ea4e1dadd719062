-- 1. Process 模块: a list of processes, started and then joined.
-- Watch for "start异步": it comes when all ten are done.

local function send_mile(...)
    print(("%s发送完毕"):format(...))
end

local lis = {}
for _ = 1, 10 do
    local p = process.Process{target = send_mile, args = {1}}   -- 1为传进去的参数
    p:start()
    lis[#lis + 1] = p
end
for _, p in ipairs(lis) do
    p:join()
end
print("start异步")
