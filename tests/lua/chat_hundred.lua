-- The chat room of scripts/thread/ with a hundred clients, of which ten are killed in the middle of a
-- line: no line is lost between those that live. bash plays the ten, since it can write half a line.

local t = require "tap"

if not os.execute("bash -c 'exec 3<>/dev/udp/127.0.0.1/9' 2>/dev/null") then
    t.skip("a hundred clients", "there is no bash that opens connections")
    t.done()
end

local LIVING, DYING, LINES = 90, 10, 3
local LONG = 60
local encode = require "luamp.codec".encode

local function escaped(bytes)
    return (bytes:gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- The hello of one without a key, then frames: the name, and the half of a line.
local function half_a_line(name)
    local function frame(value)
        local bytes = encode(value)
        return ("<I8"):pack(#bytes) .. bytes
    end
    local line = frame("this line has no end " .. ("x"):rep(1000))
    return ("<c8I4I4I8"):pack("luamp\r\n\0", 1, 0, 1 << 20) .. ("r"):rep(32) .. frame(name) ..
        line:sub(1, #line // 2)
end

-- A client that has said the half of a line: its process, and what keeps it.
local function dying_client(port, name)
    local pipe = assert(io.popen(([[exec bash -c '
        exec 3<>/dev/tcp/127.0.0.1/%d; printf "%s" >&3; echo $$; exec sleep 600']]):format(
            port, escaped(half_a_line(name)))))
    return pipe:read("n"), pipe
end

-- A client that lives: enters, says its lines once all are there, and stays until it has heard all
-- that the others said. Tells what was wrong with it, or nothing.
local function living_client(port, name, all_in, told)
    local connection = assert(ipc.Client{"127.0.0.1", port})
    connection:send(name)
    local speaker = thread.Thread{target = function()
        all_in:wait()
        for i = 1, LINES do
            connection:send(("line %d"):format(i))
        end
    end}
    speaker:start()
    local heard, n = {}, 0
    while n < (LIVING - 1) * LINES do
        local line = connection:recv()
        if line == nil then
            told:put(name .. " lost its connection")
            return
        end
        local who, number = line:match("^(L%d+): line (%d+)$")
        if who then
            n = n + 1
            heard[who] = (heard[who] or 0) + 1
            if tonumber(number) ~= heard[who] then
                told:put(("%s heard line %s of %s as its number %d"):format(name, number, who,
                    heard[who]))
                return
            end
        end
    end
    speaker:join()
    told:put("heard all")
    connection:recv() -- stays until the server ends: the others may still speak
end

-- The server, and its port: one that was free a moment ago. Should somebody else have taken it
-- meanwhile, the server ends, and another port is tried.
local function start_server()
    while true do
        local probe = assert(ipc.Listener{"127.0.0.1", 0})
        local port = probe.address[2]
        probe:close()
        local server = process.Process{daemon = true, target = function()
            arg = {"serve", tostring(port)}
            dofile(os.getenv("top_srcdir") .. "/scripts/thread/chat_room.lua")
        end}
        server:start()
        while server:is_alive() do
            local c = ipc.Client{"127.0.0.1", port}
            if c then
                c:close()
                return server, port
            end
            process.sleep(0.01)
        end
    end
end

t.test("a hundred clients, ten of them killed in the middle of a line", function()
    local server, port = start_server()
    local all_in, told = sync.Event(), ipc.Queue()
    local observer = assert(ipc.Client{"127.0.0.1", port})
    observer:send("observer")
    observer:send("@observer in?") -- until it is, it would miss who comes in
    assert(observer:poll(LONG), "the observer does not come in")
    observer:recv()
    local clients, killed = {}, {}
    for i = 1, LIVING do
        clients[i] = process.Process{daemon = true, target = living_client,
            args = {port, "L" .. i, all_in, told}}
        clients[i]:start()
    end
    for i = 1, DYING do
        local pid, pipe = dying_client(port, "D" .. i)
        killed[i] = {pid = pid, pipe = pipe}
    end
    local entered = 0
    while entered < LIVING + DYING do
        assert(observer:poll(LONG), "nobody comes in any more")
        if observer:recv():find("进来了", 1, true) then entered = entered + 1 end
    end
    observer:close()
    all_in:set()
    for _, client in ipairs(killed) do
        signal.kill(client.pid, signal.SIGKILL)
        client.pipe:close()
    end
    local wrong = {}
    for _ = 1, LIVING do
        local what = told:get(LONG)
        if what ~= "heard all" then wrong[#wrong + 1] = tostring(what) end
    end
    t.is(wrong, {}, "no line is lost, doubled or out of order between those that live")
    server:kill()
    server:join()
    for _, client in ipairs(clients) do
        t.is(client:join(60), true, "a client ends")
    end
end)

t.done()
