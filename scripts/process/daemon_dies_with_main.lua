-- 六、守护进程: its life is no longer than that of the process which it serves.
-- Watch for what is missing: "egon is 死了" would come two seconds after "主正在死".

local function task(name)
    print(name .. " is 活着")
    process.sleep(3)
    print(name .. " is 死了")
end

local p = process.Process{target = task, args = {"egon"}}
p.daemon = true
p:start()
process.sleep(1)
print("主正在死")
