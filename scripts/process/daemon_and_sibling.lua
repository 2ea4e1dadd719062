-- 守护进程, second example: a daemon and an ordinary child.
-- Watch the stars stop at "主进程", though the program still waits for func2.

local function func1()
    local count = 1
    while true do
        process.sleep(0.5)
        print(("*"):rep(count))
        count = count + 1
    end
end

local function func2()
    print("func2 start")
    process.sleep(10)
    print("func2 end")
end

local p1 = process.Process{target = func1}
p1.daemon = true
p1:start()

local p2 = process.Process{target = func2}
p2:start()

process.sleep(3)
print("主进程")
