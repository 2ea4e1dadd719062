-- 守护进程, third example: what a daemon is good for, 程序的报活.
-- Watch the daemon report once a second while the main program serves, and end with it.

local function fun()
    while true do
        process.sleep(1)
        print("我还活着")
    end
end

local function main()
    for i = 1, 7 do     -- a real one serves 7*24小时
        process.sleep(0.5)
        print("提供服务 " .. i)
    end
end

process.Process{target = fun, daemon = true}:start()
main()
