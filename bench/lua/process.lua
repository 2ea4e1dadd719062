-- Processes that do nothing, started and joined: microseconds for one. The arguments after the
-- count: how many are started before they are joined (1), and how many MiB of tables their parent
-- has (none).

local n = tonumber(arg[1])
local at_once = tonumber(arg[2] or 1)
local heap_pages = tonumber(arg[3] or 0) * 256

local function nothing()
end

local function resident_pages()
    local file <close> = io.open "/proc/self/statm"
    return tonumber(file:read "a":match "^%d+ (%d+)")
end

local heap = {}
while resident_pages() < heap_pages do
    for _ = 1, 10000 do
        heap[#heap + 1] = {#heap, #heap}
    end
end
collectgarbage()

local from = process.monotonic()
local left = n
while left > 0 do
    local started = {}
    for i = 1, math.min(left, at_once) do
        started[i] = process.Process {target = nothing}
        assert(started[i]:start())
    end
    for _, p in ipairs(started) do
        p:join()
    end
    left = left - #started
end
print((process.monotonic() - from) / n * 1e6)
