-- ipc.Listener and ipc.Client: addresses, keys, messages, ends.

local members = require "members"
local t = require "tap"

local number = 0
local function abstract()
    number = number + 1
    return ("@luamp-test-%d-%d"):format(process.getpid(), number)
end

local function new_path()
    local path = os.tmpname()
    os.remove(path)
    return path
end

-- Two ends in this process.
local function pair(options, other)
    local l <close> = assert(ipc.Listener(abstract(), options))
    local c = assert(ipc.Client(l.address, other or options))
    return c, assert(l:accept())
end

local function descriptors()
    local n = 0
    local list <close> = io.popen(("ls /proc/%d/fd"):format(process.getpid()))
    for _ in list:lines() do
        n = n + 1
    end
    return n
end

local function exists(path)
    return os.rename(path, path) == true
end

local function until_true(f)
    while not f() do
        process.sleep(0.002)
    end
end

local has_six = (function()
    local l <close> = ipc.Listener({"::1", 0})
    return l ~= nil
end)()

t.test("an address is a path, an abstract name, or host and port", function()
    local path = new_path()
    for name, address in pairs {
        path = path,
        abstract = abstract(),
        ["IPv4"] = {"127.0.0.1", 0},
        ["host's name"] = {"localhost", 0},
        ["IPv6"] = has_six and {"::1", 0} or nil,
    } do
        local l <close> = assert(ipc.Listener(address))
        if type(address) == "string" then
            t.is(l.address, address, name .. ": the listener tells it")
        else
            t.ok(l.address[2] > 0, name .. ": port 0 became a real one")
            t.ok(l.address[1] == "127.0.0.1" or l.address[1] == "::1", name .. ": the host in numbers")
        end
        local p = members.spawn(function()
            local c <close> = assert(ipc.Client(l.address))
            c:send({"hello", from = name})
            t.is(c:recv(), "and back", name .. ": one way")
        end)
        local c <close> = assert(l:accept(30))
        t.is(c:recv(), {"hello", from = name}, name .. ": the other way")
        t.is({c:send("and back")}, {true}, name .. ": send is true")
        p:join()
    end
    if not has_six then
        t.skip("IPv6", "not here")
    end
    t.ok(not exists(path), "the path is gone with its listener")
end)

t.test("arguments: plain, or one table; what is wrong raises and is named", function()
    local path = new_path()
    for name, l in pairs {
        plain = assert(ipc.Listener(abstract(), {name = "a"})),
        table = assert(ipc.Listener{abstract(), name = "a"}),
        ["by name"] = assert(ipc.Listener{address = abstract(), name = "a"}),
        ["host and port"] = assert(ipc.Listener{"127.0.0.1", 0, name = "a"}),
        ["address of host and port"] = assert(ipc.Listener{address = {"127.0.0.1", 0}, name = "a"}),
    } do
        t.ok(tostring(l):find('^Listener "a" %('), name)
        l:close()
    end
    local names <close> = assert(ipc.Listener(path))
    t.is(tostring(names), ('Listener "names" ("%s")'):format(path), "printed, with the variable's name")
    names:close()
    for _, class in ipairs {"Listener", "Client"} do
        local make = ipc[class]
        for name, case in pairs {
            ["no address"] = {{}, "a path, \"@name\" or {host, port} expected"},
            ["a number"] = {{5}, "expected"},
            ["an empty path"] = {{""}, "from 1 to 107 bytes"},
            ["a long path"] = {{("x"):rep(108)}, "from 1 to 107 bytes"},
            ["a zero in it"] = {{"a\0b"}, "no zero"},
            ["an empty name"] = {{"@"}, "from 1 to 107 bytes"},
            ["a port too far"] = {{{"h", 65536}}, "from 0 to 65535"},
            ["a port of text"] = {{{"h", "x"}}, "{host, port} is"},
            ["host only"] = {{{"h"}}, "{host, port} is"},
            ["misspelt"] = {{"@x", {autkey = "x"}}, "unknown option 'autkey' of ipc." .. class ..
                "; did you mean 'authkey'"},
            ["misspelt in one table"] = {{{"@x", autkey = "x"}}, "did you mean 'authkey'"},
            ["key of a wrong type"] = {{"@x", {authkey = 1}}, "option 'authkey' of ipc.*string"},
            ["no key"] = {{"@x", {authkey = ""}}, "1 to 65536 bytes"},
            ["max_message"] = {{"@x", {max_message = 0}}, "option 'max_message'"},
            ["functions"] = {{"@x", {functions = 1}}, "option 'functions' of ipc.*boolean"},
            ["name"] = {{"@x", {name = 1}}, "option 'name'"},
            ["options of a wrong type"] = {{"@x", "key"}, "table of options, not a string"},
            ["an option without a name"] = {{"@x", {"key"}}, "has a name, not a number"},
            ["a third place"] = {{{"h", 1, "key", name = "x"}}, "has a name, not a number"},
            ["too many"] = {{"@x", {}, 1}, "not 3 arguments"},
        } do
            t.raises(function() make(table.unpack(case[1])) end, "ipc_socket.lua:%d+: .*" .. case[2],
                class .. ": " .. name)
        end
    end
    t.raises(function() ipc.Client("@x", {timeout = "1"}) end, "option 'timeout'", "timeout")
end)

