-- 线程, 9. 多线程应用: a chat room by sockets. The server has a thread for each client.
-- Watch each line reach all others once, and a client that is killed leave the room, too.
--
--     luamp chat_room.lua serve PORT          the server
--     luamp chat_room.lua join PORT NAME      a client; "@小红 ..." is read by 小红 alone
--     luamp chat_room.lua                     a scene with a server and three clients

local people = ipc.Dict()       -- name -> connection
local room = sync.Lock()        -- 一次一个人说话

-- The server --------------------------------------------------------------------------------------

local function tell_others(name, line)
    for other, connection in pairs(people) do
        if other ~= name then
            connection:send(line)
        end
    end
end

local function enter(name, connection)
    if people[name] then
        connection:send("系统: " .. name .. " 已经有人用了")
        return false
    end
    people[name] = connection
    tell_others(name, "系统: " .. name .. " 进来了")
    return true
end

local function leave(name)
    people[name] = nil
    tell_others(name, "系统: " .. name .. " 离开了")
end

local function say(name, line)
    local other, secret = line:match("^@(%S+)%s+(.+)$")
    if not other then
        tell_others(name, name .. ": " .. line)
    elseif people[other] then
        people[other]:send(name .. " (私聊): " .. secret)
    else
        people[name]:send("系统: " .. other .. " 不在")
    end
end

local function talk_with(connection)
    local name = connection:recv()
    if not name or not room:with(enter, name, connection) then
        return
    end
    local line = connection:recv()
    while line do
        room:with(say, name, line)
        line = connection:recv()
    end
    room:with(leave, name)      -- it said goodbye, or it is just gone
end

local function serve(listener)
    while true do
        local connection <close> = listener:accept()
        if connection then
            thread.Thread{target = talk_with, args = {connection}, daemon = true}:start()
        end
    end
end

-- A client ----------------------------------------------------------------------------------------

local function print_lines(name, connection)
    local line = connection:recv()
    while line do
        print(name .. " 收到 " .. line)
        line = connection:recv()
    end
end

local function join(port, name, next_line)
    local connection = assert(ipc.Client{"127.0.0.1", port})
    connection:send(name)
    thread.Thread{target = print_lines, args = {name, connection}, daemon = true}:start()
    for line in next_line do
        if not connection:send(line) then
            break
        end
    end
end

-- The scene ---------------------------------------------------------------------------------------

local function scene()
    local listener = assert(ipc.Listener{"127.0.0.1", 0})
    thread.Thread{target = serve, args = {listener}, daemon = true}:start()

    local clients, keyboards = {}, {}
    for i, name in ipairs{"小明", "小红", "小刚"} do
        local keyboard = ipc.Queue()
        keyboards[name] = keyboard
        clients[name] = process.spawn(join, listener.address[2], name, function()
            return keyboard:get()
        end)
        while #people < i do
            process.sleep(0.01)
        end
    end

    local function types(name, line)
        process.sleep(0.5)
        keyboards[name]:put(line)
    end

    types("小明", "大家好")
    types("小红", "你好，小明")
    types("小刚", "@小红 下课以后去吃饭吗？")
    process.sleep(0.5)
    clients["小刚"]:kill()          -- without a word
    types("小红", "小刚去哪儿了？")
    process.sleep(0.5)
    keyboards["小明"]:close()       -- 小明 goes
    process.sleep(0.5)
    keyboards["小红"]:close()
end

if arg[1] == "serve" then
    serve(assert(ipc.Listener{"127.0.0.1", math.tointeger(arg[2])}))
elseif arg[1] == "join" then
    join(math.tointeger(arg[2]), arg[3], io.lines())
else
    scene()
end
