-- The memory that the worker of a pool has for itself after its first task: KiB.

local n = tonumber(arg[1])

local function private_memory(pid)
    local kib = 0
    for line in io.lines(("/proc/%d/smaps_rollup"):format(pid)) do
        kib = kib + tonumber(line:match "^Private_%a+: +(%d+)" or 0)
    end
    return kib
end

local function who()
    process.sleep(0.05) -- so that each worker gets one
    return process.getpid()
end

local tasks = {}
for i = 1, n do
    tasks[i] = i
end
local p = pool.Pool(n)
local workers, count, kib = {}, 0, 0
for _, pid in ipairs(p:map(who, tasks, 1)) do
    workers[pid] = true
end
for pid in pairs(workers) do
    count, kib = count + 1, kib + private_memory(pid)
end
print(kib / count)
p:close()
p:join()