t.test("what is not there refuses, with a message", function()
    local path = new_path()
    t.is({ipc.Client(path)}, {nil, ('cannot connect to "%s": there is no such path'):format(path)},
        "no path")
    t.is({ipc.Client("@luamp-nobody")}, {nil, 'cannot connect to "@luamp-nobody": nobody listens there'},
        "no name")
    local l = assert(ipc.Listener{"127.0.0.1", 0})
    local address = l.address
    l:close()
    local c, why = ipc.Client(address)
    t.ok(c == nil and why:find("^cannot connect to 127.0.0.1:%d+: nobody listens there$"), "no port")
    c, why = ipc.Client{"luamp-test.invalid", 1}
    t.ok(c == nil and why:find('^cannot find the host "luamp%-test.invalid": '), "no host")
    c, why = ipc.Listener("/no/such/folder/x")
    t.ok(c == nil and why:find('^cannot listen at "/no/such/folder/x": '), "no folder")
end)

members.test_of_processes("an address in use refuses; of a server that is gone it says what to do", function()
    local path = new_path()
    for name, address in pairs {path = path, abstract = abstract(), port = {"127.0.0.1", 0}} do
        local l <close> = assert(ipc.Listener(address))
        local second, why = ipc.Listener(l.address)
        t.ok(second == nil and why:find("^cannot listen at .*: the address is in use$"), name)
    end
    t.ok(not exists(path), "the failed one left the path alone, its own removed it")
    local p = process.spawn(function()
        local l <close> = assert(ipc.Listener(path))
        signal.kill(process.getpid(), signal.SIGKILL)
    end)
    p:join()
    local l, why = ipc.Listener(path)
    t.is({l, why}, {nil, ('cannot listen at "%s": the path is in use, but its server is gone; remove it ' ..
        'first, with os.remove("%s")'):format(path, path)}, "killed")
    t.is({ipc.Client(path)}, {nil, ('cannot connect to "%s": nobody listens there'):format(path)},
        "a client there")
    os.remove(path)
    local f = assert(io.open(path, "w"))
    f:close()
    l, why = ipc.Listener(path)
    t.ok(l == nil and why:find("something else than a socket"), "a file")
    os.remove(path)
end)

members.test_of_processes("the path goes with the process that made the listener, and with nobody else", function()
    local path = new_path()
    local l = assert(ipc.Listener(path))
    process.spawn(function() l:close() end):join()
    t.ok(exists(path), "a child closed it")
    process.spawn(function() end):join()
    t.ok(exists(path), "a child ended")
    l:close()
    t.ok(not exists(path), "the maker closed it")
    process.spawn(function() l = ipc.Listener(path) end):join()
    t.ok(not exists(path), "the maker ended without a close")
    for _, ending in ipairs {"", "process.exit(3)", "os.exit(3)", "error()"} do
        os.execute(('"%s" -e "l = ipc.Listener[[%s]] assert(l) %s" 2>/dev/null'):format(arg[-1], path, ending))
        t.ok(not exists(path), "a program ended: " .. ending)
    end
    l = assert(ipc.Listener(path))
    os.remove(path)
    local second <close> = assert(ipc.Listener(path))
    l:close()
    t.ok(exists(path), "another's path stays")
    second:close()
end)

