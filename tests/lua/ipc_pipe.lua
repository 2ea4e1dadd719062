-- ipc.Pipe and its connections.

local members = require "members"
local t = require "tap"

t.test("a pipe is duplex: both ends send and receive", function()
    local a, b = ipc.Pipe()
    t.is({a.readable, a.writable, b.readable, b.writable}, {true, true, true, true}, "both can both")
    t.is({a:send("to b")}, {true}, "send is true")
    b:send({"to a"})
    t.is(b:recv(), "to b", "one way")
    t.is(a:recv(), {"to a"}, "and the other")
    local p = members.spawn(function()
        for v in function() return b:recv() end do
            b:send(v * 2)
            if v == 100 then
                break
            end
        end
    end)
    local good = true
    for i = 1, 100 do
        a:send(i)
        good = good and a:recv() == 2 * i
    end
    t.ok(good, "to and fro with another process")
    p:join()
end)

t.test("with false the first receives and the second sends", function()
    for _, make in ipairs {
        function() return ipc.Pipe(false) end,
        function() return ipc.Pipe{duplex = false, name = "p"} end,
        function() return ipc.Pipe{false} end,
    } do
        local r, w = make()
        t.is({r.readable, r.writable, w.readable, w.writable}, {true, false, false, true}, "one each")
        w:send(1)
        t.is(r:recv(), 1, "through it")
        t.raises(function() r:send(1) end, "ipc_pipe.lua:%d+: connection .* can only receive", "send")
        t.raises(function() r:send_bytes("x") end, "can only receive", "send_bytes")
        t.raises(function() w:recv() end, "can only send", "recv")
        t.raises(function() w:recv_bytes() end, "can only send", "recv_bytes")
        t.raises(function() w:poll() end, "can only send", "poll")
    end
    t.raises(function() ipc.Pipe(1) end, "boolean expected", "a number")
    t.raises(function() ipc.Pipe{dupplex = true} end, "did you mean 'duplex'?", "misspelt")
    local a = ipc.Pipe{name = "line"}
    t.is(tostring(a), 'Connection "line" (duplex)', "printed")
    t.is(tostring((ipc.Pipe{false, name = "line"})), 'Connection "line" (receives)', "a reader")
    t.is(tostring((select(2, ipc.Pipe{false, name = "line"}))), 'Connection "line" (sends)', "a writer")
end)

t.test("using one's own closed end raises; closing it again does not", function()
    local a, b = ipc.Pipe()
    t.is(a.closed, false, "open")
    a:close()
    a:close()
    t.is({a.closed, a.readable, a.writable}, {true, false, false}, "closed")
    t.is(tostring(a), "Connection (closed)", "printed")
    for _, method in ipairs {"send", "recv", "send_bytes", "recv_bytes", "poll", "fileno"} do
        t.raises(function() a[method](a, "x") end, "ipc_pipe.lua:%d+: this Connection is closed", method)
    end
    t.raises(function() ipc.wait({a}) end, "this Connection is closed", "ipc.wait")
    t.raises(function() b:send(a) end, "cannot send value: it is closed", "sending it")
    do
        local c, d = ipc.Pipe()
        do
            local _ <close> = c
        end
        t.is(c.closed, true, "a closable variable closes it")
        t.is({d:recv()}, {nil, "closed"}, "for the other")
    end
    t.is(b.nothing, nil, "there is no other field")
end)

t.test("when the last writer closes, the reader drains the pipe and gets \"closed\"", function()
    local r, w = ipc.Pipe(false)
    w:send(1)
    local p = members.spawn(function()
        w:send(3)
    end)
    p:join()
    w:close()
    t.is({r:recv(), r:recv()}, {1, 3}, "what was sent")
    t.is({r:recv()}, {nil, "closed"}, "then nothing more")
    t.is({r:recv_bytes()}, {nil, "closed"}, "in bytes neither")
    t.is(r:poll(), true, "and poll says that a receive will not wait")
end)

t.test("when the last writer dies, the reader is woken with \"closed\"", function()
    local r, w = ipc.Pipe(false)
    local told, last = ipc.Queue(), sync.Event()
    local writer = members.spawn(function()
        r:close()
        w:send("last words")
        last:wait()
    end)
    w:close()
    local reader = members.spawn(function()
        told:put(r:recv())
        told:put({r:recv()})
    end)
    t.is(told:get(), "last words", "what it had sent")
    members.until_asleep(reader)
    members.finish(writer, last)
    t.is(told:get(30), {nil, "closed"}, "then the end")
    writer:join()
    reader:join()
end)

