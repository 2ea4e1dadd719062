-- Two calls of an empty method written in Lua, found in the object itself, the cheapest method that
-- Lua has: nanoseconds. What a lock costs is to be read against this and against c_calls.lua.

local n = tonumber(arg[1])
local object = {}

function object:nothing()
end

local from = process.monotonic()
for _ = 1, n do
    object:nothing()
    object:nothing()
end
print((process.monotonic() - from) / n * 1e9)
