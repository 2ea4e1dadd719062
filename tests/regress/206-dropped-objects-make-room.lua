-- Objects without names, made and dropped, piled up: the collector saw a few dozen bytes of each, and
-- freed places in the table of objects were forgotten.

local t = require "tap"

local function shared()
    local f <close> = assert(io.open("/proc/self/status"))
    return tonumber(f:read("a"):match("RssShmem:%s*(%d+)"))
end

local function make(n)
    for _ = 1, n do
        local q = ipc.Queue()
        q:put(1)
    end
end

make(2000)
local before = shared()
make(20000)
t.ok(shared() - before < 8 << 10, ("20000 queues: %d KiB more"):format(shared() - before))
before = shared()
for _ = 1, 100 do
    ipc.Array("d", 1 << 18)
end
t.ok(shared() - before < 64 << 10, ("100 arrays of 2 MiB: %d KiB more"):format(shared() - before))
t.done()
