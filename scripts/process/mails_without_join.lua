-- join控制子进程, first example: nobody waits for the mails.
-- Watch for "10个邮件发送完毕": it comes before the mails it speaks of have been sent.

local function func(index)
    process.sleep(math.random())
    print(("第%d个邮件已经发送完毕"):format(index))
end

for i = 0, 9 do
    process.Process{target = func, args = {i}}:start()
end
print("10个邮件发送完毕")
