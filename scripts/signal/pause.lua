-- 信号通信, pause: wait for a signal.
-- Watch the clock: the first alarm would come after three seconds, the second replaces it and
-- comes five seconds after it was set, seven after the start.

io.stdout:setvbuf("line")       -- seen at once where the output is a pipe, too

signal.signal(signal.SIGALRM, function() print("接收到时钟信号") end)

signal.alarm(3)
process.sleep(2)
signal.alarm(5)     -- 进程中只能有一个时钟, 第二个会将第一个覆盖

signal.pause()      -- 阻塞等待信号

for _ = 1, 3 do
    process.sleep(1)
    print("等待时钟信号.....")
end