t.test("with a key both sides prove it", function()
    local key = "a key\0of any bytes"
    local c, s = pair{authkey = key}
    c:send(1)
    s:send(2)
    t.is({s:recv(), c:recv()}, {1, 2}, "the same key")
    for name, case in pairs {
        wrong = {"a", "b"},
        ["one a part of the other"] = {"aa", "a"},
        ["client without"] = {"a", nil},
        ["listener without"] = {nil, "a"},
    } do
        for _, address in ipairs {abstract(), {"127.0.0.1", 0}} do
            local l <close> = assert(ipc.Listener(address, {authkey = case[1]}))
            local q = ipc.Queue()
            local p = members.spawn(function()
                local connection, why = ipc.Client(l.address, {authkey = case[2]})
                q:put({connection == nil, why})
            end)
            t.is({l:accept(30)}, {nil, "authentication failed"}, name .. ": the listener")
            t.is(q:get(30), {true, "authentication failed"}, name .. ": the client")
            p:join()
            p = members.spawn(function() ipc.Client(l.address, {authkey = case[1]}):send("x") end)
            t.is(l:accept(30):recv(), "x", name .. ": the next one comes in")
            p:join()
        end
    end
end)

t.test("accept waits as long as it is told", function()
    local l <close> = assert(ipc.Listener(abstract()))
    for _, timeout in ipairs {0, -1, 0.05} do
        local before = process.monotonic()
        t.is({l:accept(timeout)}, {nil, "timeout"}, "nobody came in " .. timeout)
        t.ok(process.monotonic() - before >= timeout, "after its time")
    end
    for _, key in ipairs {false, "k"} do
        local k <close> = assert(ipc.Listener(abstract(), {authkey = key or nil}))
        local p = members.spawn(function() ipc.Client(k.address, {authkey = key or nil}):send(1) end)
        local c, why
        repeat
            c, why = k:accept(0)
        until c or why ~= "timeout"
        t.is(c and c:recv(), 1, "accept(0) gets on, " .. (key and "with" or "without") .. " a key")
        p:join()
    end
    t.raises(function() l:accept("x") end, "number expected", "no number")
end)

t.test("a client gives up after its timeout", function()
    local l = assert(ipc.Listener(abstract()))
    local e = sync.Event()
    local p = process.spawn(function() e:wait() end) -- has it, too, so nobody here answers for it
    local before = process.monotonic()
    t.is({ipc.Client(l.address, {timeout = 0.05})}, {nil, "timeout"}, "nobody accepts")
    t.ok(process.monotonic() - before >= 0.05, "after its time")
    e:set()
    p:join()
    l:close()
end)

