-- 进程池技术, map: a function over a list.
-- Watch the results stand in the order of the list, whichever worker was first.

local function fun(n)
    process.sleep(1)
    print("执行 pool map事件")
    return n * n
end

local workers = pool.Pool(4)
local r = workers:map(fun, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
workers:close()
workers:join()
print("[" .. table.concat(r, ", ") .. "]")
