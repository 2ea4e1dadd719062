-- ipc.Dict.

local members = require "members"
local t = require "tap"

-- A copy of what is in it.
local function all(d)
    local copy = {}
    for k, v in pairs(d) do
        copy[k] = v
    end
    return copy
end

t.test("is made empty or of a table, with a name if wanted", function()
    t.is(all(ipc.Dict()), {}, "empty")
    t.is(all(ipc.Dict({a = 1, [2] = "x"})), {a = 1, [2] = "x"}, "of a table")
    t.is(tostring(ipc.Dict({1, 2}, {name = "d"})), 'Dict "d" (2)', "with a name")
    t.is(tostring(ipc.Dict(nil, {name = "d"})), 'Dict "d" (0)', "with a name only")
    t.is(all(ipc.Dict({name = "x"})), {name = "x"}, "name is a key like another in the table")
    t.raises(function() ipc.Dict(5) end, "table expected, got number", "a number")
    t.raises(function() ipc.Dict({}, {nam = "x"}) end, "unknown option 'nam' of ipc.Dict", "misspelt")
    t.raises(function() ipc.Dict({}, {name = 5}) end, "'name' of ipc.Dict: a string expected", "a number")
    t.raises(function() ipc.Dict({}, 5) end, "table expected", "no options")
    t.raises(function() ipc.Dict({x = io.stdout}) end, "cannot send .*a file handle", "what cannot be sent")
end)

