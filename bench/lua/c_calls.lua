-- Two calls of an empty method written in C, on a userdata: nanoseconds. Less than this no pair of
-- calls of a lock can cost.

package.cpath = os.getenv("BENCH_FLOORS") .. "/?.so"
local n = tonumber(arg[1])
local object = require("in_lua").new_object()

local from = process.monotonic()
for _ = 1, n do
    object:nothing()
    object:nothing()
end
print((process.monotonic() - from) / n * 1e9)
