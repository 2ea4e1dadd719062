-- 信号通信, a handler: a function of the script is called when a signal comes.
-- Watch for "就不结束" in the second round, when the script sends itself what Ctrl-C would,
-- and for "接收到时钟信号" at the fifth second; the loop goes on after both.

io.stdout:setvbuf("line")       -- seen at once where the output is a pipe, too

local function handler(sig)
    if sig == signal.SIGALRM then
        print("接收到时钟信号")
    elseif sig == signal.SIGINT then
        print("就不结束")
    end
end

signal.alarm(5)

signal.signal(signal.SIGALRM, handler)
signal.signal(signal.SIGINT, handler)

for round = 1, 5 do
    print("Waiting for a signal")
    if round == 2 then
        signal.kill(process.getpid(), signal.SIGINT)
    end
    process.sleep(2)
end
