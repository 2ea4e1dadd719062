-- Event 事件, second example: two wait until a file may be read, one of them not for long.
-- Watch the second give up after two seconds; the first reads the file after three.

local mktemp = io.popen("mktemp -d")
local folder = mktemp:read("l")
mktemp:close()
process.atexit(function() os.execute(("rm -r %q"):format(folder)) end)
local file = folder .. "/file"

local e = sync.Event()

local function read()
    local f <close> = assert(io.open(file))
    return f:read("a")
end

local function wait_event()
    print("想操作临界区")
    e:wait()
    print("开始操作临界区资源 " .. tostring(e:is_set()))
    print(read())
end

local function wait_event_timeout()
    print("也想操作临界区")
    e:wait(2)
    if e:is_set() then
        print(read())
    else
        print("不能读取文件")
    end
end

local p1 = process.Process{target = wait_event}
p1:start()
local p2 = process.Process{target = wait_event_timeout}
p2:start()

print("主进程操作")
do
    local f <close> = assert(io.open(file, "w"))
    process.sleep(3)
    f:write("I love China")
end
e:set()
print("释放临界区")

p1:join()
