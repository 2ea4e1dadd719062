-- 七、互斥锁: everybody looks at the same time (并发), and buys one after the other (串行).
-- Watch the ten answers come at once, then three buy, a few seconds apart.

local json = require "dkjson"

local mktemp = io.popen("mktemp -d")
local folder = mktemp:read("l")
mktemp:close()
process.atexit(function() os.execute(("rm -r %q"):format(folder)) end)
local db = folder .. "/db.json"

local function read()
    local f <close> = assert(io.open(db))
    return json.decode(f:read("a"))
end

local function write(dic)
    local f <close> = assert(io.open(db, "w"))
    f:write(json.encode(dic))
end

local function search(name)
    local dic = read()
    process.sleep(1)
    print(name .. " 查看到余票为 " .. dic.count)
end

local function get(name)
    local dic = read()
    if dic.count > 0 then
        dic.count = dic.count - 1
        process.sleep(math.random(1, 3))
        write(dic)
        print(name .. " 购票成功")
    else
        print(name .. " 查看到没有票了")
    end
end

local function task(name, mutex)
    search(name)            -- 并发
    mutex:with(get, name)   -- 串行: acquire, get(name), release
end

write{count = 3}
local mutex = sync.Lock()
for i = 0, 9 do
    process.Process{target = task, args = {"路人" .. i, mutex}}:start()
end
