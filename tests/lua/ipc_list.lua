-- ipc.List.

local members = require "members"
local t = require "tap"

local function all(l)
    local copy = {}
    for i, v in pairs(l) do
        copy[i] = v
    end
    return copy
end

t.test("is made empty or of a list, with a name if wanted", function()
    t.is(all(ipc.List()), {}, "empty")
    t.is(all(ipc.List({1, "two", {3}})), {1, "two", {3}}, "of a list")
    t.is(tostring(ipc.List({1}, {name = "l"})), 'List "l" (1)', "with a name")
    t.raises(function() ipc.List("x") end, "table expected", "a string")
    t.raises(function() ipc.List({1, io.stdout}) end, "cannot send .*a file handle", "a file")
    t.raises(function() ipc.List({}, {size = 1}) end, "unknown option 'size' of ipc.List", "an option")
    t.raises(function() ipc.List(setmetatable({1}, {__len = function() return 3 end})) end,
        "nil cannot be an item of a List", "nil in it")
end)

t.test("items count from 1 to #l, and it grows by one at its end", function()
    local l = ipc.List({"a", "b"}, {name = "l"})
    t.is({#l, l[1], l[2], l[3], l[0]}, {2, "a", "b"}, "read")
    t.is({l[-1], l[1.5], l.x, l[1 << 40]}, {}, "past either end is nil")
    t.is(l[2.0], "b", "2.0 is 2")
    l[2] = "B"
    l[3] = "c"
    t.is(all(l), {"a", "B", "c"}, "written, and grown")
    for _, i in ipairs {5, 0, -1, 1 << 40} do
        t.raises(function() l[i] = "x" end,
            'ipc_list.lua:%d+: index .- of List "l": it has 3 items, and grows by one at its end',
            "index " .. i)
    end
    t.raises(function() l.x = 1 end, "number expected, got string", "a field")
    t.raises(function() l[1.5] = 1 end, "no integer representation", "between two")
    t.raises(function() l[1] = io.stdout end, "cannot send .*a file handle", "a file")
    t.raises(function() l[1] = nil end, "nil can be stored in a List only at its end; use l:pop%(1%)",
        "nil in the middle")
    t.is(all(l), {"a", "B", "c"}, "all as it was")
    l[3] = nil
    t.is(all(l), {"a", "B"}, "nil at the end removes")
end)

t.test("append and pop", function()
    local l = ipc.List()
    t.is(l:pop(), nil, "nothing to pop")
    for i = 1, 5 do
        l:append(i)
    end
    t.is({l:pop(), #l}, {5, 4}, "the last")
    t.is({l:pop(2), l:pop(1)}, {2, 1}, "from the middle and the front")
    t.is(all(l), {3, 4}, "the rest moves down")
    t.is({l:pop(3), l:pop(0), l:pop(-1)}, {}, "what is not there")
    t.is(#l, 2, "changes nothing")
    t.raises(function() l:append(nil) end, "nil cannot be an item of a List", "nil")
    t.raises(function() l:append() end, "nil cannot be an item of a List", "nothing")
    t.raises(function() l:append(io.stdout) end, "cannot send value: a file handle", "a file")
    t.raises(function() l:pop("x") end, "number expected", "no number")
    l:append(false)
    t.is(l:pop(), false, "false is an item")
end)

t.test("ipairs, pairs, table.concat, table.sort, table.insert and table.remove work on it", function()
    local l = ipc.List({3, 1, 2})
    local seen = {}
    for i, v in ipairs(l) do
        seen[i] = v
    end
    t.is(seen, {3, 1, 2}, "ipairs")
    t.is(table.concat(l, ","), "3,1,2", "table.concat")
    table.sort(l)
    t.is(all(l), {1, 2, 3}, "table.sort")
    table.insert(l, 4)
    table.insert(l, 1, 0)
    t.is(all(l), {0, 1, 2, 3, 4}, "table.insert")
    t.is(table.remove(l, 1), 0, "table.remove")
    t.is(table.remove(l), 4, "of the last")
    t.is(all(l), {1, 2, 3}, "what is left")
end)

t.test("processes that append and pop lose and double nothing", function()
    local l, taken = ipc.List(), ipc.Queue()
    local n, each = 3, 500
    local ps, cs = {}, {}
    local over = sync.Event()
    for i = 1, n do
        ps[i] = members.spawn(function()
            for k = 1, each do
                l:append({i, k})
            end
        end)
        cs[i] = members.spawn(function()
            local sum, count = 0, 0
            while true do
                local done = over:is_set()
                local v = i == 1 and l:pop(1) or l:pop()
                if v then
                    sum, count = sum + v[1] * v[2], count + 1
                elseif done then
                    break
                end
            end
            taken:put({sum, count})
        end)
    end
    for i = 1, n do
        ps[i]:join()
    end
    over:set()
    local sum, count = 0, 0
    for _ = 1, n do
        local got = taken:get(60)
        sum, count = sum + got[1], count + got[2]
    end
    for i = 1, n do
        cs[i]:join()
    end
    t.is({sum, count, #l}, {6 * each * (each + 1) // 2, n * each, 0}, "sum, count and rest")
end)

t.test("grows to a hundred thousand items and shrinks again", function()
    local l, n = ipc.List(), 100000
    for i = 1, n do
        l:append(i)
    end
    t.is({#l, l[1], l[n // 2], l[n]}, {n, 1, n // 2, n}, "all in")
    local good = true
    for i = n, 1, -1 do
        good = good and l:pop() == i
    end
    t.ok(good and #l == 0, "all out")
    for i = 1, 2000 do
        l:append(i)
    end
    for i = 1, 2000 do
        good = good and l:pop(1) == i
    end
    t.ok(good, "from the front, too")
end)

members.test_of_processes("a member killed in the middle of changes leaves a whole list", function()
    local l = ipc.List()
    local faults = 0
    for _ = 1, 20 do
        local p = members.spawn(function()
            local i = 0
            while true do
                i = i + 1
                l:append({i, ("z"):rep(i % 2000), i % 2000})
                if #l > 20 then
                    l:pop(i % 20 + 1)
                end
            end
        end)
        process.sleep(0.004)
        p:kill()
        p:join()
        local last = {}
        for i = 1, #l do
            local v = l[i]
            if type(v) ~= "table" or #v[2] ~= v[3] or last[v[1]] then
                faults = faults + 1
            else
                last[v[1]] = true
            end
        end
        if #all(l) ~= #l then
            faults = faults + 1
        end
        while #l > 0 do
            l:pop()
        end
    end
    t.is(faults, 0, "torn or doubled items, wrong counts")
end)

t.test("objects can be stored, and leave with pop", function()
    local l = ipc.List()
    l:append(sync.Semaphore(3))
    l:append({ipc.Queue{name = "q"}})
    collectgarbage()
    collectgarbage()
    t.is(l[1]:get_value(), 3, "a semaphore")
    local popped = l:pop()
    collectgarbage()
    popped[1]:put("x")
    t.is(popped[1]:get(), "x", "a popped queue")
    l[1] = nil
    t.is(#l, 0, "removed")
end)

t.done()