t.test("when all readers are gone, a send is false and \"closed\"", function()
    local r, w = ipc.Pipe(false)
    local p = members.spawn(function()
        w:close()
        r:recv()
    end)
    r:close()
    t.is(w:send(1), true, "one reads")
    p:join()
    t.is({w:send(2)}, {false, "closed"}, "nobody does")
    t.is({w:send_bytes("x")}, {false, "closed"}, "in bytes neither")
    local a, b = ipc.Pipe()
    b:close()
    t.is({a:send(1)}, {false, "closed"}, "of a duplex one")
    t.is({a:recv()}, {nil, "closed"}, "both ways")
end)

t.test("a send to a reader that does not read waits, until it reads or dies", function()
    local r, w = ipc.Pipe(false)
    local told = ipc.Queue()
    local block = ("x"):rep(1 << 20)
    local p = members.spawn(function()
        r:close()
        local n = 0
        while true do
            told:put(n)
            if not w:send(block) then
                break
            end
            n = n + 1
        end
        told:put("closed")
    end)
    w:close()
    local last
    repeat
        members.until_asleep(p)
        repeat
            local n = told:get(0)
            last = n or last
        until n == nil
    until told:get(0.1) == nil
    t.ok(last < 64, "it waits after " .. last .. " MiB")
    t.is(#r:recv(), 1 << 20, "one is read")
    r:close()
    local word
    repeat
        word = told:get(30)
    until word == "closed" or word == nil
    t.is(word, "closed", "and it is told that nobody reads any more")
    p:join()
end)

t.test("nil, and what cannot be sent, raises and sends nothing", function()
    local r, w = ipc.Pipe(false)
    t.raises(function() w:send(nil) end, "nil is not a message.*close the connection", "nil")
    t.raises(function() w:send() end, "nil is not a message", "nothing")
    t.raises(function() w:send({a = {io.stdout}}) end,
        "ipc_pipe.lua:%d+: cannot send value.a%[1%]: a file handle belongs to its process", "a file")
    t.raises(function() w:send_bytes({}) end, "string expected, got table", "bytes that are none")
    t.is(r:poll(), false, "nothing came")
end)

t.test("send_bytes sends the bytes from i to j, as string.sub counts", function()
    local r, w = ipc.Pipe(false)
    local s = "hello\0world"
    local least, most = math.mininteger, math.maxinteger
    for _, range in ipairs {
        {}, {1}, {3}, {3, 5}, {-5}, {-5, -2}, {0}, {1, 0}, {5, 4}, {20}, {1, 20}, {-20, 3}, {11}, {12},
        {least, most}, {most, least}, {most}, {least}, {1, least}, {2, most}, {most, most},
    } do
        t.is(w:send_bytes(s, range[1], range[2]), true, "sent")
        t.is(r:recv_bytes(), s:sub(range[1] or 1, range[2]),
            ("from %s to %s"):format(range[1], range[2]))
    end
    w:send_bytes("")
    t.is(r:recv_bytes(), "", "none at all is a message, too")
    local all = {}
    for i = 0, 255 do
        all[i + 1] = string.char(i)
    end
    all = table.concat(all):rep(40000) -- 10 MB
    local p = members.spawn(function() w:send_bytes(all) end)
    t.ok(r:recv_bytes() == all, "10 MB of all bytes")
    p:join()
end)

t.test("a message longer than recv_bytes was told is \"too long\", and ends reading", function()
    local a, b = ipc.Pipe()
    a:send_bytes("12345")
    a:send_bytes("123456")
    a:send_bytes("1")
    t.is(b:recv_bytes(5), "12345", "one that fits")
    t.is({b:recv_bytes(5)}, {nil, "too long"}, "one that does not")
    t.is({b:recv_bytes(5)}, {nil, "closed"}, "then nothing is read")
    t.is({b:recv()}, {nil, "closed"}, "at all")
    t.is({a:send_bytes("x")}, {false, "closed"}, "and the sender is told")
    t.is(b:send("still"), true, "the other way is as it was")
    t.is(a:recv(), "still", "and works")
    t.raises(function() a:recv_bytes(-1) end, "number of bytes expected", "less than none")
end)

t.test("poll tells whether a receive would wait", function()
    local r, w = ipc.Pipe(false)
    t.is(r:poll(), false, "nothing there")
    t.is(r:poll(0), false, "without waiting")
    local before = process.monotonic()
    t.is(r:poll(0.1), false, "with waiting")
    t.ok(process.monotonic() - before >= 0.1, "as long as it was told")
    w:send(1)
    t.is({r:poll(), r:poll(5), r:poll(nil)}, {true, true, true}, "something is")
    t.is(r:recv(), 1, "and it is not taken by that")
    local p = members.spawn(function() process.sleep(0.05) w:send(2) end)
    t.is(r:poll(30), true, "a message ends the wait")
    t.is(r:recv(), 2, "this one")
    p:join()
    local old = signal.signal(signal.SIGALRM, function() w:send(3) end)
    signal.setitimer(0.02)
    t.is(r:poll(30), true, "a handler may send it")
    r:recv()
    signal.signal(signal.SIGALRM, function() error("enough") end)
    signal.setitimer(0.02)
    t.raises(function() r:poll(30) end, "enough", "or end the wait")
    signal.signal(signal.SIGALRM, old)
    t.raises(function() r:poll("x") end, "number expected", "a wrong time")
end)

t.test("handlers run during send and recv; one that raises ends them with nothing taken", function()
    local r, w = ipc.Pipe(false)
    local old = signal.signal(signal.SIGALRM, function() w:send("from the handler") end)
    signal.setitimer(0.02)
    t.is(r:recv(), "from the handler", "recv goes on")
    signal.signal(signal.SIGALRM, function() error("enough") end)
    signal.setitimer(0.02)
    t.raises(function() r:recv() end, "enough", "recv is ended")
    local block, sent = ("x"):rep(1 << 20), 0
    signal.setitimer(0.3)
    t.raises(function()
        while true do
            w:send(block)
            sent = sent + 1
        end
    end, "enough", "send is ended")
    signal.signal(signal.SIGALRM, old)
    local got = 0
    while r:poll() do
        got = got + (r:recv() == block and 1 or -1000)
    end
    t.is(got, sent, "what was sent is there, and nothing of the rest")
end)

t.test("many senders and receivers on one pipe never tear a message", function()
    local r, w = ipc.Pipe(false)
    local results = ipc.Queue()
    local n, each = 4, 500
    local ps, qs = {}, {}
    for i = 1, n do
        ps[i] = members.spawn(function()
            r:close()
            for k = 1, each do
                w:send({i, k, string.char(96 + i):rep((k * 37) % 9000)})
            end
        end)
    end
    for i = 1, 2 do
        qs[i] = members.spawn(function()
            w:close()
            local sum, faults = 0, 0
            while true do
                local m, why = r:recv()
                if not m then
                    faults = faults + (why == "closed" and 0 or 1)
                    break
                end
                sum = sum + m[2]
                if m[3] ~= string.char(96 + m[1]):rep((m[2] * 37) % 9000) then
                    faults = faults + 1
                end
            end
            results:put({sum, faults})
        end)
    end
    w:close()
    r:close()
    local one, other = results:get(), results:get()
    t.is(one[1] + other[1], n * each * (each + 1) // 2, "all arrive")
    t.is(one[2] + other[2], 0, "whole")
    for i = 1, n do
        ps[i]:join()
    end
    for i = 1, 2 do
        qs[i]:join()
    end
end)

members.test_of_processes("a killed sender leaves whole messages", function()
    for _ = 1, 10 do
        local r, w = ipc.Pipe(false)
        local p = members.spawn(function()
            r:close()
            local k = 0
            while true do
                k = k + 1
                w:send(("x"):rep(k % 20000))
            end
        end)
        w:close()
        local k, faults = 0, 0
        while k < 200 do
            k = k + 1
            faults = faults + (#r:recv() == k % 20000 and 0 or 1)
        end
        p:kill()
        while true do
            local m, why = r:recv()
            k = k + 1
            if m == nil then
                t.is(why, "closed", "the end")
                break
            end
            faults = faults + (#m == k % 20000 and 0 or 1)
        end
        p:join()
        t.is(faults, 0, "all whole and in order")
    end
end)

t.test("an end can be sent, and is held by who has it", function()
    local a, b = ipc.Pipe()
    local r, w = ipc.Pipe(false)
    local p = members.spawn(function()
        w:close()
        r:close()
        local mine = b:recv()
        mine:send("by the new writer")
        mine:close()
    end)
    a:send(w)
    w:close()
    t.is(r:recv(), "by the new writer", "it works there")
    t.is({r:recv()}, {nil, "closed"}, "and closes there")
    p:join()
end)

t.done()
