-- A lock that several processes, the second argument, want all the time, and a shared number that
-- is incremented under it: nanoseconds for each increment.

local n, workers = tonumber(arg[1]), tonumber(arg[2])
local each = n // workers
local lock, counter = sync.Lock(), ipc.Value("q", 0)
local start = sync.Barrier(workers + 1)

local function increment()
    start:wait()
    for _ = 1, each do
        lock:acquire()
        counter.value = counter.value + 1
        lock:release()
    end
end

local processes = {}
for i = 1, workers do
    processes[i] = process.spawn(increment)
end
start:wait()
local from = process.monotonic()
for _, p in ipairs(processes) do
    p:join()
end
print((process.monotonic() - from) / (each * workers) * 1e9)
assert(counter.value == each * workers)
