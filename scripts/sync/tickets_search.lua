-- Lock锁, 抢票: first everybody looks how many tickets are left.
-- Watch the ten answers come at once: readers need not wait for each other.

local json = require "dkjson"

local mktemp = io.popen("mktemp -d")
local folder = mktemp:read("l")
mktemp:close()
process.atexit(function() os.execute(("rm -r %q"):format(folder)) end)
local tickets = folder .. "/tickets.json"

local function write(dic)
    local f <close> = assert(io.open(tickets, "w"))
    f:write(json.encode(dic))
end

local function search(person)
    local f <close> = assert(io.open(tickets))
    local dic = json.decode(f:read("a"))
    process.sleep(0.2)      -- 查票的时候经历一个网络延迟
    print(person .. "查询余票 :  " .. dic.count)
end

write{count = 2}
for i = 0, 9 do
    process.Process{target = search, args = {"person" .. i}}:start()
end
