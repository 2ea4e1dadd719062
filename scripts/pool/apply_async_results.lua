-- 进程池技术, apply_async: ten tasks for four workers, and their results.
-- Watch four come at a time, in any order; the results are in the order of submission.

local function worker(msg)
    process.sleep(2)
    print(msg)
    return os.date()
end

-- Begin in the middle of a second: workers that end together tell the same one.
process.sleep(1.5 - process.time() % 1)

local workers = pool.Pool{processes = 4}
local result = {}
for i = 0, 9 do
    result[#result + 1] = workers:apply_async(worker, {"hello " .. i})
end
workers:close()     -- 关闭进程池
workers:join()      -- 回收

for _, r in ipairs(result) do
    print(r:get())  -- 获取事件函数的返回值
end
