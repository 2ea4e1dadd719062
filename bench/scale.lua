--[[
scale.lua: measures how the cost of luamp's operations grows: with the processes at one object, with
the objects that there are, with the size of a message, the length of a queue and the items of a
map. For each of these it prints what it measured and writes a plot into a folder. Started by
`run --scale`.

    luamp bench/scale.lua [--quick] [FOLDER]

Each number is the median of some measurements. The smallest comes first and what fills the shared
memory last, so that little of what one measurement leaves behind is there in the next.
]]

local here = arg[0]:match "^(.*)/[^/]*$" or "."
local plot_svg = dofile(here .. "/svg.lua")

local REPEATS = 3 -- measurements of which the median is taken

-- How far each goes: in full, and with --quick.
local LIMITS = {
    processes = {1000, 30},
    objects = {1000000, 10000},
    bytes = {256 << 20, 1 << 20},
    messages = {10000000, 100000},
    items = {10000000, 100000},
}

--[[
Axes.
]]

local function show_scaled(number, units, ratio)
    local i = 1
    while number >= ratio * (1 - 1e-9) and i < #units do
        number, i = number / ratio, i + 1
    end
    return (("%.3g %s"):format(number, units[i]):gsub(" $", ""))
end

local function show_count(number)
    return show_scaled(number, {"", "thousand", "million"}, 1000)
end

local function show_bytes(number)
    return show_scaled(number, {"B", "KiB", "MiB", "GiB"}, 1024)
end

local function show_seconds(seconds)
    return show_scaled(seconds * 1e9, {"ns", "µs", "ms", "s"}, 1000)
end

local function counts(label)
    return {label = label, steps = 10, show = show_count}
end

local function seconds(label)
    return {label = label, steps = 10, show = show_seconds}
end

-- 1, 3, 10, 30 and so on up to a limit, which is the last.
local function half_decades(limit)
    local list, x = {}, 1
    while x < limit do
        table.insert(list, x)
        x = tostring(x):sub(1, 1) == "1" and x * 3 or x // 3 * 10
    end
    table.insert(list, limit)
    return list
end

