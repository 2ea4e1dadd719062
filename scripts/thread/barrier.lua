-- 线程, 5. Barrier对象阻拦线程: threads go on in threes.
-- Watch three of the five end; the other two wait until a sixth thread makes them three.

local barrier = sync.Barrier(3) -- 在这里限制线程数量

local function run()
    local name = thread.current_thread().name
    print(("子线程%s开始执行"):format(name))
    barrier:wait()
    process.sleep(2)
    print(("子线程%s结束执行"):format(name))
end

print("主线程开始")
for _ = 1, 5 do
    thread.Thread{target = run}:start()
end
print("主线程结束")
process.sleep(3)
thread.Thread{target = run}:start()     -- 凑够了3个, 可以继续执行线程