t.test("keys are strings, numbers and booleans, and are what they are in a table", function()
    local d = ipc.Dict()
    local keys = {"", "a", "1", "a\0b", ("long"):rep(50), 1, 0, -1, 2.5, -0.5, math.mininteger,
        math.maxinteger, 1e300, math.huge, -math.huge, true, false, "get ", "\xff\xfe"}
    for i, k in ipairs(keys) do
        d[k] = i
    end
    t.is(#d, #keys, "all different")
    for i, k in ipairs(keys) do
        t.is(d[k], i, "key number " .. i)
    end
    local seen = 0
    for k, v in pairs(d) do
        seen = seen + (rawequal(keys[v], k) and math.type(keys[v]) == math.type(k) and 1 or 0)
    end
    t.is(seen, #keys, "pairs gives the keys themselves")
    d[1.0] = "one"
    t.is({d[1], #d}, {"one", #keys}, "1.0 is 1")
    d[2 ^ 53] = "big"
    t.is(d[1 << 53], "big", "and so on")
    for _, k in ipairs(keys) do
        d[k] = nil
    end
    d[2 ^ 53] = nil
    t.is({#d, all(d)}, {0, {}}, "all removed")
end)

t.test("other keys raise, and nil reads nil", function()
    local d = ipc.Dict()
    t.is(d[nil], nil, "nil reads nil")
    t.raises(function() d[nil] = 1 end, "ipc_dict.lua:%d+: a key of a Dict is a string, number or boolean, "
        .. "not a nil", "nil")
    t.raises(function() d[0 / 0] = 1 end, "cannot be NaN", "NaN")
    t.raises(function() d[{}] = 1 end, "not a table", "a table")
    t.raises(function() return d[print] end, "not a function", "reading by a function")
    t.raises(function() d[sync.Lock()] = 1 end, "not a userdata", "an object")
    t.is(#d, 0, "nothing was stored")
end)

t.test("values are anything that can be sent, as a copy", function()
    local d = ipc.Dict()
    local values = {true, false, 0, -0.0, 1 << 62, "", ("x"):rep(100000), {1, {2}, k = "v"}}
    for i, v in ipairs(values) do
        d.k = v
        t.is(d.k, v, "value " .. i)
    end
    local inner = {1}
    d.t = inner
    inner[1] = 2
    t.is(d.t, {1}, "later changes of what was stored do not show")
    d.t[1] = 3
    t.is(d.t, {1}, "nor of what was read")
    d.f = function(x) return x + 1 end
    t.is(d.f(1), 2, "a function")
    t.raises(function() d.k = io.stdout end, "ipc_dict.lua:%d+: cannot send .*a file handle", "a file")
    t.raises(function() d.k = {a = {io.stdout}} end, "cannot send value.a%[1%]: a file handle", "its path")
    t.is(d.k, values[#values], "and what was there stays")
end)

t.test("keys that are methods' names are reached by get and set", function()
    local d = ipc.Dict()
    for _, name in ipairs {"get", "set", "update"} do
        t.raises(function() d[name] = 1 end,
            ("ipc_dict.lua:%%d+: '%s' is a method of Dict; store under this key by d:set%%(\"%s\", value%%)")
            :format(name, name), name)
        d:set(name, name .. "!")
        t.is(d:get(name), name .. "!", name .. " is stored and got")
        t.is(type(d[name]), "function", name .. " is the method still")
    end
    t.is(#d, 3, "three")
    t.is(all(d), {get = "get!", set = "set!", update = "update!"}, "pairs has them")
    d:set("get", nil)
    t.is({d:get("get"), #d}, {nil, 2}, "removed")
    d:set(5, "five")
    t.is({d:get(5), d[5]}, {"five", "five"}, "any key goes")
    t.is(all(ipc.Dict({get = 1})), {get = 1}, "also in the beginning")
    t.is(d:get("missing"), nil, "what is not there is nil")
    t.raises(function() d:get() end, "value expected", "get without a key")
    t.raises(function() d:update("x") end, "function expected", "update without a function")
    t.is(d.clear, nil, "there are no other methods")
end)

t.test("update stores what the function makes of the value, and returns it", function()
    local d = ipc.Dict({n = 1})
    t.is(d:update("n", function(v) return v + 1 end), 2, "of a value")
    t.is(d:update("new", function(v) t.is(v, nil, "nil where there is none") return {1} end), {1}, "new")
    t.is(d:update("n", function() return nil end), nil, "nil removes")
    t.is(all(d), {new = {1}}, "stored")
    t.raises(function() d:update("new", function() error("oops") end) end, "oops", "an error")
    t.raises(function() d:update("new", function() return io.stdout end) end, "cannot send value", "a file")
    t.is(d.new, {1}, "leave it as it was")
    d:update("new", function(v) d.other = "stored inside" return v end)
    t.is(d.other, "stored inside", "the function may use the dict")
end)

t.test("update is atomic: processes that count lose nothing", function()
    local d, n, each = ipc.Dict({sum = 0, list = {}}), 4, 500
    local ps = {}
    for i = 1, n do
        ps[i] = members.spawn(function()
            for k = 1, each do
                d:update("sum", function(v) return v + k end)
                d:update("count", function(v) return (v or 0) + 1 end)
                if k % 50 == 0 then
                    d:update("list", function(v)
                        v[#v + 1] = i
                        return v
                    end)
                end
                d[("p%d"):format(i)] = k
            end
        end)
    end
    for i = 1, n do
        ps[i]:join()
    end
    t.is({d.sum, d.count}, {n * each * (each + 1) // 2, n * each}, "sums")
    t.is(#d.list, n * each // 50, "tables")
    t.is({d.p1, d.p4}, {each, each}, "and what each has stored")
end)

t.test("pairs goes through the entries of the moment of the call", function()
    local d = ipc.Dict()
    for i = 1, 100 do
        d[i] = i
    end
    local n, sum = 0, 0
    for k, v in pairs(d) do
        n, sum = n + 1, sum + v
        d[k] = nil
        d["new" .. k] = true
    end
    t.is({n, sum, #d}, {100, 5050, 100}, "changed meanwhile by oneself")
    local stop = sync.Event()
    local p = members.spawn(function()
        local i = 0
        while not stop:is_set() do
            i = i + 1
            d["x" .. i % 300] = ("y"):rep(i % 100)
            d["x" .. (i * 7) % 300] = nil
        end
    end)
    local good = true
    for _ = 1, 50 do
        local seen = {}
        for k, v in pairs(d) do
            good = good and not seen[k] and (v == true or v:find("^y*$") ~= nil)
            seen[k] = true
        end
        for i = 1, 100 do
            good = good and seen["new" .. i]
        end
    end
    stop:set()
    p:join()
    t.ok(good, "changed meanwhile by another: each once, and those that stay are all there")
    local first = pairs(d)
    first()
    first = nil
    collectgarbage()
    t.ok(true, "one that is not gone through to the end is given up")
end)

t.test("grows to a hundred thousand entries and shrinks again", function()
    local d, n = ipc.Dict(), 100000
    for i = 1, n do
        d[i] = i * 3
    end
    t.is(#d, n, "all in")
    local good = true
    for i = 1, n, 7 do
        good = good and d[i] == i * 3
    end
    t.ok(good, "all found")
    local sum = 0
    for k, v in pairs(d) do
        sum = sum + v - k
    end
    t.is(sum, n * (n + 1), "pairs")
    for i = 1, n do
        d[i] = nil
    end
    t.is({#d, d[1], d[n]}, {0, nil, nil}, "all out")
    for i = 1, 1000 do
        d["again" .. i] = i
    end
    t.is({#d, d.again1000}, {1000, 1000}, "and in again")
end)

members.test_of_processes("a member killed in the middle of changes leaves old or new values", function()
    local d = ipc.Dict()
    local faults = 0
    for _ = 1, 20 do
        local p = members.spawn(function()
            local i = 0
            while true do
                i = i + 1
                local n = i % 50
                d[n] = {n, ("z"):rep(i % 3000), i % 3000}
                if i % 10 == 0 then
                    d[(i * 3) % 50] = nil
                end
            end
        end)
        process.sleep(0.004)
        p:kill()
        p:join()
        local count = 0
        for k, v in pairs(d) do
            count = count + 1
            if v[1] ~= k or #v[2] ~= v[3] then
                faults = faults + 1
            end
        end
        if count ~= #d then
            faults = faults + 1
        end
        d[0] = {0, "", 0}
    end
    t.is(faults, 0, "torn entries, wrong counts")
end)

t.test("objects can be stored, and live as long as they are there", function()
    local d = ipc.Dict()
    local q, lock = ipc.Queue{name = "inside"}, sync.Lock()
    d.q = q
    d.both = {lock, q}
    t.ok(d.q == q and d.both[1] == lock, "the same objects come out")
    q, lock = nil, nil
    collectgarbage()
    collectgarbage()
    members.spawn(function() d.q:put("through it") end):join()
    t.is(d.q:get(), "through it", "nobody else has it")
    local kept = d.both[1]
    d.q, d.both = nil, nil
    collectgarbage()
    t.ok(kept:acquire(), "one that was read outlives its entry")
    kept:release()
    d.self = d
    t.ok(d.self == d, "even the dict itself")
    d.self = nil
end)

t.done()