local function median(numbers)
    table.sort(numbers)
    return numbers[#numbers // 2 + 1]
end

-- A series: of each x the median of what measure(x) returns, which is seconds for one operation.
local function series(name, xs, measure)
    local points = {}
    for i, x in ipairs(xs) do
        local times = {}
        for k = 1, REPEATS do
            collectgarbage()
            times[k] = measure(x)
        end
        points[i] = {x, median(times)}
    end
    return {name = name, points = points}
end

--[[
Processes at one object. All of them together do so many operations, however many they are; but each
does at least some, or else it would be measured how they begin one after the other.
]]

local OPERATIONS = 100000

-- Runs f(each) in so many processes, which begin together, and meanwhile g(each) here, where each is
-- at least `least`. Seconds from when the first began until the last was done, for each of the
-- operations: that the processes start and end is not counted.
local function together(workers, least, f, g)
    local each = math.max(OPERATIONS // workers, least)
    local start = sync.Barrier(workers + 1)
    local began, done = ipc.Array("d", workers), ipc.Array("d", workers)
    local processes = {}
    for i = 1, workers do
        processes[i] = assert(process.spawn(function()
            start:wait()
            began[i] = process.monotonic()
            f(each)
            done[i] = process.monotonic()
        end))
    end
    start:wait()
    if g then
        g(each)
    end
    local last = process.monotonic()
    for _, p in ipairs(processes) do
        p:join()
    end
    last = math.max(g and last or 0, table.unpack(done:totable()))
    return (last - math.min(table.unpack(began:totable()))) / (each * workers)
end

local function at_one_lock(workers)
    local lock = sync.Lock()
    return together(workers, 1000, function(each)
        for _ = 1, each do
            lock:acquire()
            lock:release()
        end
    end)
end

local function at_one_queue(workers)
    local queue = ipc.Queue()
    return together(workers, 1000, function(each)
        for i = 1, each do
            queue:put(i)
        end
    end, function(each)
        for _ = 1, each * workers do
            queue:get()
        end
    end)
end

-- The event is set, all wake and say so. There are two, so that one is cleared while all wait for
-- the other.
local function at_one_event(workers)
    local go, awake = {[0] = sync.Event(), sync.Event()}, sync.Semaphore(0)
    return together(workers, 100, function(each)
        for i = 1, each do
            go[i % 2]:wait()
            awake:release()
        end
    end, function(each)
        for i = 1, each do
            go[(i + 1) % 2]:clear()
            go[i % 2]:set()
            for _ = 1, workers do
                awake:acquire()
            end
        end
    end)
end

local function processes_plot(limit)
    local xs = half_decades(limit)
    return {
        title = "Many processes at one object",
        x = counts "processes", y = seconds "time for one operation",
        series = {
            series("lock: acquire and release", xs, at_one_lock),
            series("queue: put and get", xs, at_one_queue),
            series("event: wait and answer", xs, at_one_event),
        },
    }
end

--[[
The items of a map.
]]

local function square(x)
    return x * x
end

local function numbers(n)
    local list = {}
    for i = 1, n do
        list[i] = i
    end
    return list
end

local function items_plot(limit)
    local xs, workers = half_decades(limit), pool.Pool(2)
    workers:map(square, {1, 2, 3, 4}, 1) -- the workers are there
    local plot = {
        title = "A map of x * x over many items",
        x = counts "items", y = seconds "time for one item",
        series = {
            series("a pool of two", xs, function(n)
                local list = numbers(n)
                local from = process.monotonic()
                workers:map(square, list)
                return (process.monotonic() - from) / n
            end),
            series("a loop in one process", xs, function(n)
                local list, squares = numbers(n), {}
                local from = process.monotonic()
                for i, x in ipairs(list) do
                    squares[i] = square(x)
                end
                return (process.monotonic() - from) / n
            end),
        },
    }
    workers:close()
    workers:join()
    return plot
end

--[[
The size of a message, from one process to another.
]]

local BYTES = 1 << 30  -- all messages of a measurement together have no more, but for the least
local LEAST = 6
local MESSAGES = 20000 -- nor are they more than these
local UNTIMED = 3      -- go before: the child is there, and so is the memory for what is under way

local function pass(size, send, receive)
    local n = math.max(math.min(BYTES // size, MESSAGES), LEAST)
    local text = ("x"):rep(size)
    local p = assert(process.spawn(function()
        for _ = 1, UNTIMED + n do
            send(text)
        end
    end))
    for _ = 1, UNTIMED do
        receive()
    end
    local from = process.monotonic()
    for _ = 1, n do
        receive()
    end
    local time = (process.monotonic() - from) / n
    p:join()
    return time
end

local function by_queue(size)
    local queue = ipc.Queue(4) -- so that few of the large ones are there at a time
    return pass(size, function(text) queue:put(text) end, function() return queue:get() end)
end

local function by_pipe(size)
    local mine, theirs = ipc.Pipe(false)
    return pass(size, function(text) theirs:send(text) end, function() return mine:recv() end)
end

local function by_socket(size)
    local options = {max_message = LIMITS.bytes[1] + 1024}
    local listener = assert(ipc.Listener("@luamp-scale-" .. process.getpid(), options))
    local theirs, mine
    local time = pass(size, function(text)
        theirs = theirs or assert(ipc.Client(listener.address, options))
        theirs:send(text)
    end, function()
        mine = mine or assert(listener:accept())
        return assert(mine:recv())
    end)
    mine:close()
    listener:close()
    return time
end

local function bytes_plot(limit)
    local xs, x = {}, 1
    while x <= limit do
        table.insert(xs, x)
        x = x * 4
    end
    return {
        title = "Messages from one process to another",
        x = {label = "size of a message", steps = 32, show = show_bytes},
        y = seconds "time for one message",
        series = {
            series("queue", xs, by_queue),
            series("pipe", xs, by_pipe),
            series("socket", xs, by_socket),
        },
    }
end

--[[
The length of a queue. Both series come of the same queues: one of them is filled, then drained.
]]

local function messages_plot(limit)
    local xs, drains = half_decades(limit), {}
    local put = series("put", xs, function(n)
        local queue = ipc.Queue()
        local from = process.monotonic()
        for i = 1, n do
            queue:put(i)
        end
        local filled = process.monotonic()
        for _ = 1, n do
            queue:get()
        end
        drains[n] = drains[n] or {}
        table.insert(drains[n], (process.monotonic() - filled) / n)
        return (filled - from) / n
    end)
    local get = {name = "get", points = {}}
    for i, n in ipairs(xs) do
        get.points[i] = {n, median(drains[n])}
    end
    return {
        title = "A queue that is filled, then drained",
        x = counts "messages in the queue", y = seconds "time for one message",
        series = {put, get},
    }
end

--[[
The objects that are alive. The count grows up to each x, and a few more are made there.
]]

local FEW = 100

local function objects_plot(limit)
    local xs, objects, queue = half_decades(limit), {}, ipc.Queue()
    local make, send = {name = "make one more", points = {}}, {name = "send one", points = {}}
    for i, x in ipairs(xs) do
        while #objects < x do
            objects[#objects + 1] = sync.Event()
        end
        collectgarbage()
        local makes, sends = {}, {}
        for k = 1, REPEATS do
            local from = process.monotonic()
            for _ = 1, FEW do
                sync.Event()
            end
            local made = process.monotonic()
            for _ = 1, FEW do
                queue:put(objects[x])
                queue:get()
            end
            makes[k], sends[k] = (made - from) / FEW, (process.monotonic() - made) / FEW
            collectgarbage()
        end
        make.points[i], send.points[i] = {x, median(makes)}, {x, median(sends)}
    end
    return {
        title = "Many objects alive",
        x = counts "objects", y = seconds "time for one operation",
        series = {make, send},
    }
end

--[[
The command line.
]]

-- In the order in which they are measured: name of the limit and of the file, and what makes it.
local plots = {
    {"processes", processes_plot},
    {"items", items_plot},
    {"bytes", bytes_plot},
    {"messages", messages_plot},
    {"objects", objects_plot},
}

local function print_plot(plot)
    print(plot.title)
    for _, one in ipairs(plot.series) do
        for _, point in ipairs(one.points) do
            print(("  %-28s %14s %12s"):format(one.name, plot.x.show(point[1]),
                plot.y.show(point[2])))
        end
    end
end

local function write_plot(folder, name, plot)
    local path = ("%s/%s.svg"):format(folder, name)
    local file <close> = assert(io.open(path, "w"))
    assert(file:write(plot_svg(plot)))
end

-- The folder that was named, or a temporary one; it is there afterwards.
local function make_folder(name)
    if name then
        assert(os.execute("mkdir -p '" .. name:gsub("'", "'\\''") .. "'"))
        return name
    end
    local pipe <close> = assert(io.popen "mktemp -d \"${TMPDIR:-/tmp}/luamp-scale.XXXXXX\"")
    return assert(pipe:read "l", "no temporary folder")
end

local function main(arguments)
    local which, folder = 1, nil
    for _, argument in ipairs(arguments) do
        if argument == "--quick" then
            which = 2
        elseif argument:match "^%-" or folder then
            io.stderr:write "usage: bench/run --scale [--quick] [FOLDER]\n"
            os.exit(1)
        else
            folder = argument
        end
    end
    folder = make_folder(folder)
    for _, entry in ipairs(plots) do
        local name, measure = table.unpack(entry)
        local plot = measure(LIMITS[name][which])
        print_plot(plot)
        write_plot(folder, name, plot)
    end
    print("plots: " .. folder)
end

main(arg)
