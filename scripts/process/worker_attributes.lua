-- Process进程对象属性: name, pid, is_alive, and a join with a timeout.
-- Watch for the line of equals signs: join(3) returns while the worker still runs.

local function worker(sec, options)
    for _ = 1, 3 do
        process.sleep(sec)
        print("I'm " .. options.name)
        print("I'm working...")
    end
end

local p = process.Process{target = worker, args = {2}, kwargs = {name = "Daivl"}, name = "Worker"}
p:start()

print("Process name: " .. p.name)
print("Process PID: " .. p.pid)
print("Process is alive: " .. tostring(p:is_alive()))

p:join(3)
print("==================")
