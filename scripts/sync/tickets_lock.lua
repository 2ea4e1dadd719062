-- Lock锁, 抢票, with a lock (互斥锁): one at a time reads, decides and writes.
-- Watch for exactly two "买到票了", and for what the file says at the end.

local json = require "dkjson"

local mktemp = io.popen("mktemp -d")
local folder = mktemp:read("l")
mktemp:close()
process.atexit(function() os.execute(("rm -r %q"):format(folder)) end)
local tickets = folder .. "/tickets.json"

local function read()
    local f <close> = assert(io.open(tickets))
    return json.decode(f:read("a"))
end

local function write(dic)
    local f <close> = assert(io.open(tickets, "w"))
    f:write(json.encode(dic))
end

local function get_ticket(person, lock)
    lock:acquire()      -- 加锁

    local dic = read()
    process.sleep(0.2)
    if dic.count > 0 then
        print(person .. "买到票了")
        dic.count = dic.count - 1
        process.sleep(0.2)
        write(dic)
    else
        print(person .. "没有买到票")
    end

    lock:release()      -- 释放锁
end

write{count = 2}
local lock = sync.Lock()

local people = {}
for i = 0, 9 do
    people[#people + 1] = process.spawn(get_ticket, "person" .. i, lock)
end
for _, p in ipairs(people) do
    p:join()
end
print("余票 : " .. read().count)
