-- Lock锁, 抢票, without a lock: each reads the file before another has written it.
-- Watch for the number of "买到票了": there were two tickets, and more than two are sold.

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

-- Whole at once: who reads finds the old file or the new one, and never half of one.
local function write(dic)
    local new = tickets .. "." .. process.getpid()
    local f <close> = assert(io.open(new, "w"))
    f:write(json.encode(dic))
    f:flush()
    assert(os.rename(new, tickets))
end

local function get_ticket(person)
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
end

write{count = 2}
for i = 0, 9 do
    process.Process{target = get_ticket, args = {"person" .. i}}:start()
end
