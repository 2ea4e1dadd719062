-- ipc.Array.

local members = require "members"
local t = require "tap"

t.test("is made of a size, a list or a string", function()
    t.is(ipc.Array("i", 3):totable(), {0, 0, 0}, "a size: zeroes")
    t.is(ipc.Array("i", 0):totable(), {}, "none")
    t.is(ipc.Array("h", {1, -2, 3}):totable(), {1, -2, 3}, "a list")
    t.is(ipc.Array("?", {true, false}):totable(), {true, false}, "of booleans")
    t.is(ipc.Array("c", "hello"):totable(), {"h", "e", "l", "l", "o"}, "a string")
    t.is(ipc.Array{typecode = "i", init = {7}, name = "a"}:totable(), {7}, "by name")
    t.is(tostring(ipc.Array{"i", 5, name = "a"}), "Array \"a\" (5 of 'i')", "printed")
    t.raises(function() ipc.Array("i") end, "size, list or string expected, got nil", "nothing")
    t.raises(function() ipc.Array("i", "abc") end, "a string fills an array of typecode 'c', not of 'i'",
        "a string of numbers")
    t.raises(function() ipc.Array("i", -1) end, "size that is not negative", "less than nothing")
    t.raises(function() ipc.Array("i", 1.5) end, "no integer representation", "a half")
    t.raises(function() ipc.Array("b", {1, 1000}) end, "1000 does not fit typecode 'b'", "out of range")
    t.raises(function() ipc.Array("i", {1, "x"}) end, "a number expected", "a string in a list")
    t.raises(function() ipc.Array("x", 1) end, "unknown typecode 'x'", "typecode")
    t.raises(function() ipc.Array("d", 1 << 60) end, "cannot make a Array: out of shared memory",
        "more than there is")
    t.raises(function() ipc.Array{typecode = "i", initial = 1} end, "unknown option 'initial'",
        "an option")
end)

