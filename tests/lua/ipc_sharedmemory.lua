-- ipc.SharedMemory.

local members = require "members"
local t = require "tap"

local function new(size)
    return assert(ipc.SharedMemory{create = true, size = size})
end

t.test("is made with a size, and opened by its name", function()
    local m = new(10)
    t.ok(m.name:find("^luamp%-%x+$"), "a name of its own: " .. m.name)
    t.is({m.size, #m}, {10, 10}, "its size")
    t.is(m:read(), ("\0"):rep(10), "zeroes")
    m:write(3, "abc")
    local other = assert(ipc.SharedMemory{name = m.name})
    t.is({other.name, other.size}, {m.name, 10}, "opened")
    t.is(other:read(3, 3), "abc", "the same bytes")
    other:write(10, "z")
    t.is(m:read(10), "z", "both ways")
    t.is(m:read(9, 2), "\0z", "read(i, n)")
    t.is(m:read(5), "c\0\0\0\0z", "read(i) reads to the end")
    t.is(m:read(11, 0), "", "nothing, from behind the end")
    t.is(tostring(m), ('SharedMemory "%s" (10 bytes)'):format(m.name), "printed")
    t.is({m:unlink()}, {true}, "unlink")
    t.is({ipc.SharedMemory{name = m.name}}, {nil, ('cannot open SharedMemory "%s": there is none of ' ..
        "this name"):format(m.name)}, "then it cannot be opened")
    t.is(other:read(3, 3), "abc", "who has it keeps it")
    local ok, why = m:unlink()
    t.ok(ok == false and why:find("No such file"), "unlinked twice is a result")
end)

t.test("one that exists already, or does not, is nil and a message", function()
    local name = ("luamp-test-%d"):format(process.getpid())
    local m = assert(ipc.SharedMemory{name = name, create = true, size = 1})
    t.is({ipc.SharedMemory{name = name, create = true, size = 1}},
        {nil, ('cannot create SharedMemory "%s": one of this name exists already'):format(name)},
        "exists")
    m:unlink()
    local none, why = ipc.SharedMemory{name = name}
    t.ok(none == nil and why:find("there is none of this name"), "does not")
    none, why = ipc.SharedMemory{name = name, create = true, size = 1 << 60}
    t.ok(none == nil and why:find("cannot create SharedMemory"), "too large: " .. tostring(why))
    t.is(ipc.SharedMemory{name = name}, nil, "and nothing stays behind")
end)

t.test("outside of 1 to its size raises, and writes nothing", function()
    local m <close> = new(4)
    m:unlink()
    local least, most = math.mininteger, math.maxinteger
    for _, r in ipairs {{0, 1}, {-1, 1}, {5, 1}, {1, 5}, {4, 2}, {1, -1}, {most, most}, {least, most},
        {most, 1}, {least, 1}, {1, least}, {6}, {0}, {least}, {most}} do
        t.raises(function() m:read(r[1], r[2]) end,
            "ipc_sharedmemory.lua:%d+: .* has the bytes from 1 to 4",
            ("read(%s, %s)"):format(r[1], r[2]))
    end
    for _, i in ipairs {0, -1, 3, 5, least, most} do
        t.raises(function() m:write(i, "abc") end, "3 bytes from byte .* has the bytes from 1 to 4",
            ("write(%d, three bytes)"):format(i))
    end
    t.is(m:read(), "\0\0\0\0", "as it was")
    m:write(5, "")
    m:write(1, "1234")
    t.is(m:read(), "1234", "all of it may be written")
    t.raises(function() m:write("x", "y") end, "number expected", "no position")
    t.raises(function() m:write(1, {}) end, "string expected", "no bytes")
end)

t.test("a closed one raises, but for its name and size", function()
    local m = new(4)
    local name = m.name
    m:close()
    m:close()
    t.raises(function() m:read() end, "ipc_sharedmemory.lua:%d+: this SharedMemory is closed", "read")
    t.raises(function() m:write(1, "x") end, "this SharedMemory is closed", "write")
    t.is({m.name, m.size}, {name, 4}, "name and size")
    t.is(tostring(m), ('SharedMemory "%s" (closed)'):format(name), "printed")
    t.raises(function() ipc.Queue():put(m) end, "cannot send value: it is closed", "sent")
    t.is({m:unlink()}, {true}, "it can still be unlinked")
    t.is(m.nothing, nil, "there is no other field")
end)

t.test("wrong options raise", function()
    t.raises(function() ipc.SharedMemory() end, "table expected", "none")
    t.raises(function() ipc.SharedMemory("x") end, "table expected", "a string")
    t.raises(function() ipc.SharedMemory{} end, "opened by its name.*create = true", "an empty table")
    t.raises(function() ipc.SharedMemory{create = true} end, "needs its size", "no size")
    t.raises(function() ipc.SharedMemory{create = true, size = 0} end, "at least 1", "no bytes")
    t.raises(function() ipc.SharedMemory{create = true, size = "x"} end, "an integer expected, got string", "a string")
    t.raises(function() ipc.SharedMemory{create = 1, size = 1} end, "boolean expected, got number",
        "create")
    t.raises(function() ipc.SharedMemory{nam = "x"} end, "did you mean 'name'?", "misspelt")
    t.raises(function() ipc.SharedMemory{name = 5} end, "option 'name' of ipc.SharedMemory: a string",
        "a number as the name")
    for _, name in ipairs {"", "a/b", "a\0b", ("x"):rep(254)} do
        t.raises(function() ipc.SharedMemory{name = name, create = true, size = 1} end,
            "1 to 253 bytes, without '/' and zeros", "name")
    end
    local m = assert(ipc.SharedMemory{name = ("x"):rep(253), create = true, size = 1})
    t.is(m:unlink(), true, "253 are not too long")
end)

t.test("another member has it from its start, and by a message", function()
    local m = new(1 << 16)
    local early, late = ipc.Queue(), ipc.Queue()
    local p = members.spawn(function()
        local got = early:get()
        t.ok(got == m, "the same object, where it is known already")
        got:write(1, "from the child")
        local unknown = early:get()
        unknown:write(5, "hi")
        late:put({unknown.name, unknown.size, tostring(unknown):match("%((.-)%)")})
        unknown:close()
    end)
    early:put(m)
    local fresh = assert(ipc.SharedMemory{name = "a-name-of-more-than-forty-seven-bytes-so-that-it-is-cut" ..
        process.getpid(), create = true, size = 100})
    early:put(fresh)
    t.is(late:get(30), {fresh.name, 100, "100 bytes"}, "one that is new there is opened by its name")
    p:join()
    if members.kind == "processes" then
        t.is(p.exitcode, 0, "the child ends well")
    end
    t.is(m:read(1, 14), "from the child", "written through the fork's")
    t.is(fresh:read(5, 2), "hi", "written through the message's")
    m:unlink()
    local gone = ipc.Queue()
    gone:put({fresh})
    fresh:unlink()
    fresh = nil
    collectgarbage()
    collectgarbage()
    local received = gone:get()[1]
    t.raises(function() received:read() end, "there is none of this name",
        "one that was unlinked before it was used cannot be")
end)

t.test("an unrelated process opens it by its name", function()
    local m <close> = new(5)
    local f <close> = io.popen(("%s -e '%s'"):format(os.getenv("LUAMP") or "luamp",
        ('ipc.SharedMemory{name = "%s"}:write(1, "other")'):format(m.name)))
    f:read("a")
    t.is(m:read(), "other", "written")
    m:unlink()
end)

t.done()
