-- Dozens of processes use everything at once, while a killer kills, stops and continues them at random.
-- Nothing is lost, doubled or torn, nobody hangs, and the arena is afterwards what it was.
--
--     SECONDS=3600 SEED=1 luamp tests/crash/chaos.lua
--
-- Time is cut into epochs. In each, every role below has its processes; who dies is replaced by a new
-- process in the same slot. At the end of an epoch nobody is killed any more, all come to an end by
-- themselves, what was written down is compared, and the arena is weighed.
--
-- What counts. Each slot has words in shared memory, written before and after its operation. A
-- producer writes the number of its message to `begun`, puts it, and writes it to `done`: what is
-- done must arrive; the one message that was begun and not done when its producer died may. A
-- consumer sets `inside`, takes, writes the message into its slot's log, and clears `inside`: who
-- dies inside may have taken one message that nobody knows of, and no more. Some consumers are never
-- killed, so that from their queue nothing at all may be missing.

local t = require "tap"
local members = require "luamp.members"

local SECONDS = tonumber(os.getenv "SECONDS" or "") or 20
local SEED = math.tointeger(tonumber(os.getenv "SEED" or "") or os.time())
local EPOCH = math.min(tonumber(os.getenv "EPOCH" or 6), SECONDS)
local PATIENCE = tonumber(os.getenv "PATIENCE" or 60) -- seconds without progress are a hang
local PAUSE = tonumber(os.getenv "PAUSE" or 0.01)     -- between two acts of the killer, on average
local SLOTS = 64
local LOG = 1 << 17      -- messages that a consumer can note in an epoch
local SHIFT = 1 << 40    -- a message's code: producer * SHIFT + number

-- Shared for the whole run, slot by slot.
local begun, done = ipc.Array("q", SLOTS), ipc.Array("q", SLOTS)
local inside, beat = ipc.Array("q", SLOTS), ipc.Array("q", SLOTS)
local logged = ipc.Array("q", SLOTS)
local logs = {}
local stop = ipc.Value("i", 0)    -- 1: producers end; 2: all end
local torn = ipc.Value("q", 0)    -- contents that were wrong, and promises that were broken
local told = ipc.Value("q", 0)    -- "owner died"
local operations = ipc.Value("q", 0)

local director = process.getpid()

local total = {messages = 0, kills = 0, stops = 0, lost = 0, doubled = 0, hangs = 0, taken = 0,
    begun = 0, epochs = 0, spawned = 0}

-- Something is wrong: said at once, counted once.
local function wrong(...)
    torn:add(1)
    io.stderr:write("# WRONG: ", string.format(...), "\n")
end

-- Now and then, so that not everybody wants a processor all the time: who is killed needs one to die.
local NAP = tonumber(os.getenv "NAP" or 0.004)
local function nap()
    if math.random(2) == 1 then process.sleep(math.random() * NAP) end
end