t.test("elements count from 1 to #a", function()
    local a = ipc.Array{"i", {10, 20, 30}, name = "a"}
    t.is({#a, a[1], a[3], a[2.0]}, {3, 10, 30, 20}, "read")
    t.is({a[4], a[1 << 40], a[math.maxinteger]}, {}, "past the end is nil")
    for _, i in ipairs {0, -1, 1.5, math.mininteger} do
        t.raises(function() return a[i] end,
            'ipc_array.lua:%d+: index .- of Array "a": elements count from 1 to 3', "read " .. i)
        t.raises(function() a[i] = 1 end, 'of Array "a": elements count from 1 to 3', "write " .. i)
    end
    t.raises(function() a[4] = 1 end, "index 4 of Array", "write past the end")
    t.raises(function() a.x = 1 end, "an Array has elements to set, not 'x'", "a field")
    t.is(a.x, nil, "no field to read")
    t.raises(function() a[1] = 1 << 31 end, "does not fit typecode 'i'", "out of range")
    t.raises(function() a[1] = nil end, "a number expected", "nil")
    t.is(a:totable(), {10, 20, 30}, "all as it was")
    a[2] = 21
    t.is(a[2], 21, "written")
end)

t.test("all typecodes keep their neighbours", function()
    for code, x in pairs {
        b = -1, B = 255, h = -1, H = 65535, i = -1, I = (1 << 32) - 1, l = -1, L = math.maxinteger,
        q = math.mininteger, Q = math.maxinteger, f = -0.5, d = 0.1, c = "\255", ["?"] = true,
    } do
        local a = ipc.Array(code, 3)
        local zero = a[1]
        a[2] = x
        t.is(a:totable(), {zero, x, zero}, code)
        t.is(math.type(a[2]), math.type(x), code .. ": its type")
    end
    t.raises(function() ipc.Array("f", 1)[1] = 1e39 end, "does not fit typecode 'f'", "f")
end)

t.test("ipairs, table.concat, table.sort, table.unpack and table.move work on it", function()
    local a = ipc.Array("i", {3, 1, 2})
    local seen = {}
    for i, v in ipairs(a) do
        seen[i] = v
    end
    t.is(seen, {3, 1, 2}, "ipairs ends at the end")
    t.is(table.concat(a, ","), "3,1,2", "table.concat")
    table.sort(a)
    t.is(a:totable(), {1, 2, 3}, "table.sort")
    table.sort(a, function(x, y) return x > y end)
    t.is(a:totable(), {3, 2, 1}, "with a comparison")
    t.is({table.unpack(a)}, {3, 2, 1}, "table.unpack")
    table.move({7, 8}, 1, 2, 2, a)
    t.is(a:totable(), {3, 7, 8}, "table.move")
    t.is(table.concat(ipc.Array("c", "word")), "word", "of characters")
    local big = {}
    for i = 1, 2000 do
        big[i] = (i * 7919) % 2003
    end
    local b = ipc.Array("h", big)
    table.sort(b)
    table.sort(big)
    t.is(b:totable(), big, "a larger sort")
end)

t.test("totable counts as string.sub does", function()
    local s = "abcdef"
    local a = ipc.Array("c", s)
    local far = {math.mininteger, math.maxinteger}
    for _, r in ipairs {{}, {2}, {2, 4}, {-3}, {-3, -2}, {0}, {4, 2}, {7}, {1, 99}, {-99, 2}, {3, 3},
        far, {far[2]}, {far[1]}, {1, far[1]}, {far[2], far[1]}} do
        t.is(table.concat(a:totable(r[1], r[2])), s:sub(r[1] or 1, r[2]),
            ("from %s to %s"):format(r[1], r[2]))
    end
    t.raises(function() a:totable("x") end, "number expected", "no number")
end)

t.test("set writes a list whole or not at all", function()
    local a = ipc.Array{"b", 5, name = "a"}
    a:set(2, {1, 2, 3})
    t.is(a:totable(), {0, 1, 2, 3, 0}, "in the middle")
    a:set(6, {})
    a:set(5, {9})
    t.is(a[5], 9, "at the end")
    t.raises(function() a:set(4, {1, 2, 3}) end,
        'ipc_array.lua:%d+: 3 elements from index 4 on do not fit Array "a", which has 5', "past the end")
    t.raises(function() a:set(0, {1}) end, "do not fit", "before the beginning")
    t.raises(function() a:set(math.maxinteger, {1}) end, "do not fit", "far away")
    t.raises(function() a:set(1, {7, 7, 1000}) end, "1000 does not fit typecode 'b'", "out of range")
    t.raises(function() a:set(1, {7, "x"}) end, "a number expected", "no number")
    t.raises(function() a:set(1) end, "table expected", "no list")
    t.is(a:totable(), {0, 1, 2, 3, 9}, "all as it was")
    a:fill(4)
    t.is(a:totable(), {4, 4, 4, 4, 4}, "fill")
    t.raises(function() a:fill(1000) end, "does not fit", "fill out of range")
    t.raises(function() a:fill() end, "a number expected", "fill with nothing")
    t.is(a[5], 4, "as it was")
end)

t.test("set writes a long list whole or not at all, too, and one that has a metatable", function()
    local a, list = ipc.Array("h", 5000), {}
    for i = 1, 5000 do list[i] = i end
    a:set(1, list)
    t.is(a:totable(), list, "a long one")
    list[1], list[4999] = -1, 40000
    t.raises(function() a:set(1, list) end, "40000 does not fit typecode 'h'", "out of range near its end")
    t.is(a[1], 1, "nothing is written")
    local squares = setmetatable({}, {
        __index = function(_, i) return i * i end, __len = function() return 100 end,
    })
    a:set(4901, squares)
    t.is({a[4900], a[4901], a[5000]}, {4900, 1, 10000}, "computed elements")
    t.is(#ipc.Array("i", squares), 100, "the first elements of a new array, too")
end)

t.test("value and raw of an array of characters", function()
    local a = ipc.Array("c", 8)
    t.is({a.value, a.raw}, {"", ("\0"):rep(8)}, "empty")
    a.value = "hello"
    t.is({a.value, a.raw}, {"hello", "hello\0\0\0"}, "value ends at the first zero, raw does not")
    a.raw = "a\0b"
    t.is({a.value, a.raw}, {"a", "a\0b\0\0\0\0\0"}, "raw")
    a.value = "12345678"
    t.is(a.value, "12345678", "full")
    t.raises(function() a.value = "123456789" end,
        "a string of 9 bytes does not fit an array of 8", "one more")
    t.raises(function() a.raw = {} end, "string expected", "no string")
    t.is(a.value, "12345678", "as it was")
    t.raises(function() return ipc.Array("i", 1).value end,
        "only an array of typecode 'c' has 'value', not one of 'i'", "of another typecode")
    t.raises(function() ipc.Array("i", 1).raw = "x" end, "only an array of typecode 'c' has 'raw'",
        "nor raw")
end)

t.test("processes that write under its lock lose nothing; each element is written whole", function()
    local a = ipc.Array("q", 4)
    local torn = ipc.Value("i")
    local ps = {}
    for i = 1, 4 do
        ps[i] = members.spawn(function()
            for k = 1, 1000 do
                a:get_lock():with(function() a[1] = a[1] + 1 end)
                a[2] = (i % 2 == 0) and -1 or 0
                local seen = a[2]
                if seen ~= 0 and seen ~= -1 then
                    torn:add(1)
                end
            end
        end)
    end
    for i = 1, 4 do
        ps[i]:join()
    end
    t.is({a[1], torn.value}, {4000, 0}, "sum, and torn elements")
    t.ok(a:get_lock() == a:get_lock(), "one lock")
end)

t.test("a large one is shared, not copied", function()
    local n = 1 << 20
    local a = ipc.Array("d", n)
    members.spawn(function()
        for i = 1, n, 4096 do
            a[i] = i / 2
        end
        a[n] = 1.5
    end):join()
    local good = a[n] == 1.5
    for i = 1, n, 4096 do
        good = good and a[i] == i / 2
    end
    t.ok(good, "what the child wrote is here")
end)

t.done()
