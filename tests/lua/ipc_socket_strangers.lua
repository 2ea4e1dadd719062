-- What strangers do to a listener and to a connection: they say nothing, garbage, a part, too much.
-- bash makes their connections, since it can write any bytes into one.

local members = require "members"
local t = require "tap"

if not os.execute("bash -c 'exec 3<>/dev/udp/127.0.0.1/9' 2>/dev/null") then
    t.skip("strangers", "there is no bash that opens connections")
    t.done()
end

local function escaped(bytes)
    return (bytes:gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- Connects, sends the bytes, and stays until the pipe is closed; or, with `ends`, until it has read the
-- listener's hello: to close a connection with something unread is to break it.
local function stranger(l, bytes, ends)
    local script = ('exec 3<>/dev/tcp/127.0.0.1/%d; printf "%s" >&3; %s'):format(l.address[2],
        escaped(bytes), ends and "head -c 56 <&3 >/dev/null; exec 3>&-" or "read line")
    return assert(io.popen(("exec bash -c '%s'"):format(script), "w"))
end

-- The hello of one without a key, and a frame.
local function hello(flags, max)
    return ("<c8I4I4I8"):pack("luamp\r\n\0", 1, flags or 0, max or 1 << 20) .. ("r"):rep(32)
end
local function frame(bytes)
    return ("<I8"):pack(#bytes) .. bytes
end

-- Whether a client comes in, after those who went away.
local function served(l, key)
    local p = members.spawn(function() ipc.Client(l.address, {authkey = key}):send("a client") end)
    local c, why
    repeat
        c, why = l:accept(30)
    until c or not why:find("went away")
    local good = c and c:recv() == "a client"
    p:join()
    return good or tostring(why)
end

t.test("one that says nothing does not keep others out", function()
    for _, key in ipairs {false, "key"} do
        key = key or nil
        local l <close> = assert(ipc.Listener({"127.0.0.1", 0}, {authkey = key}))
        local strangers = {}
        for i = 1, 3 do
            strangers[i] = stranger(l, i == 1 and "" or hello(key and 1):sub(1, 10 * i))
        end
        t.is({l:accept(0.1)}, {nil, "timeout"}, "they are nothing to accept")
        t.is(served(l, key), true, "a client comes in")
        t.is({l:accept(0)}, {nil, "timeout"}, "nothing more")
        t.is(ipc.wait({l}, 0.05), {}, "nor for ipc.wait")
        for _, s in ipairs(strangers) do
            s:close()
        end
        t.is(served(l, key), true, "and another")
    end
end)

t.test("more of them than there is place for", function()
    local l <close> = assert(ipc.Listener{"127.0.0.1", 0})
    local script = ("for i in {10..89}; do eval \"exec $i<>/dev/tcp/127.0.0.1/%d\"; done; read line")
        :format(l.address[2])
    local strangers = assert(io.popen(("bash -c '%s'"):format(script), "w"))
    for _ = 1, 20 do
        t.is({l:accept(0.01)}, {nil, "timeout"}, "nothing to accept")
    end
    t.is(served(l), true, "a client comes in")
    strangers:close()
end)

t.test("garbage is nil and a reason, and the next one comes in", function()
    for _, key in ipairs {false, "key"} do
        key = key or nil
        local l <close> = assert(ipc.Listener({"127.0.0.1", 0}, {authkey = key}))
        for name, bytes in pairs {
            text = "GET / HTTP/1.1\r\n\r\n",
            ["one byte"] = "x",
            ["another version"] = ("<c8I4"):pack("luamp\r\n\0", 77) .. ("r"):rep(44),
            ["unknown flags"] = hello(64),
        } do
            local s <close> = stranger(l, bytes)
            t.is({l:accept(30)}, {nil, "the other side is no luamp, or one of another version"}, name)
        end
        t.is(served(l, key), true, "a client comes in")
        local s <close> = stranger(l, "luamp", true)
        t.is({l:accept(30)}, {nil, "the other side went away during the handshake"}, "went away")
        local silent <close> = stranger(l, "", true)
        t.is({l:accept(0.1)}, {nil, "timeout"}, "one that never said anything is not told")
        if key then
            local liar <close> = stranger(l, hello(1) .. ("p"):rep(32))
            t.is({l:accept(30)}, {nil, "authentication failed"}, "a made-up proof")
        end
    end
end)

t.test("no bytes of a stranger do harm", function()
    local l <close> = assert(ipc.Listener{"127.0.0.1", 0})
    for name, case in pairs {
        ["half a header"] = {"\1\0\0", "closed", true},
        ["half a message"] = {("<I8"):pack(100) .. "x", "closed", true},
        ["a huge length"] = {("<I8"):pack(1 << 62) .. "x", "too long"},
        ["all ones"] = {("\xff"):rep(8), "too long"},
        ["a length that is allowed, and nothing"] = {("<I8"):pack(60 << 20) .. "x", "closed", true},
        ["no value"] = {frame(""), "malformed message"},
        ["a nil"] = {frame("\xa9"), "malformed message"},
        ["garbage"] = {frame(("\xfe\xff"):rep(50)), "malformed message"},
    } do
        local s <close> = stranger(l, hello() .. case[1], case[3])
        local c <close> = assert(l:accept(30))
        local before = collectgarbage("count")
        local v, why = c:recv()
        t.ok(v == nil and why:find(case[2]), name .. ": " .. tostring(why))
        t.ok(collectgarbage("count") - before < 1000, name .. ": it takes no memory")
    end
    local s <close> = stranger(l, hello() .. frame(("\xfe\xff"):rep(50)) .. frame("bytes"))
    local c <close> = assert(l:accept(30))
    c:recv()
    t.is(c:recv_bytes(), "bytes", "the frame after one that is malformed is whole")
    t.raises(function() c:send(function() end) end, "both sides ask", "it is not trusted")
    local asks <close> = stranger(l, hello(2) .. frame("x"))
    local d <close> = assert(l:accept(30))
    t.raises(function() d:send(function() end) end, "both sides ask", "nor if it asks for functions alone")
    local small <close> = stranger(l, hello(0, 3))
    local e <close> = assert(l:accept(30))
    t.raises(function() e:send_bytes("long") end, "takes at most 3", "its limit is kept")
end)

t.done()
