-- 信号通信, SIG_IGN: signals that are ignored.
-- Watch it go on after the alarm of the fifth second, and after Ctrl-C, which the script sends
-- itself in the second round; press it yourself, too.

io.stdout:setvbuf("line")       -- seen at once where the output is a pipe, too

signal.alarm(5)

signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)

for round = 1, 5 do
    process.sleep(2)
    print("press ctrl-c !")
    if round == 2 then
        signal.kill(process.getpid(), signal.SIGINT)
    end
    print("等待时钟....")
end
