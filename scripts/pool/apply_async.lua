-- 进程, 3. 进程池: five tasks for four workers.
-- Watch the fifth task wait until a worker is free, and "done" wait for all.

local function run(i)
    print("run " .. i)
    process.sleep(1)
end

local pp = pool.Pool(4)     -- 4表示同时可以执行的进程数量
for i = 0, 4 do
    pp:apply_async(run, {i})
end
pp:close()                  -- 调用close之后不能再继续添加
pp:join()
print("done")
