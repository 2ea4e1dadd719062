-- join控制子进程, second example: the main program joins every child.
-- Watch for "10个邮件发送完毕": now it is the last line.

local function func(index)
    process.sleep(math.random())
    print(("第%d个邮件已经发送完毕"):format(index))
end

local p_li = {}
for i = 0, 9 do
    local p = process.Process{target = func, args = {i}}
    p:start()
    p_li[#p_li + 1] = p
end
for _, p in ipairs(p_li) do
    p:join()    -- 阻塞, 直到p进程的任务结束才解除阻塞
end
print("10个邮件发送完毕")
