-- A large heap of the program's own state: what is in it stays as it is while it grows and shrinks, and
-- what is no longer needed goes back to the system.

local t = require "tap"

local function resident()
    local f <close> = assert(io.open("/proc/self/smaps_rollup"))
    local text = f:read("a")
    return tonumber(text:match("Rss:%s*(%d+)")) / 1024, tonumber(text:match("AnonHugePages:%s*(%d+)")) / 1024
end

t.test("a table that grows through all sizes of blocks", function()
    local before = resident()
    local list, sum = {}, 0
    for i = 1, 6000000 do list[i] = i end -- an array of 128 MiB
    local small = {}
    for i = 1, 300000 do small[i] = {i, tostring(i)} end
    t.diag(("%.0f MiB more, %.0f of them in large pages"):format(resident() - before, select(2, resident())))
    for i = 1, #list do sum = sum + list[i] end
    t.is(sum, 6000000 * 6000001 // 2, "the numbers")
    local right = true
    for i = 1, #small do right = right and small[i][1] == i and small[i][2] == tostring(i) end
    t.ok(right, "and the tables")

    local seen = ipc.Queue()
    process.spawn(function()
        local n = 0
        for i = 1, #list, 1000 do n = n + (list[i] == i and 1 or 0) end
        list[1] = 0
        small = nil
        collectgarbage()
        seen:put(n)
    end):join()
    t.is(seen:get(), 6000, "a child has them")
    t.is({list[1], small[300000][2]}, {1, "300000"}, "and what it does with them is its own affair")

    local much = resident()
    list, small = nil, nil
    collectgarbage()
    collectgarbage()
    if not t.is_sanitized() then -- sanitizers keep what is freed for a while
        local left = resident()
        t.ok(left < much - 100, ("memory goes back: %.0f MiB, then %.0f"):format(much, left))
    end
end)

t.test("strings of many sizes", function()
    local right = true
    for exponent = 10, 26 do
        local s = ("x"):rep(1 << exponent)
        right = right and #s == 1 << exponent and s:sub(-1) == "x"
    end
    t.ok(right, "from 1 KiB to 64 MiB")
end)

t.done()
