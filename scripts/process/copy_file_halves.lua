-- multiprocessing 模块创建进程, 练习: two children copy the halves of a file.
-- Watch for true: the halves joined are the file, byte for byte. Each child opens the file for
-- itself, since a file opened before the fork has one offset for both.

local mktemp = io.popen("mktemp -d")
local folder = mktemp:read("l")
mktemp:close()
process.atexit(function() os.execute(("rm -r %q"):format(folder)) end)
local function read(name)
    local f <close> = assert(io.open(folder .. "/" .. name, "rb"))
    return f:read("a")
end

local function write(name, data)
    local f <close> = assert(io.open(folder .. "/" .. name, "wb"))
    f:write(data)
end

local random <close> = assert(io.open("/dev/urandom", "rb"))
write("byte.png", random:read(100001))      -- an odd size: the halves differ
local size = #read("byte.png")

local function copy1()      -- 复制前半部分
    local f <close> = assert(io.open(folder .. "/byte.png", "rb"))
    local fw <close> = assert(io.open(folder .. "/file1.png", "wb"))
    local n = size // 2
    while n > 0 do
        local data = f:read(math.min(n, 1024))
        fw:write(data)
        n = n - #data
    end
end

local function copy2()      -- 复制下半部分
    local f <close> = assert(io.open(folder .. "/byte.png", "rb"))
    local fw <close> = assert(io.open(folder .. "/file2.png", "wb"))
    f:seek("set", size // 2)
    for data in f:lines(1024) do
        fw:write(data)
    end
end

local p1 = process.Process{target = copy1}
local p2 = process.Process{target = copy2}
p1:start()
p2:start()
p1:join()
p2:join()
print(read("file1.png") .. read("file2.png") == read("byte.png"))