t.test("a connection is of the class of a pipe's, and does the same", function()
    local c, s = pair()
    local a = ipc.Pipe()
    t.ok(getmetatable(c) == getmetatable(a), "one class")
    t.is({c.closed, c.readable, c.writable}, {false, true, true}, "open")
    local values = {1, 1.5, -0.0, "x", true, {a = {b = {1, 2, 3}}}, ("long"):rep(100000), math.mininteger}
    members.spawn(function()
        for _, v in ipairs(values) do
            c:send(v)
        end
    end)
    local good = true
    for _, v in ipairs(values) do
        local got = s:recv()
        good = good and (type(v) == "table" and got.a.b[3] == 3 or got == v) and
            math.type(got) == math.type(v)
    end
    t.ok(good, "values")
    for _, case in ipairs {{"hello"}, {"hello", 2}, {"hello", 2, 3}, {"hello", -3}, {""}, {"hello", 5, 2},
        {"zero \0 byte"}} do
        c:send_bytes(table.unpack(case))
        t.is(s:recv_bytes(), case[1]:sub(case[2] or 1, case[3] or -1), "bytes " .. #case)
    end
    t.raises(function() c:send() end, "nil is not a message", "nil")
    t.raises(function() c:send(nil) end, "ipc_socket.lua:%d+: nil is not a message", "nil")
    t.is(s:poll(), false, "nothing to receive")
    t.is(s:poll(0.02), false, "not in a while")
    c:send(1)
    t.is({s:poll(), s:poll(30)}, {true, true}, "something")
    t.is(#ipc.wait({s:fileno()}, 30), 1, "and its descriptor")
    s:recv()
    local received <close> = c
    t.ok(tostring(received):find('^Connection ".*" %(duplex%)$'), "printed")
end)

t.test("what is too long ends reading, and what the other side does not take raises", function()
    local c, s = pair()
    c:send_bytes("12345")
    c:send_bytes("123456")
    c:send("never read")
    t.is(s:recv_bytes(5), "12345", "as long as allowed")
    t.is({s:recv_bytes(5)}, {nil, "too long"}, "longer")
    t.is({s:recv_bytes()}, {nil, "closed"}, "then closed")
    t.is({s:recv()}, {nil, "closed"}, "for all")
    t.is(s:poll(), true, "which is nothing to wait for")
    t.is({s:send("still")}, {true}, "it still sends")
    t.is(c:recv(), "still", "and is heard")
    c, s = pair({max_message = 1000}, {max_message = 100})
    t.raises(function() s:send_bytes(("x"):rep(101)) end,
        "ipc_socket.lua:%d+: cannot send a message of 101 bytes: the other side takes at most 100", "bytes")
    t.raises(function() s:send(("x"):rep(200)) end, "takes at most 100", "a value")
    s:send_bytes(("x"):rep(100))
    t.is(#c:recv_bytes(), 100, "the longest")
    c:send_bytes(("x"):rep(1000))
    t.is(#s:recv_bytes(), 1000, "each side has its own limit")
end)

t.test("functions go only where both sides ask for them; luamp's objects never", function()
    for _, options in ipairs {{{}, {}}, {{functions = true}, {}}, {{}, {functions = true}}} do
        local c, s = pair(options[1], options[2])
        for _, end_ in ipairs {c, s} do
            t.raises(function() end_:send({f = function() end}) end, "ipc_socket.lua:%d+: cannot send " ..
                "value.f: functions go over a socket only when both sides ask for it %(functions = true%)",
                "one did not ask")
        end
    end
    local c, s = pair{functions = true}
    local up = 5
    c:send(function(x) return x + up end)
    t.is(s:recv()(2), 7, "both asked")
    c, s = pair()
    c:send({print, string.rep})
    t.ok(s:recv()[1] == print, "library functions go by name")
    t.raises(function() c:send({list = {sync.Lock()}}) end,
        "cannot send value.list%[1%]: a luamp object stays among the processes", "a lock")
    t.raises(function() c:send(c) end, "cannot send value: a luamp object stays", "itself")
    c:send(1)
    t.is(s:recv(), 1, "nothing of it was sent")
end)

t.test("a message that is none is a result, and the next one comes", function()
    local c, s = pair()
    c:send_bytes("\xff\xfe garbage")
    c:send_bytes("")
    c:send("good")
    for i = 1, 2 do
        local v, why = s:recv()
        t.ok(v == nil and why:find("^malformed message: "), "garbage " .. i)
    end
    t.is(s:recv(), "good", "the connection goes on")
    local Class = ipc.register_class("ipc_socket.Class", {})
    local l <close> = assert(ipc.Listener(abstract()))
    local p = members.spawn(function()
        local other = ipc.Client(l.address)
        other:send(setmetatable({}, ipc.register_class("ipc_socket.Unknown", {})))
        other:send(setmetatable({}, Class))
    end)
    local server = l:accept(30)
    local v, why = server:recv()
    t.ok(v == nil and why:find("cannot receive an object of class 'ipc_socket.Unknown'"), "unknown class")
    t.ok(getmetatable(server:recv()) == Class, "known class")
    p:join()
end)

t.test("using one's own closed end raises; closing it again does not", function()
    local c, s = pair()
    c:close()
    c:close()
    t.is({c.closed, c.readable, c.writable, tostring(c)}, {true, false, false, "Connection (closed)"},
        "closed")
    for _, method in ipairs {"send", "recv", "send_bytes", "recv_bytes", "poll", "fileno"} do
        t.raises(function() c[method](c, "x") end, "ipc_socket.lua:%d+: this Connection is closed", method)
    end
    t.raises(function() ipc.wait({c}) end, "this Connection is closed", "ipc.wait")
    t.is({s:recv()}, {nil, "closed"}, "the other sees it")
    t.is({s:recv_bytes()}, {nil, "closed"}, "again")
    t.is({s:poll(), #ipc.wait({s}, 0)}, {true, 1}, "which is nothing to wait for")
    local l = assert(ipc.Listener(abstract()))
    local address = l.address
    do
        local _ <close> = l
    end
    t.is({l.closed, l.address, tostring(l)}, {true, address, "Listener (closed)"}, "a closed listener")
    l:close()
    for _, method in ipairs {"accept", "fileno"} do
        t.raises(function() l[method](l) end, "ipc_socket.lua:%d+: this Listener is closed", method)
    end
    t.raises(function() ipc.wait({l}) end, "this Listener is closed", "ipc.wait")
    t.ok(ipc.Client(address) == nil, "nobody is there")
end)

members.test_of_processes("a send to one that is gone is false and closed", function()
    for name, address in pairs {abstract = abstract(), port = {"127.0.0.1", 0}} do
        local l <close> = assert(ipc.Listener(address))
        local p = process.spawn(function()
            local c = ipc.Client(l.address)
            c:recv()
            signal.kill(process.getpid(), signal.SIGKILL)
        end)
        local c = l:accept(30)
        c:send("go")
        p:join()
        t.is({c:send("x")}, {false, "closed"}, name)
        t.is({c:send_bytes(("x"):rep(1000000))}, {false, "closed"}, name .. ": again")
        t.is({c:recv()}, {nil, "closed"}, name .. ": recv")
    end
end)

members.test_of_processes("one that is killed in the middle of a message leaves no half of it", function()
    for name, address in pairs {abstract = abstract(), port = {"127.0.0.1", 0}} do
        local l <close> = assert(ipc.Listener(address))
        local p = process.spawn(function()
            local c = ipc.Client(l.address)
            c:send("whole")
            c:send_bytes(("x"):rep(50000000))
        end)
        local c = l:accept(30)
        t.is(c:recv(), "whole", name .. ": what was sent before arrives")
        t.ok(c:poll(30), name .. ": a part of the next is there")
        members.until_asleep(p)
        p:kill()
        p:join()
        t.is({c:recv_bytes()}, {nil, "closed"}, name .. ": it is not one")
    end
end)

t.test("the descriptors go with their objects", function()
    do
        local c, s = pair{authkey = "k"} -- loads what is loaded once
        c:close()
        s:close()
    end
    collectgarbage()
    collectgarbage()
    local before = descriptors()
    for _ = 1, 20 do
        local c, s = pair{authkey = "k"}
        c:send(1)
        s:recv()
        c:close()
        pair{authkey = "k"}
    end
    local l = assert(ipc.Listener(abstract(), {authkey = "k"}))
    local strangers = members.spawn(function()
        for _ = 1, 5 do
            ipc.Client(l.address, {authkey = "wrong"})
        end
    end)
    for _ = 1, 5 do
        l:accept(30)
    end
    l:close()
    strangers:join()
    ipc.Listener(abstract(), {})
    ipc.Client(abstract())
    collectgarbage()
    collectgarbage()
    until_true(function() return descriptors() <= before end) -- one that a child had goes a moment later
    t.ok(true, "no more than before")
end)

t.test("ipc.wait takes connections and listeners, with all else", function()
    local l <close> = assert(ipc.Listener(abstract()))
    local c, s = pair()
    local q, e = ipc.Queue(), sync.Event()
    local stays = sync.Event()
    local sleeper = process.spawn(function() stays:wait() end)
    local list = {q, l, s, e, sleeper, c}
    t.is(ipc.wait(list, 0), {}, "nothing")
    t.is(ipc.wait(list, 0.05), {}, "nor in a while")
    t.is(ipc.wait({l, s}, 0.05), {}, "descriptors alone")
    for name, act in pairs {
        [s] = function() c:send(1) end,
        [l] = function() ipc.Client(l.address) end,
        [q] = function() q:put(1) end,
    } do
        local p = members.spawn(function()
            process.sleep(0.02)
            act()
        end)
        local ready = ipc.wait(list, 30)
        t.ok(#ready == 1 and ready[1] == name, "ready: " .. tostring(name))
        if name == l then
            t.ok(l:accept(0), "an accept does not wait")
        elseif name == s then
            t.is(s:recv(), 1, "nor a receive")
        else
            q:get()
        end
        p:join()
    end
    t.is(ipc.wait(list, 0), {}, "not what has been taken")
    stays:set()
    sleeper:join()
end)

t.done()
