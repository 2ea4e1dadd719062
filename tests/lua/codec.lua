-- What can be sent, and what cannot: the codec alone, through its debugging pair.

local t = require "tap"
local codec = require "luamp.codec"

local function copy(...)
    return codec.decode(codec.encode(...), true)
end

-- a module as `require` would have left it
local function with_module(name, value, f)
    package.loaded[name] = value
    local ok, message = pcall(f)
    package.loaded[name] = nil
    assert(ok, message)
end

t.test("nil and booleans arrive as they are", function()
    t.is(select("#", copy(nil)), 1, "one nil is one value")
    t.is(copy(nil), nil, "nil")
    t.is(copy(true), true, "true")
    t.is(copy(false), false, "false")
end)

t.test("integers of every size arrive exactly", function()
    for shift = 0, 63 do
        for _, n in ipairs {1 << shift, (1 << shift) - 1, -(1 << shift), -(1 << shift) - 1} do
            local m = copy(n)
            if m ~= n or math.type(m) ~= "integer" then
                t.ok(false, ("%d arrives as %s"):format(n, m))
            end
        end
    end
    t.is(#codec.encode(5), 1, "a small integer takes one byte")
    t.is(#codec.encode(math.mininteger), 9, "a large one nine")
end)

t.test("floats arrive exactly, subtype included", function()
    for _, x in ipairs {0.0, 1.0, -1.5, 2.0 ^ 53, 1e308, 5e-324, math.pi, math.huge, -math.huge} do
        local y = copy(x)
        if y ~= x or math.type(y) ~= "float" then
            t.ok(false, ("%g arrives as %s"):format(x, y))
        end
    end
    t.is(math.type(copy(3.0)), "float", "3.0 stays a float")
    t.is(1 / copy(-0.0), -math.huge, "-0.0 keeps its sign")
    local nan = copy(0 / 0)
    t.ok(nan ~= nan, "NaN stays NaN")
end)

t.test("strings of any bytes and length arrive", function()
    local all = {}
    for i = 0, 255 do
        all[#all + 1] = string.char(i)
    end
    t.is(copy(table.concat(all)), table.concat(all), "all bytes")
    for _, n in ipairs {0, 1, 39, 40, 41, 255, 256, 65535, 65536, 1 << 20} do
        local s = ("x"):rep(n)
        t.ok(copy(s) == s, n .. " bytes alone")
        t.ok(copy({s})[1] == s, n .. " bytes in a list")
        t.ok(copy({[s] = true})[s] == true, n .. " bytes as a key")
    end
end)

t.test("several values arrive with their nils", function()
    local values = table.pack(copy(1, nil, "x", nil, nil))
    t.is(values.n, 5, "as many as were sent")
    t.is({values[1], values[3]}, {1, "x"}, "in their places")
    t.is(select("#", copy()), 0, "and none is none")
end)

t.test("lists keep their nils and their length", function()
    local list = copy({1, nil, 3})
    t.is(#list, 3, "the length of {1, nil, 3}")
    t.is(list, {1, nil, 3}, "its items")
    t.is(copy({nil, nil, 3})[3], 3, "nils in front")
    local packed = copy(table.pack(nil, 2, nil, nil))
    t.is(packed.n, 4, "the n of table.pack")
    t.is(packed[2], 2, "its item")
end)

t.test("tables arrive whatever their keys are", function()
    local key = {"a key"}
    local sent = {
        10, 20, 30, x = 1, [1.5] = "float", [true] = "yes", [false] = "no", [-1] = "minus",
        [2 ^ 53] = "large", [math.mininteger] = "least", [""] = "empty", [100] = "far",
        [key] = {[key] = key}
    }
    local got = copy(sent)
    local got_key
    for k in pairs(got) do
        if type(k) == "table" then
            got_key = k
        end
    end
    t.is(got_key, key, "a table as key")
    t.ok(got[got_key][got_key] == got_key, "is the same table in its other places")
    sent[key], got[got_key] = nil, nil
    t.is(got, sent, "the other pairs")
    t.is(copy({}), {}, "an empty table")
    t.is(copy({["1"] = "string", "integer"}), {["1"] = "string", "integer"}, "1 and '1'")
end)

t.test("lists of every length and order of making arrive", function()
    for _, n in ipairs {1, 2, 3, 31, 32, 33, 254, 255, 256, 257, 1000, 70000} do
        local up, down, sparse = {}, {}, {}
        for i = 1, n do
            up[i] = i
            down[n + 1 - i] = n + 1 - i
            sparse[i * i] = i
        end
        t.is(copy(up), up, n .. " items, made upwards")
        t.is(copy(down), down, n .. " items, made downwards")
        t.is(copy(sparse), sparse, n .. " items at the square numbers")
    end
end)

t.test("a sparse list does not blow the message up", function()
    local sparse = {}
    for i = 0, 40 do
        sparse[1 << i] = true
    end
    t.ok(#codec.encode(sparse) < 1000, "41 items at the powers of two fit into 1000 bytes")
    t.is(copy(sparse), sparse, "and arrive")
end)

t.test("a repeated string is written once", function()
    local long = ("long"):rep(1000)
    t.ok(#codec.encode({long, long, {[long] = long}}) < 4100, "a long one")
    local records = {}
    for i = 1, 100 do
        records[i] = {a_rather_long_key = 1, another_rather_long_key = 2}
    end
    t.ok(#codec.encode(records) < 1000, "the keys of 100 records")
    t.is(copy(records), records, "which arrive")
    local many = {}
    for i = 1, 100 do
        many[i] = {["key" .. i] = "key" .. i, ["key" .. i % 50] = "key" .. i % 40}
    end
    t.is(copy(many), many, "and so do more than there are slots for")
end)

t.test("strings arrive as they are in message after message", function()
    local wrong
    for length = 0, 42 do
        local word = ("w"):rep(length)
        for i = 1, 4 do
            local got = copy({[word] = word, list = {word, word .. i, word}}, word)
            if got[word] ~= word or got.list[2] ~= word .. i or got.list[3] ~= word then
                wrong = ("message %d with %d bytes"):format(i, length)
            end
        end
    end
    t.is(wrong, nil, "whatever their length")
    for round = 1, 100 do
        local words, sent = {}, {}
        for i = 1, 200 do -- all of one size: they take the places of those before them
            words[i] = ("%03d-%03d"):format(round, i)
            sent[words[i]] = {words[i], last = words[i - 1]}
        end
        for _ = 1, 3 do
            local got = copy(sent)
            for i, word in ipairs(words) do
                if not got[word] or got[word][1] ~= word or got[word].last ~= words[i - 1] then
                    wrong = word
                end
            end
        end
        words, sent = nil, nil
        collectgarbage()
    end
    t.is(wrong, nil, "also where others have been in memory")
end)

t.test("what one Lua state has does not get into the next", function()
    local results = ipc.Queue()
    local function send(i)
        local codec, class = require "luamp.codec", {}
        codec.register_class("class " .. i, class)
        local sent = {setmetatable({name = "number " .. i}, class), name = i}
        local got = codec.decode(codec.encode(sent))
        results:put({ok = getmetatable(got[1]) == class, name = got[1].name, number = got.name})
    end
    local wrong
    for i = 1, 50 do -- in one thread of the system, mostly
        thread.Thread{target = send, args = {i}}:start():join()
        local got = results:get(10)
        if not got or not got.ok or got.name ~= "number " .. i or got.number ~= i then
            wrong = i
        end
    end
    t.is(wrong, nil, "each of 50 threads sends its own class")
end)

t.test("shared references stay shared", function()
    local shared = {}
    local got = copy({a = shared, b = shared, list = {shared, shared}})
    t.ok(got.a == got.b and got.a == got.list[1] and got.a == got.list[2], "within a value")
    local x, y, z = copy(shared, {shared}, shared)
    t.ok(x == y[1] and x == z, "between the values of a message")
    t.ok(copy(shared) ~= shared, "and are copies")
end)

t.test("cyclic references stay cyclic", function()
    local loop = {}
    loop.self, loop[1], loop[loop] = loop, loop, loop
    local got = copy(loop)
    t.ok(got.self == got and got[1] == got and got[got] == got, "a table in itself")
    local a, b = {}, {}
    a.b, b.a = b, a
    got = copy({a, b})
    t.ok(got[1].b == got[2] and got[2].a == got[1], "two tables in each other")
end)

t.test("deep nesting arrives", function()
    local list
    for i = 1, 100000 do
        list = {value = i, next = list}
    end
    local got, n = copy(list), 0
    while got do
        n = n + 1
        if got.value ~= list.value then
            break
        end
        got, list = got.next, list.next
    end
    t.is(n, 100000, "a linked list of 100000 nodes")
    local backwards = {}
    for _ = 1, 100000 do
        backwards = {[backwards] = 1}
    end
    got, n = copy(backwards), 0
    while next(got) do
        n, got = n + 1, next(got)
    end
    t.is(n, 100000, "and one that hangs by its keys")
end)

t.test("nesting beyond Lua's stack is an error that says so", function()
    local deep = {}
    for _ = 1, 600000 do
        deep = {deep}
    end
    t.raises(function() codec.encode(deep) end, "cannot send value%[1%].*nested too deeply",
             "in the sender")
    local made_by_hand = "\xcd\x00" .. ("\xba\x00\x01"):rep(1100000) .. "\x01"
    t.raises(function() codec.decode(made_by_hand) end, "nested too deeply", "in the receiver")
    t.is(copy({1}), {1}, "after which small messages work")
end)

t.test("a class's metatable arrives", function()
    local Point = {}
    Point.__index = Point
    function Point:sum() return self.x + self.y end
    codec.register_class("test.Point", Point)
    local got = copy(setmetatable({x = 1, y = 2}, Point))
    t.ok(getmetatable(got) == Point, "as the receiver's")
    t.is(got:sum(), 3, "with its methods")
    local shared = setmetatable({x = 3, y = 4}, Point)
    shared.me = shared
    got = copy({shared, shared})
    t.ok(got[1] == got[2] and got[1].me == got[1], "on shared and cyclic objects")
    t.ok(getmetatable(got[1]) == Point, "too")
    t.ok(copy(Point) == Point, "and the metatable itself goes by name")
    t.ok(copy({class = Point}).class == Point, "also inside a table")

    local plain = {}
    codec.register_class("test.plain", plain)
    t.ok(copy(plain) == plain, "even if it has no functions")
end)

t.test("an object is not changed by its own metamethods", function()
    local function never() error("a metamethod was called") end
    local Touchy = {
        __index = never, __newindex = never, __len = never, __pairs = never, __eq = never,
        __metatable = "protected"
    }
    codec.register_class("test.Touchy", Touchy)
    local got = copy(setmetatable({10, 20, name = "touchy"}, Touchy))
    t.is(rawget(got, "name"), "touchy", "its fields")
    t.is(rawlen(got), 2, "its items")
end)

t.test("a class has one name, and a name one class", function()
    local A, B = {}, {}
    codec.register_class("test.A", A)
    codec.register_class("test.A", A)
    t.raises(function() codec.register_class("test.A", B) end, "another metatable",
             "a name for a second metatable")
    t.raises(function() codec.register_class("test.B", A) end, "known as 'test.A'",
             "a metatable under a second name")
end)

t.test("any other metatable cannot be sent", function()
    local wild = setmetatable({}, {})
    local hint = "has a metatable that is not a class's; make it known with ipc.register_class"
    t.raises(function() codec.encode(wild) end, "cannot send value: it " .. hint, "alone")
    t.raises(function() codec.encode({a = {wild}}) end, "cannot send value%.a%[1%]: it " .. hint,
             "and inside a table")
end)

t.test("a Lua function arrives", function()
    local function add(a, b) return a + b end
    t.is(copy(add)(2, 3), 5, "and does what it did")
    t.is(copy({f = add}).f(2, 3), 5, "also inside a table")
    local f, g = copy(add, add)
    t.ok(f == g, "once, however often it was sent in one message")
    t.is(copy(function(...) return select("#", ...) end)(1, nil, nil), 3, "with its varargs")
    local again = codec.encode(add)
    t.is(codec.decode(again, true)(1, 1), 2, "and again")
    local _, message = pcall(copy(function() error("here") end))
    t.ok(message:find("codec.lua:%d+: here"), "with its line numbers")
end)

t.test("upvalues arrive by value", function()
    local n, list, nothing = 41, {1, 2, 3}, nil
    local function f(x)
        n = n + x
        return n, list, nothing
    end
    local got = copy(f)
    t.is({got(1)}, {42, {1, 2, 3}}, "the receiver's copy counts")
    t.is({got(1)}, {43, {1, 2, 3}}, "on")
    t.is(n, 41, "and the sender's does not")
    local _, received = got(0)
    t.ok(received ~= list, "a table is a copy")
    local a, b = codec.decode(codec.encode(f), true), codec.decode(codec.encode(f), true)
    a(100)
    t.is((b(0)), 41, "each message has its own")
end)

t.test("upvalues that functions share stay shared", function()
    local n = 0
    local function up() n = n + 1 end
    local function value() return n end
    local got_up, got_value = copy(up, value)
    got_up()
    got_up()
    t.is(got_value(), 2, "between two values")
    local got = copy({up = up, nested = {value = value, table = {up}}})
    got.up()
    got.nested.table[1]()
    t.is(got.nested.value(), 2, "wherever they are")
    t.ok(got.up == got.nested.table[1], "and the function itself too")
end)

t.test("recursive functions arrive", function()
    local function factorial(n) return n <= 1 and 1 or n * factorial(n - 1) end
    t.is(copy(factorial)(10), 3628800, "one that calls itself")
    local even, odd
    function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    t.is(copy(even)(11), false, "two that call each other")
    local e, o = copy(even, odd)
    t.ok(e(8) and o(7), "both sent")
    local holder = {}
    function holder.get() return holder end
    local got = copy(holder)
    t.ok(got.get() == got, "one whose upvalue is the table that it is in")
end)

t.test("_ENV becomes the receiver's globals", function()
    a_global_of_the_test = 7
    local got = copy(function(x) a_global_of_the_test = x return _ENV end)
    t.ok(got(8) == _G, "the globals")
    t.is(a_global_of_the_test, 8, "can be changed")
    a_global_of_the_test = nil
    t.ok(copy(_G) == _G, "the globals table alone")
    t.ok(copy({_G}, 1)[1] == _G, "and inside a table")
    local sandbox = {answer = 42}
    local f = load("return answer", "sandbox", "t", sandbox)
    t.is(copy(f)(), 42, "another environment goes by value")
end)

t.test("library functions go by name", function()
    t.ok(copy(print) == print, "print")
    t.ok(copy(string.format) == string.format, "string.format")
    t.ok(copy({f = math.sin}).f == math.sin, "math.sin inside a table")
    t.ok(copy(require) == require, "require, which has upvalues")
    local format = string.format
    t.is(copy(function() return format("%d", 3) end)(), "3", "as an upvalue")
    t.ok(#codec.encode(string.format) < 30, "and cost no more than their name")
end)

t.test("loaded modules go by name", function()
    t.ok(copy(string) == string, "string")
    t.ok(copy({math, string})[1] == math, "math inside a list")
    local M = {}
    function M.twice(x) return 2 * x end
    local function use(x) return M.twice(x) end
    local before = copy(M)
    t.ok(before ~= M and before.twice(4) == 8, "a table that is no module goes by value")
    with_module("test.module", M, function()
        t.ok(copy(M) == M, "as soon as it is one it goes by name")
        t.ok(copy(M.twice) == M.twice, "and so do its functions")
        t.is(copy(use)(4), 8, "also as an upvalue")
        package.loaded["test.module"] = {twice = function() return "replaced" end}
        t.is(codec.decode(codec.encode(use), true)(1), 2, "a table that was replaced goes by value")
    end)
    t.ok(copy(M) ~= M, "one that is no longer loaded does, too")
end)

t.test("a module that is nothing but data is sent as data", function()
    local settings = {size = 3}
    with_module("test.settings", settings, function()
        local got = copy(function() return settings end)()
        t.is(got, settings, "with what it holds now")
        t.ok(got ~= settings, "as a copy")
    end)
end)

t.test("a module's name is used whichever way it is reached", function()
    local called = function() return "called" end
    with_module("test.function", called, function()
        t.ok(copy(called) == called, "a module that is a function")
    end)
    local proxy = setmetatable({}, {__index = string})
    with_module("test.proxy", proxy, function()
        t.ok(copy({proxy})[1] == proxy, "one that has a metatable of its own")
    end)
    local outer = {file = io.stdout, f = function() end}
    with_module("test.outer", outer, function()
        t.ok(copy({outer})[1] == outer, "one that holds what cannot be sent")
    end)
end)

t.test("a module that is missing is required", function()
    local M = {f = function() return "f" end}
    local whole, part
    with_module("test.later", M, function()
        whole, part = codec.encode(M), codec.encode(M.f)
    end)
    local loads = 0
    package.preload["test.later"] = function()
        loads = loads + 1
        return {f = function() return "loaded" end}
    end
    t.is(codec.decode(whole, true).f(), "loaded", "by one who trusts the message")
    t.is(codec.decode(part, true)(), "loaded", "for its function, too")
    t.is(loads, 1, "once")
    package.loaded["test.later"], package.preload["test.later"] = nil, nil
    t.raises(function() codec.decode(whole) end, "cannot receive module 'test.later'",
             "but not by one who does not")
    t.raises(function() codec.decode(whole, true) end, "test.later.*not found",
             "one that cannot be found is an error")
    package.loaded["test.later"] = {}
    t.raises(function() codec.decode(part, true) end, "test.later.f: .* no such function",
             "and so is a function that it does not have")
    package.loaded["test.later"] = nil
end)

t.test("loading a module may itself use the codec", function()
    local M = {f = function() end}
    local message
    with_module("test.nested", M, function()
        message = codec.encode({M, {1, 2, 3}})
    end)
    package.preload["test.nested"] = function()
        return {f = function() end, inner = copy({"inner", {"table"}})}
    end
    local got = codec.decode(message, true)
    t.is(got[1].inner, {"inner", {"table"}}, "while it is loaded")
    t.is(got[2], {1, 2, 3}, "and the outer message goes on")
    package.loaded["test.nested"], package.preload["test.nested"] = nil, nil
end)

t.test("a stranger's message brings no functions", function()
    local function f() return 1 end
    t.raises(function() codec.decode(codec.encode(f)) end,
             "malformed message: it holds a function, and none is accepted here", "no bytecode")
    t.ok(codec.decode(codec.encode(math.sin)) == math.sin, "standard ones go by name")
    t.is(codec.decode(codec.encode({1, {x = "y"}})), {1, {x = "y"}}, "and data is data")
end)

t.test("what cannot be sent is named by its path", function()
    local co = coroutine.create(print)
    local file = io.stdout
    local function fails(value, message, name)
        t.raises(function() codec.encode(value) end, "cannot send " .. message, name)
    end
    fails(file, "value: a file handle belongs to its process$", "alone")
    fails({handlers = {log = file}}, "value%.handlers%.log: a file handle", "in fields")
    fails({1, {2, file}}, "value%[2%]%[2%]: a file handle", "in lists")
    fails({["not a name"] = co}, 'value%["not a name"%]: a coroutine', "under a quoted key")
    fails({["line\n\"end\""] = co}, 'value%["line%?\\"end\\""%]: a coroutine', "under an odd key")
    fails({[1.5] = co}, "value%[1%.5%]: a coroutine", "under a float")
    fails({[true] = co}, "value%[true%]: a coroutine", "under a boolean")
    fails({[{}] = co}, "value%[a table%]: a coroutine", "under a table")
    fails({map = {[file] = 1}}, "a key of value%.map: a file handle", "as a key")
    fails({map = {[{x = co}] = 1}}, "%(a key of value%.map%)%.x: a coroutine", "in a key")
    fails(function() return file end, "value's upvalue 'file': a file handle", "as an upvalue")
    local box = {inner = {file}}
    fails({f = function() return box end}, "value%.f's upvalue 'box'%.inner%[1%]: a file handle",
          "in an upvalue")
    t.raises(function() codec.encode(1, {x = co}) end, "cannot send value%[2%]%.x: a coroutine",
             "in the second value")
    local deep = co
    for i = 30, 1, -1 do
        deep = {["level" .. i] = deep}
    end
    fails(deep, "value%.level1%..*%.%.%.%.level2%d.*%.level30: a coroutine", "shortened if long")
    t.is(copy({"after"}), {"after"}, "and the next message is sent")
end)

t.test("each kind that cannot be sent has its reason", function()
    local function fails(value, message)
        t.raises(function() codec.encode({value}) end, "value%[1%]: " .. message, message)
    end
    fails(io.tmpfile(), "a file handle belongs to its process")
    fails(coroutine.create(print), "a coroutine belongs to its process")
    fails(string.gmatch("a", "a"), "a C function can only go by name")
end)

t.test("luamp objects arrive as the same object", function()
    local loaded, sync = pcall(require, "luamp.sync")
    if not loaded then
        t.skip("a lock", "there is no luamp.sync here")
        return
    end
    -- through a queue: an object lives only in a message that says that it carries it
    local queue, lock = require("luamp.ipc").Queue(), sync.Lock()
    queue:put({lock, {lock}, f = function() return lock end})
    local got = queue:get()
    t.ok(got[1] == lock, "the lock that was sent")
    t.ok(got[1] == got[2][1], "wherever it is in the message")
    t.ok(got.f() == lock, "also as an upvalue")
    t.raises(function() codec.decode(codec.encode(lock)) end, "cannot receive a luamp object",
             "but bytes alone do not bring it to life")
end)

t.test("bytes that are no message are an error", function()
    local function fails(bytes, why)
        t.raises(function() codec.decode(bytes, true) end, "malformed message: " .. why,
                 (bytes:gsub(".", function(c) return ("%02x "):format(c:byte()) end)) .. why)
    end
    fails("", "it is cut short")
    fails("\x01\x02", "it goes on after its end")
    fails("\xa9\xa9", "it goes on after its end")
    fails("\x85abcd", "it is cut short")
    fails("\xad\x01", "it is cut short")
    fails("\xb6\xff\xff\xff\xff\xff\xff\xff\xff", "it is cut short")
    fails("\xcf", "its first byte is of no known kind")
    fails("\xcd", "it is cut short")
    fails("\xcd\x21", "it has too many common strings")
    fails("\xcd\x00\xcc", "a value is missing")
    fails("\xcd\x00\xd8", "a common string is missing")
    fails("\xcd\x00\xb1\x81a", "it has more common strings than announced")
    fails("\xcd\x01\xb1\xa9", "a common string is not a short one")
    fails("\xcd\x00\xc6\x02", "a reference leads nowhere")
    fails("\xcd\x00\xc6" .. ("\xff"):rep(10), "a number has too many digits")
    fails("\xcd\x00\xb8\x01\xa9\x01\xcc", "a key is nil")
    fails("\xcd\x00\xb8\x01\xb0" .. ("<d"):pack(0 / 0) .. "\x01\xcc", "a key is not a number")
    fails("\xcd\x00\xb8\x01\x01", "it is cut short")
    fails("\xcd\x00\xb8\x40\xcc", "a table is larger than the message")
    fails("\xcd\x00\xbc\x00\xff\xff\xff\xff\x01", "a table is larger than the message")
    fails("\xcd\x00\xc8\x01", "a name is not a string")
    fails("\xcd\x00\xc0\x00\x00", "attempt to load a text chunk")
    fails("\xcd\x00\xc2\x00\x00\x00\x00\x03", "an object has too many cells")
    t.raises(function() codec.decode("\xcd\x00\xbe\x83abc\xb8\x00") end,
             "cannot receive an object of class 'abc'", "an unknown class")
    t.raises(function() codec.decode("\xcd\x00\xc8\x83abc") end,
             "cannot receive class 'abc'", "an unknown class by itself")
end)

t.test("upvalues that do not fit the function are an error", function()
    local one, two = 1, 2
    local function f() return one, two end
    local message = codec.encode(f)
    local code = string.dump(f)
    local from, to = message:find(code, 1, true)
    local head, tail = message:sub(1, to), message:sub(to + 2)
    t.is(message:byte(to + 1), 2, "after the bytecode comes their number")
    t.raises(function() codec.decode(head .. "\3" .. tail .. "\xc4\1", true) end,
             "malformed message: a function has too many upvalues", "one too many")
    t.raises(function() codec.decode(head .. "\2" .. "\1\2", true) end,
             "malformed message: an upvalue is missing", "a value that is none")
    t.raises(function() codec.decode(head .. "\2" .. "\xc7\2\xc4\1", true) end,
             "malformed message: a reference leads nowhere", "a reference to nothing")
    t.raises(function() codec.decode("\xcd\0\xb9\0" .. message:sub(3, to) .. "\1\xc7\2", true) end,
             "malformed message: a reference leads to no upvalue", "a reference to a table")
    t.raises(function() codec.decode(message:sub(1, from + 20) .. "\2", true) end,
             "malformed message", "bytecode that is cut short")
end)

t.test("every message that is cut short is an error, and none that is whole", function()
    local function f() return t, copy end
    local message = codec.encode({1, "two", {3.5, [true] = {}}, ("s"):rep(50), ("s"):rep(300), f},
                                 nil, 1 << 40)
    local accepted = 0
    for n = 0, #message - 1 do
        local ok, value = pcall(codec.decode, message:sub(1, n), true)
        -- the values at the top of a message have no count: it may end between two of them
        if ok and type(value) == "table" then
            accepted = accepted + 1
        end
    end
    t.is(accepted, 2, "but for where a value ends")
    t.is(select("#", codec.decode(message, true)), 3, "and whole it has three")
end)

t.test("a small lie about sizes told many times costs no memory", function()
    -- tables in tables, each of which claims to hold all the bytes that follow
    local parts, depth = {"\xcd\x00"}, 20000
    for i = 1, depth do
        parts[#parts + 1] = "\xbc\x00" .. ("<I4"):pack((depth - i) * 6)
    end
    local message = table.concat(parts)
    collectgarbage()
    local before = collectgarbage("count")
    t.raises(function() codec.decode(message) end, "a table is larger than the message", "refused")
    t.ok((collectgarbage("count") - before) * 1024 < 200 * #message,
         "at no more than 200 bytes a byte")
end)

t.test("a finalizer may send while a message is read or written", function()
    local ran, during_encode, encoding = 0, 0, false
    local function litter()
        setmetatable({}, {__gc = function()
            ran = ran + 1
            during_encode = during_encode + (encoding and 1 or 0)
            codec.encode({"from the finalizer", {ran}, ("y"):rep(200)})
        end})
    end
    -- functions that were never sent before are what makes the encoder create strings
    local function new_message(round)
        local sent = {}
        for i = 1, 200 do
            sent[i] = {i, tostring(i), f = load("return " .. round * 1000 + i)}
        end
        return sent
    end
    local pause = collectgarbage("setpause", 1)
    local stepmul = collectgarbage("setstepmul", 1000)
    local spoilt
    for round = 1, 20 do
        local sent = new_message(round)
        for _ = 1, 200 do
            litter()
        end
        encoding = true
        local message = codec.encode(sent)
        encoding = false
        local received, got = pcall(codec.decode, message, true)
        for i = 1, 200 do
            if not received or got[i][1] ~= i or got[i][2] ~= tostring(i)
               or got[i].f() ~= round * 1000 + i then
                spoilt = ("item %d of message %d"):format(i, round)
                break
            end
        end
    end
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", stepmul)
    collectgarbage()
    t.is(spoilt, nil, "nothing is spoilt")
    t.is(ran, 4000, "each finalizer ran")
    t.ok(during_encode > 0, "some of them while a message was written")
end)

t.test("messages do not disturb each other in coroutines", function()
    local results = {}
    for i = 1, 10 do
        results[i] = coroutine.wrap(function()
            local message = codec.encode({i, {i}})
            coroutine.yield()
            return codec.decode(message)
        end)
        results[i]()
    end
    for i = 1, 10 do
        if select("#", results[i]()) ~= 1 then
            t.ok(false, "coroutine " .. i)
        end
    end
    t.is(coroutine.wrap(function() return copy({"x"}) end)(), {"x"}, "and work in them")
end)

t.done()
