-- 2. 锁lock, with 上下文管理: lock:with(f, ...) runs f under the lock and releases it.
-- Watch the number fall by one each time: nobody sells a ticket that another has sold.

local json = require "dkjson"

local mktemp = io.popen("mktemp -d")
local folder = mktemp:read("l")
mktemp:close()
process.atexit(function() os.execute(("rm -r %q"):format(folder)) end)
local ticket_count = folder .. "/ticket_count"

local function read()
    local f <close> = assert(io.open(ticket_count))
    return json.decode(f:read("a"))
end

local function write(dic)
    local f <close> = assert(io.open(ticket_count, "w"))
    f:write(json.encode(dic))
end

local function buy_ticket(user)
    process.sleep(0.02)
    local dic = read()
    dic.count = dic.count - 1
    write(dic)
    print(("%s 买到票, 余票 %d"):format(user, dic.count))
end

local function task(user, lock)
    lock:with(buy_ticket, user)     -- 加锁最佳方式
end

write{count = 20}
local lock = sync.Lock()
local users = {}
for i = 0, 9 do
    local p = process.Process{target = task, args = {"user" .. i, lock}}
    p:start()
    users[#users + 1] = p
end
for _, p in ipairs(users) do
    p:join()
end
print("余票 : " .. read().count)