-- The text of a message: it says whose it is in every part.
local sizes = {0, 1, 3, 10, 40, 100, 300, 600, 3000, 20000}
local function text_of(producer, number)
    local unit = ("%d:%d;"):format(producer, number)
    return unit:rep(1 + sizes[1 + (number * 7 + producer) % #sizes])
end

-- One message's number, written before and after.
local function act(slot, f, ...)
    local number = begun[slot] + 1
    begun[slot] = number
    local ok, why = f(number, ...)
    if ok then
        done[slot] = number
    else
        begun[slot] = number - 1 -- it was refused as a whole
    end
    beat[slot] = beat[slot] + 1
    return ok, why
end

local function note(slot, producer, number, text)
    if text ~= text_of(producer, number) then
        wrong("message %s:%s has %d bytes that are not its own", producer, number, #tostring(text))
    end
    local n = logged[slot] + 1
    logs[slot][n] = producer * SHIFT + number
    logged[slot] = n
    inside[slot] = 0
    beat[slot] = beat[slot] + 1
end

-- Under a lock two numbers are equal, unless the acquire told of a death.
local function add_under(lock, pair, slot)
    local _, died = lock:acquire()
    if died then
        told:add(1)
        pair[2] = pair[1]
    elseif pair[1] ~= pair[2] then
        wrong("%s: half changed, and the death of its owner was not told", lock)
    end
    pair[3] = slot
    pair[1] = pair[1] + 1
    nap()
    if pair[3] ~= slot then
        wrong("%s: two are inside", lock)
    end
    pair[2] = pair[1]
    lock:release()
    return true
end

--
-- Roles. make(n) makes what an epoch's processes of the role share; each process runs one of the
-- role's functions with its slot. `ending` is called again and again until all have ended, `check`
-- then looks at what is left. `spared` are never killed.
--

local roles = {}
local slots -- of this epoch: role, how, process, and what is known of it

-- Messages through something that has put and get: checked by slots' logs.
local function channel(name, counts, make)
    roles[#roles + 1] = {
        name = name, counts = counts,
        make = make,
        ordered = not counts.unordered,
        run = {
            producer = function(c, slot)
                while stop.value == 0 do
                    act(slot, function(n) return c.put(slot, n, text_of(slot, n)) end)
                    nap()
                end
            end,
            consumer = function(c, slot)
                if c.begin then c.begin() end
                while true do
                    inside[slot] = 1
                    local m, why = c.get()
                    if m then
                        note(slot, m[1], m[2], m[3])
                    else
                        inside[slot] = 0
                        beat[slot] = beat[slot] + 1
                        if why == "closed" or stop.value == 2 then return end
                    end
                    nap()
                end
            end,
        },
    }
end

local function queue_of(maxsize)
    return function()
        local q = ipc.Queue {maxsize = maxsize, name = "messages"}
        return {
            put = function(...) return q:put({...}) end,
            get = function() return q:get() end,
            close = function() q:close() end,
        }
    end
end

channel("queue", {producer = 3, consumer = 2, spared = "consumer"}, queue_of(4))
channel("queue, all die", {producer = 3, consumer = 3}, queue_of(20))

channel("queue without limit", {producer = 2, consumer = 2}, function()
    local q = ipc.Queue {name = "unlimited"}
    return {
        put = function(...)
            while q:qsize() > 300 and stop.value == 0 do process.sleep(0.002) end
            return q:put({...})
        end,
        get = function() return q:get() end,
        close = function() q:close() end,
    }
end)

-- Each message brings objects that only it has: they are used, and dropped.
channel("queue of objects", {producer = 2, consumer = 2}, function()
    local q = ipc.Queue {maxsize = 10, name = "parcels"}
    return {
        put = function(producer, number, text)
            local inner, lock = ipc.Queue(), sync.Lock()
            inner:put {producer, number, lock}
            return q:put {inner, text, ipc.Dict {number = number}}
        end,
        get = function()
            local parcel, why = q:get()
            if not parcel then return nil, why end
            local m = parcel[1]:get(false)
            if not m or parcel[3].number ~= m[2] then
                wrong("a parcel without its contents")
                return nil
            end
            m[3]:with(function() end)
            return {m[1], m[2], parcel[2]}
        end,
        close = function() q:close() end,
    }
end)

channel("pipe", {producer = 2, consumer = 2}, function()
    local r, w = ipc.Pipe(false)
    return {
        put = function(...) return w:send {...} end,
        get = function() return r:recv() end,
        begin = function() w:close() end, -- or the pipe would never be closed to its reader
        close = function() w:close() end,
    }
end)

channel("list", {producer = 2, consumer = 2, unordered = true}, function()
    local l = ipc.List()
    return {
        put = function(...)
            while #l > 100 and stop.value == 0 do process.sleep(0.002) end
            l:append {...}
            return true
        end,
        get = function()
            local m = l:pop()
            if not m then process.sleep(0.001) end
            return m
        end,
        close = function() return #l == 0 end,
    }
end)

-- What is counted in shared memory: as often as it was done, and at most once for each who died
-- inside.
local function counted(name, counts, make, step, ending)
    roles[#roles + 1] = {
        name = name, counts = counts, make = make, is_counted = true, ending = ending,
        run = {
            worker = function(c, slot)
                while stop.value == 0 do
                    if act(slot, function() return step(c, slot) end) then operations:add(1) end
                    nap()
                end
            end,
        },
    }
end

counted("lock", {worker = 3}, function()
    local c = {lock = sync.Lock {name = "a lock"}, pair = ipc.Array("q", 3)}
    c.count = function() return c.pair[1] end
    return c
end, function(c, slot) return add_under(c.lock, c.pair, slot) end)

counted("rlock", {worker = 2}, function()
    local c = {lock = sync.RLock {name = "an rlock"}, pair = ipc.Array("q", 3)}
    c.count = function() return c.pair[1] end
    return c
end, function(c, slot)
    local _ <close> = c.lock:acquire()
    local ok = add_under(c.lock, c.pair, slot)
    return ok
end)
-- The outer acquire takes the news of a death, so the inner one is not told.
roles[#roles].run.worker = function(c, slot)
    while stop.value == 0 do
        act(slot, function()
            local _, died = c.lock:acquire()
            if died then
                told:add(1)
                c.pair[2] = c.pair[1]
            end
            add_under(c.lock, c.pair, slot)
            c.lock:release()
            return true
        end)
        operations:add(1)
        nap()
    end
end

counted("dict", {worker = 3}, function()
    local c = {dict = ipc.Dict {total = 0}}
    c.count = function() return c.dict.total end
    return c
end, function(c, slot)
    local key = math.random(20)
    local text = c.dict[key]
    if text and text ~= text:match("^%d+;"):rep(key * 17) then wrong("entry %d is torn", key) end
    if math.random(3) == 1 then
        c.dict[key] = nil
    else
        c.dict[key] = (slot .. ";"):rep(key * 17)
    end
    c.dict:update("total", function(n) return n + 1 end)
    return true
end)

counted("value", {worker = 2}, function()
    local c = {value = ipc.Value("q", 0)}
    c.count = function() return c.value.value end
    return c
end, function(c) c.value:add(1) return true end)

-- The permits of the dead come back: afterwards all are there.
counted("bounded semaphore", {worker = 4}, function()
    local c = {permits = sync.BoundedSemaphore {n = 2, name = "permits"}, total = ipc.Value("q", 0)}
    c.count = function() return c.total.value end
    c.check = function()
        if c.permits:get_value() ~= 2 then wrong("%s: a permit is lost", c.permits) end
    end
    return c
end, function(c)
    c.permits:acquire()
    nap()
    c.total:add(1)
    c.permits:release()
    return true
end)

-- A permit given is a permit taken, but for those that died in between.
counted("semaphore", {worker = 2}, function()
    local c = {permits = sync.Semaphore {n = 0, name = "given"}, extra = 0}
    c.count = function()
        local taken = 0
        for slot, s in ipairs(slots) do
            if s.how == "taker" then taken = taken + logged[slot] end
        end
        return c.permits:get_value() + taken - c.extra
    end
    return c
end, function(c)
    while c.permits:get_value() > 50 and stop.value == 0 do process.sleep(0.001) end
    c.permits:release()
    return true
end, function(c)
    c.permits:release()
    c.extra = c.extra + 1
end)
roles[#roles].counts.taker = 2
roles[#roles].run.taker = function(c, slot)
    while stop.value < 2 do
        inside[slot] = 1
        if c.permits:acquire() then
            logged[slot] = logged[slot] + 1
            inside[slot] = 0
            beat[slot] = beat[slot] + 1
        end
        nap()
    end
end

-- Waits without a limit: whoever is killed, the others are woken.
local function progress(name, counts, make, run, ending)
    roles[#roles + 1] = {name = name, counts = counts, make = make, run = run, ending = ending}
end

progress("condition", {waiter = 3, notifier = 2}, function()
    return {condition = sync.Condition {name = "tokens"}, tokens = ipc.Value("q", 0)}
end, {
    waiter = function(c, slot)
        while stop.value < 2 do
            if select(2, c.condition:acquire()) then told:add(1) end
            c.condition:wait_for(function() return c.tokens.value > 0 or stop.value == 2 end)
            c.tokens:add(-1)
            c.condition:release()
            beat[slot] = beat[slot] + 1
            operations:add(1)
        end
    end,
    notifier = function(c, slot)
        while stop.value < 2 do
            if select(2, c.condition:acquire()) then told:add(1) end
            if c.tokens.value < 10 then c.tokens:add(1) end
            c.condition[math.random(4) == 1 and "notify_all" or "notify"](c.condition)
            c.condition:release()
            beat[slot] = beat[slot] + 1
            process.sleep(0.001)
        end
    end,
}, function(c)
    if c.condition:acquire(1) then
        c.condition:notify_all()
        c.condition:release()
    end
end)

progress("event", {waiter = 3, setter = 1}, function()
    return {event = sync.Event {name = "light"}}
end, {
    waiter = function(c, slot)
        while stop.value < 2 do
            c.event:wait()
            beat[slot] = beat[slot] + 1
            operations:add(1)
            process.sleep(0.001)
        end
    end,
    setter = function(c, slot)
        while stop.value < 2 do
            c.event:set()
            nap()
            c.event:clear()
            beat[slot] = beat[slot] + 1
            process.sleep(0.002)
        end
    end,
}, function(c) c.event:set() end)

progress("barrier", {party = 3}, function()
    return {barrier = sync.Barrier {parties = 3, name = "gate"}}
end, {
    party = function(c, slot)
        while stop.value < 2 do
            local index, why = c.barrier:wait()
            if index then
                if index < 1 or index > 3 then wrong("a party number %d", index) end
                operations:add(1)
            else
                process.sleep(math.random() * 0.005)
                if stop.value < 2 and c.barrier.broken then c.barrier:reset() end
            end
            beat[slot] = beat[slot] + 1
        end
    end,
}, function(c) c.barrier:abort() end)

-- Who starts processes, and is killed among them. What its children hold comes back.
progress("fork", {parent = 2}, function()
    return {lock = sync.Lock {name = "the children's"}, pair = ipc.Array("q", 3)}
end, {
    parent = function(c, slot)
        while stop.value == 0 and process.getppid() == director do
            local children = {}
            for i = 1, math.random(3) do
                children[i] = process.Process {daemon = true, target = function()
                    local q = ipc.Queue()
                    q:put {sync.Lock(), ("x"):rep(5000)}
                    add_under(c.lock, c.pair, slot * 10 + i)
                    q:get()
                end}
                if not children[i]:start() then children[i] = nil break end
            end
            for _, child in ipairs(children) do
                if math.random(2) == 1 then
                    process.sleep(math.random() * 0.004)
                    child:kill()
                end
                child:join()
                if child.exitcode ~= 0 and child.exitcode ~= -signal.SIGKILL then
                    wrong("a child ended with %s", child.exitcode)
                end
            end
            beat[slot] = beat[slot] + 1
            operations:add(1)
            process.sleep(0.005)
        end
    end,
})

progress("pool", {owner = 2}, function() return {} end, {
    owner = function(_, slot)
        local list = {}
        for i = 1, 30 do list[i] = i end
        while stop.value == 0 and process.getppid() == director do
            local p <close> = pool.Pool {processes = 2, retries = 1000}
            for _ = 1, 4 do
                local r = p:map_async(function(x) return x * x end, list, 3)
                if math.random(2) == 1 then
                    local workers = process.active_children()
                    if #workers > 0 then workers[math.random(#workers)]:kill() end
                end
                for i, v in ipairs(r:get()) do
                    if v ~= i * i then wrong("result %d is %s", i, v) end
                end
                operations:add(1)
                beat[slot] = beat[slot] + 1
            end
            process.sleep(0.01)
        end
    end,
})

--
-- An epoch.
--

-- Which slot is whose is the same in each epoch.
local plan = {}
for _, role in ipairs(roles) do
    role.slots = {}
    for _, how in ipairs {"producer", "consumer", "worker", "taker", "waiter", "notifier", "setter",
        "party", "parent", "owner"} do
        for _ = 1, role.counts[how] or 0 do
            plan[#plan + 1] = {role = role, how = how}
            role.slots[#role.slots + 1] = #plan
            if how == "consumer" then logs[#plan] = ipc.Array("q", LOG) end
        end
    end
end
assert(#plan < SLOTS)


local function set_out(slot)
    local s = slots[slot]
    s.last, s.since = beat[slot], process.monotonic()
    total.spawned = total.spawned + 1
    local p = process.Process {name = ("%s.%s-%d"):format(s.role.name, s.how, slot),
        daemon = s.role.name ~= "fork" and s.role.name ~= "pool",
        target = function()
            math.randomseed(SEED, slot * 1000003 + total.spawned)
            s.role.run[s.how](s.shared, slot)
        end}
    local ok, why = p:start()
    if not ok then error("cannot start a process: " .. why) end
    s.process = p
end

-- The process in the slot has ended: what it was in the middle of is in doubt.
local function account(slot)
    local s = slots[slot]
    if begun[slot] ~= done[slot] then
        s.doubtful[begun[slot]] = true
        s.doubts = s.doubts + 1
        done[slot] = begun[slot]
        total.begun = total.begun + 1
    end
    if inside[slot] == 1 then
        s.open = s.open + 1
        inside[slot] = 0
    end
end

local function read(path)
    local f <close> = io.open(path)
    return f and (f:read "a" or ""):gsub("\n.*", "") or "?"
end

local function tell_waits(who)
    io.stderr:write(("# HANG: %s has made no progress for %d seconds; seed %d\n"):format(who, PATIENCE,
        SEED))
    for _, m in ipairs(members.list()) do
        io.stderr:write(("#   %s (pid %d): %s; %s, in the kernel at %s\n"):format(m.name, m.pid,
            m.waits_for and ("waits %.1f s for %s%s"):format(m.seconds, m.waits_for,
            m.held_by and ", held by " .. m.held_by or "") or "does not wait",
            read(("/proc/%d/wchan"):format(m.pid)), read(("/proc/%d/syscall"):format(m.pid))))
    end
end

-- The main process could hang, too: its own slot is watched by a child, which can only tell and end it.
local ticks = SLOTS
local function tick() beat[ticks] = beat[ticks] + 1 end

local function watch()
    local last, since = -1, 0
    while true do
        local now, b = process.monotonic(), beat[ticks]
        if b ~= last then
            last, since = b, now
        elseif now - since > 2 * PATIENCE then
            tell_waits "MainProcess"
            signal.kill(process.getppid(), signal.SIGABRT)
            return
        end
        os.execute "sleep 0.5" -- not process.sleep: that would wait for what the main process waits for
    end
end

-- True when somebody hangs.
local function look_for_hangs()
    local now = process.monotonic()
    for slot, s in ipairs(slots) do
        if s.process then
            local b = beat[slot]
            if b ~= s.last then
                s.last, s.since = b, now
            elseif now - s.since > PATIENCE then
                total.hangs = total.hangs + 1
                tell_waits(s.process.name)
                return true
            end
        end
    end
    return false
end

local function is_spared(s) return s.role.counts.spared == s.how end

-- Without a wait of luamp's: at its end that one buries who is dead, which takes locks of the core.
local function stand_still(seconds)
    local deadline = process.monotonic() + seconds
    while process.monotonic() < deadline do end
end

-- Stops some for a moment. Whoever is stopped may have one of the core's own locks, and only we let it
-- go on: so until then we use nothing that takes such a lock, and the collector, which drops objects,
-- rests. Those in `dying` are killed while the others stand still.
local function stop_some(dying)
    collectgarbage "stop"
    local stopped = {}
    for i = 1, math.random(3) do
        stopped[i] = slots[math.random(#slots)].process
        stopped[i]:send_signal(signal.SIGSTOP)
    end
    total.stops = total.stops + #stopped
    stand_still(math.random() * 0.004)
    for slot in pairs(dying) do slots[slot].process:kill() end
    stand_still(math.random() * 0.004)
    for _, p in ipairs(stopped) do p:send_signal(signal.SIGCONT) end
    collectgarbage "restart"
end

-- One act of the killer: a few are killed at once.
local function strike()
    tick()
    local dying = {}
    for _ = 1, math.random(4) do
        local slot = math.random(#slots)
        if not is_spared(slots[slot]) then dying[slot] = true end
    end
    if math.random(5) == 1 then
        stop_some(dying)
    else
        for slot in pairs(dying) do slots[slot].process:kill() end
    end
    for slot in pairs(dying) do
        local s = slots[slot]
        local p = s.process
        p:join()
        if p.exitcode ~= -signal.SIGKILL then
            wrong("%s ended by itself, with %s", p.name, p.exitcode)
        end
        p:close()
        total.kills = total.kills + 1
        account(slot)
        set_out(slot)
    end
end

-- Joins the processes for which which() is true: false when one hangs.
local function come_home(which)
    local deadline = process.monotonic() + PATIENCE
    for slot, s in ipairs(slots) do
        while s.process and which(s) do
            tick()
            for _, role in ipairs(roles) do
                if stop.value == 2 and role.ending then role.ending(role.shared) end
            end
            if s.process:join(0.02) then
                if s.process.exitcode ~= 0 then
                    wrong("%s ended with %s", s.process.name, s.process.exitcode)
                end
                account(slot)
                s.process:close()
                s.process = nil
            elseif process.monotonic() > deadline then
                total.hangs = total.hangs + 1
                tell_waits(s.process.name)
                return false
            end
        end
    end
    return true
end

-- What was put against what was got.
local function compare_messages(role, mine)
    local seen, open, doubts = {}, 0, 0
    for _, slot in ipairs(mine) do
        local s = slots[slot]
        open = open + s.open
        if s.how == "producer" then seen[slot] = {} end
    end
    for _, slot in ipairs(mine) do
        if slots[slot].how == "consumer" then
            local last = {}
            for _, code in ipairs(logs[slot]:totable(1, logged[slot])) do
                local producer, number = code // SHIFT, code % SHIFT
                local of = seen[producer]
                if of == nil or number < 1 or number > begun[producer] then
                    wrong("%s: a message that nobody put, %d:%d", role.name, producer, number)
                else
                    if of[number] then
                        total.doubled = total.doubled + 1
                        io.stderr:write(("# DOUBLED: %s %d:%d\n"):format(role.name, producer, number))
                    end
                    of[number] = true
                    if role.ordered and number < (last[producer] or 0) then
                        wrong("%s: %d:%d came after %d", role.name, producer, number, last[producer])
                    end
                    last[producer] = number
                    total.messages = total.messages + 1
                end
            end
        end
    end
    local missing = {}
    for producer, of in pairs(seen) do
        for number = 1, begun[producer] do
            if not of[number] and not slots[producer].doubtful[number] then
                missing[#missing + 1] = ("%d:%d"):format(producer, number)
            end
        end
    end
    total.taken = total.taken + math.min(#missing, open)
    if #missing > open then
        total.lost = total.lost + #missing - open
        io.stderr:write(("# LOST: %s: %d are missing, %d died inside a get: %s\n"):format(role.name,
            #missing, open, table.concat(missing, " ", 1, math.min(#missing, 20))))
    end
end

local function compare_counts(role, mine)
    local least, doubts, open = 0, 0, 0
    for _, slot in ipairs(mine) do
        local s = slots[slot]
        if s.how == "worker" then
            least = least + done[slot] - s.doubts
            doubts = doubts + s.doubts
        end
        open = open + s.open
    end
    local count = role.shared.count()
    if count < least - open then
        total.lost = total.lost + least - open - count
        io.stderr:write(("# LOST: %s: counted %d of %d\n"):format(role.name, count, least))
    elseif count > least + doubts then
        total.doubled = total.doubled + count - least - doubts
        io.stderr:write(("# DOUBLED: %s: counted %d of %d, %d in doubt\n"):format(role.name, count,
            least, doubts))
    end
    if role.shared.check then role.shared.check() end
end

-- The logs must not overflow, nor an epoch be longer than it takes to fill one.
local function is_log_full()
    for slot = 1, #slots do
        if logged[slot] > LOG // 2 then return true end
    end
    return false
end

local function epoch(seconds)
    slots = {}
    stop.value = 0
    for _, array in ipairs {begun, done, inside, logged} do array:fill(0) end
    for _, role in ipairs(roles) do role.shared = role.make() end
    for slot, p in ipairs(plan) do
        slots[slot] = {role = p.role, how = p.how, shared = p.role.shared, doubtful = {}, doubts = 0,
            open = 0}
    end
    for slot = 1, #slots do set_out(slot) end

    local deadline = process.monotonic() + seconds
    local next_look = 0
    while process.monotonic() < deadline and not is_log_full() do
        strike()
        process.sleep(math.random() * 2 * PAUSE)
        if process.monotonic() > next_look then
            if look_for_hangs() then return false end
            next_look = process.monotonic() + 1
        end
    end

    -- Producers first: consumers go on until what was put is got.
    stop.value = 1
    if not come_home(function(s)
        return s.how == "producer" or s.how == "worker" or s.how == "parent" or s.how == "owner"
    end) then return false end
    for _, role in ipairs(roles) do
        if role.run.consumer then
            local deadline = process.monotonic() + PATIENCE
            while role.shared.close() == false do
                if process.monotonic() > deadline then
                    total.hangs = total.hangs + 1
                    tell_waits(role.name .. "'s consumers")
                    return false
                end
                tick()
                process.sleep(0.01)
            end
        end
    end
    stop.value = 2
    if not come_home(function() return true end) then return false end

    for _, role in ipairs(roles) do
        if role.run.consumer then
            compare_messages(role, role.slots)
            tick()
        elseif role.is_counted then
            compare_counts(role, role.slots)
        end
        role.shared = nil
    end
    slots = {}
    total.epochs = total.epochs + 1
    return true
end

local function tell_objects()
    for _, object in ipairs(members.objects()) do
        io.stderr:write(("#   %s \"%s\": %s\n"):format(object.class, object.name,
            table.concat(object.held_by, ", ")))
    end
end

-- Bytes and objects, when nobody but the watcher is there: who lost its parent ends a moment later.
local function weigh()
    collectgarbage()
    collectgarbage()
    local deadline = process.monotonic() + PATIENCE
    while #members.list() ~= 2 and process.monotonic() < deadline do process.sleep(0.01) end
    t.is(#members.list(), 2, "nobody is left but the two")
    local bytes, objects = members.memory()
    return bytes, objects
end

t.diag(("seed %d, %g seconds"):format(SEED, SECONDS))
math.randomseed(SEED)

local watcher = process.Process {target = watch, daemon = true, name = "watcher"}
watcher:start()
local bytes_before, objects_before = weigh()
local finish = process.monotonic() + SECONDS
local bytes, objects
local sound = true
repeat
    sound = epoch(math.min(EPOCH, math.max(1, finish - process.monotonic())))
    if sound then
        bytes, objects = weigh()
        if SECONDS > 120 and total.epochs % 10 == 0 then
            t.diag(("%d messages, %d kills so far; %d bytes"):format(total.messages, total.kills, bytes))
        end
        if bytes ~= bytes_before or objects ~= objects_before then
            io.stderr:write(("# LEAK: epoch %d ends with %d bytes and %d objects, not %d and %d\n"):format(
                total.epochs, bytes, objects, bytes_before, objects_before))
            tell_objects()
            sound = os.getenv "GO_ON" ~= nil
        end
    end
until not sound or process.monotonic() >= finish or torn.value + total.lost + total.doubled > 0

if total.hangs > 0 then -- what hangs is ended, so that nothing is left behind
    for _, s in ipairs(slots) do
        if s.process then
            s.process:kill()
            s.process:join()
        end
    end
end

watcher:terminate()
watcher:join()

t.diag(("seed %d: messages %d, other operations %d, processes %d, kills %d, stops %d, " ..
    "owner died %d; in doubt %d begun, %d taken by the dying; lost %d, doubled %d, torn %d, hangs %d; " ..
    "arena bytes %d at start, %d at end, objects %d and %d"):format(SEED, total.messages,
    operations.value, total.spawned, total.kills, total.stops, told.value, total.begun, total.taken,
    total.lost, total.doubled, torn.value, total.hangs, bytes_before, bytes or -1, objects_before,
    objects or -1))
t.ok(total.messages > 0 and total.kills > 0, "messages were sent, and processes killed")
t.is(total.lost, 0, "nothing is lost")
t.is(total.doubled, 0, "nothing is doubled")
t.is(torn.value, 0, "nothing is torn, and no promise broken")
t.is(total.hangs, 0, "nobody hangs")
t.is({bytes, objects}, {bytes_before, objects_before}, "the arena is as it was")
t.done()
