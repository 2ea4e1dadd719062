-- ipc.Value.

local members = require "members"
local t = require "tap"

local ranges = {
    b = {-128, 127}, B = {0, 255}, h = {-32768, 32767}, H = {0, 65535},
    i = {-(1 << 31), (1 << 31) - 1}, I = {0, (1 << 32) - 1},
    l = {math.mininteger, math.maxinteger}, L = {0, math.maxinteger},
    q = {math.mininteger, math.maxinteger}, Q = {0, math.maxinteger},
}

for code, range in pairs(ranges) do
    t.test(("'%s': an integer from %d to %d, and nothing else"):format(code, range[1], range[2]),
        function()
            local v = ipc.Value(code)
            t.is(v.value, 0, "0 in the beginning")
            for _, n in ipairs {range[1], range[2], 0, 1, 100} do
                v.value = n
                t.is(v.value, n, "stored")
                t.is(math.type(v.value), "integer", "as an integer")
                t.is(ipc.Value(code, n).value, n, "from the beginning")
            end
            v.value = 7.0
            t.is(math.type(v.value), "integer", "a float with an integer's value becomes one")
            local wrong = {1.5, "1", true, {}, 1e300, 0 / 0}
            if range[1] > math.mininteger then
                wrong[#wrong + 1] = range[1] - 1
            end
            if range[2] < math.maxinteger then
                wrong[#wrong + 1] = range[2] + 1
            end
            for _, x in ipairs(wrong) do
                t.raises(function() v.value = x end, "typecode '" .. code .. "'", tostring(x))
                t.raises(function() ipc.Value(code, x) end, "typecode '" .. code .. "'",
                    tostring(x) .. " in the beginning")
                t.raises(function() v:exchange(x) end, "typecode '" .. code .. "'", "exchanged")
                t.raises(function() v:compare_exchange(7, x) end, "typecode '" .. code .. "'",
                    "compared and exchanged")
            end
            t.raises(function() v.value = nil end, "a number expected for typecode", "nil")
            t.is(v.value, 7, "and it stays as it was")
            v.value = range[2]
            t.raises(function() v:add(1) end, "add: .* does not fit typecode '" .. code ..
                "'; the value stays as it was", "one more than the most")
            t.is(v.value, range[2], "stays")
            v.value = range[1]
            t.raises(function() v:add(-1) end, "does not fit typecode", "one less than the least")
            t.is(v:add(1), range[1], "add returns the old value")
            t.is(v.value, range[1] + 1, "and adds")
        end)
end

t.test("'d' holds floats exactly", function()
    local v = ipc.Value("d")
    t.is(math.type(v.value), "float", "a float from the beginning")
    for _, x in ipairs {0.1, -0.0, 1e308, 5e-324, math.huge, -math.huge, 2 ^ 53, 3} do
        v.value = x
        t.ok(v.value == x and math.type(v.value) == "float" and 1 / v.value == 1 / x, tostring(x))
    end
    v.value = 0 / 0
    t.ok(v.value ~= v.value, "NaN")
    v.value = 1.5
    t.is(v:add(2), 1.5, "add")
    t.is(v:add(0.25), 3.5, "add a fraction")
    t.is(v:exchange(1), 3.75, "exchange")
    t.is(v:compare_exchange(1, 2), 1.0, "compare_exchange that holds")
    t.is(v:compare_exchange(1, 3), 2.0, "and one that does not")
    t.is(v.value, 2.0, "changes nothing")
    v.value = 1e308
    t.raises(function() v.value = "1.5" end, "a number expected for typecode 'd', got string", "a string")
end)

t.test("'f' rounds to single precision, and what it cannot hold raises", function()
    local v = ipc.Value("f", 0.1)
    t.ok(v.value ~= 0.1 and math.abs(v.value - 0.1) < 1e-8, "rounded")
    t.is(v:compare_exchange(0.1, 2), string.unpack("f", string.pack("f", 0.1)), "compared as rounded")
    t.is(v.value, 2.0, "exchanged")
    for _, x in ipairs {1e39, -1e300, 3.5e38} do
        t.raises(function() v.value = x end, "does not fit typecode 'f'", tostring(x))
        t.raises(function() v:add(x) end, "does not fit typecode 'f'; the value stays", "added")
        t.raises(function() ipc.Value("f", x) end, "does not fit typecode 'f'", "in the beginning")
    end
    t.is(v.value, 2.0, "it stays as it was")
    v.value = math.huge
    t.is(v.value, math.huge, "infinity itself is a number like another")
    v.value = 3.4028234663852886e38
    t.is(v.value, 3.4028234663852886e38, "the largest")
end)

t.test("'c' holds one byte, '?' a boolean", function()
    local c = ipc.Value("c", "x")
    t.is(c.value, "x", "a byte")
    c.value = "\0"
    t.is(c.value, "\0", "zero")
    t.is(c:exchange("\255"), "\0", "exchange")
    for _, x in ipairs {"", "ab", 5, true} do
        t.raises(function() c.value = x end, "a string of one byte expected for typecode 'c'",
            tostring(x))
    end
    t.raises(function() c:add("a") end, "add wants a number's typecode, not 'c'", "add")
    t.is(c.value, "\255", "stays")
    local b = ipc.Value("?")
    t.is(b.value, false, "false in the beginning")
    b.value = true
    t.is(b:exchange(false), true, "exchange")
    t.is(b:compare_exchange(false, true), false, "compare_exchange")
    for _, x in ipairs {0, "true"} do
        t.raises(function() b.value = x end, "a boolean expected for typecode '%?'", tostring(x))
    end
    t.raises(function() b.value = nil end, "a boolean expected", "nil")
    t.is(b.value, true, "stays")
end)

t.test("the constructor says what it wants", function()
    t.raises(function() ipc.Value() end, "string expected", "nothing")
    for _, code in ipairs {"x", "", "ii", "u"} do
        t.raises(function() ipc.Value(code) end,
            "ipc_value.lua:%d+: unknown typecode '" .. code .. "'; there are b B h H i I l L q Q f d c",
            "'" .. code .. "'")
    end
    t.raises(function() ipc.Value("i", 1, 2) end, "at most 2 arguments", "three")
    t.raises(function() ipc.Value{typecode = "i", int = 3} end, "did you mean 'init'?", "misspelt")
    local v = ipc.Value{typecode = "i", init = 3, name = "money"}
    t.is(tostring(v), 'Value "money" (3)', "by name")
    t.is(ipc.Value{"i", 4}.value, 4, "positional in a table")
end)

t.test("has the field value and no other", function()
    local v = ipc.Value("i")
    t.is(v.valeu, nil, "nothing to read")
    t.raises(function() v.valeu = 1 end,
        "ipc_value.lua:%d+: a Value has the field 'value' to set, not 'valeu'", "nothing to set")
end)

t.test("its lock is one RLock, the same for all", function()
    local v = ipc.Value("i")
    local lock = v:get_lock()
    t.ok(lock == v:get_lock(), "always the same")
    t.ok(tostring(lock):find("^RLock "), tostring(lock))
    lock:acquire()
    lock:acquire()
    lock:release()
    lock:release()
    local ps = {}
    for i = 1, 4 do
        ps[i] = members.spawn(function()
            for _ = 1, 1000 do
                local _ <close> = v:get_lock():acquire()
                v.value = v.value + 1
            end
        end)
    end
    for i = 1, 4 do
        ps[i]:join()
    end
    t.is(v.value, 4000, "nothing is lost")
    local keeps = ipc.Value("i"):get_lock()
    collectgarbage()
    collectgarbage()
    t.is(keeps:with(function() return keeps:locked() end), true, "it keeps its value alive")
end)

t.test("add, exchange and compare_exchange are atomic", function()
    local n, each = 4, 5000
    local sum, float, token, swaps = ipc.Value("q"), ipc.Value("d"), ipc.Value("i"), ipc.Value("i")
    local sums = ipc.Queue()
    local ps = {}
    for i = 1, n do
        ps[i] = members.spawn(function()
            local mine = 0
            for k = 1, each do
                sum:add(1)
                float:add(0.5)
                mine = mine + token:exchange(k) - k -- what went in comes out exactly once
                repeat
                    local old = swaps.value
                until swaps:compare_exchange(old, old + 1) == old
            end
            sums:put(mine)
        end)
    end
    local rest = 0
    for i = 1, n do
        ps[i]:join()
        rest = rest + sums:get()
    end
    t.is(sum.value, n * each, "add")
    t.is(float.value, n * each / 2, "add of floats")
    t.is(rest + token.value, 0, "exchange")
    t.is(swaps.value, n * each, "compare_exchange")
end)

t.done()
