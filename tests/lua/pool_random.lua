-- What a pool's calls come to is what a loop comes to: random functions over random lists, in chunks
-- of random sizes, also while workers are killed.
--
--     SEED=1 SECONDS=600 luamp tests/lua/pool_random.lua

local t = require "tap"

local SEED = math.tointeger(tonumber(os.getenv "SEED" or "") or os.time())
local SECONDS = tonumber(os.getenv "SECONDS" or "") or 2
t.diag("seed " .. SEED)
math.randomseed(SEED)

local random = math.random
local event = sync.Event()

local function one_of(list) return list[random(#list)] end

-- Items ------------------------------------------------------------------------------------------

local limits = {0, -0.0, 0/0, 1/0, -1/0, 1 << 53, -1.5, 2.0^53, math.maxinteger, math.mininteger, 127, 128,
    255, 256, -1, -128, -129, 65535, 65536, 1e308, 5e-324}

local function scalar()
    local kind = random(6)
    if kind == 1 then return one_of(limits) end
    if kind == 2 then return random(-300, 300) end
    if kind == 3 then return random(0) end
    if kind == 4 then return random() * 100 end
    if kind == 5 then return random(2) == 1 end
    return ("s"):rep(random(50) == 1 and random(100000) or random(0, 40)) .. random(9)
end

local function thing()
    local kind = random(5)
    if kind == 1 then return {tag = random(0, 20), scalar(), {scalar()}} end
    if kind == 2 then return event end
    if kind == 3 then return one_of {math.abs, string.upper, print} end
    if kind == 4 then
        local shared = {scalar()}
        return {tag = random(0, 20), shared, shared}
    end
    return {}
end

-- All plain, or one in so many is something else, or nil.
local function random_list(n)
    local things, nils = one_of {0, 0, 0.01, 0.3, 1}, one_of {0, 0, 0.1}
    local list = table.pack()
    for i = 1, n do
        if random() < things then
            list[i] = thing()
        elseif random() >= nils or i == n then
            list[i] = scalar()
        end
    end
    list = table.pack(table.unpack(list, 1, n))
    list.n = nil
    if random(8) == 1 then
        local items = list
        list = setmetatable({}, {__len = function() return n end, __index = items})
    end
    return list
end

-- Functions --------------------------------------------------------------------------------------

-- What a function does with an item, by what the item is.
local deeds = {
    "return x", "return x", "return x", "return x", "return x", "return", "return nil", "return x, x",
    "return nil, x, nil", "return {x, {x}}", "return type(x)", "return x == event", "return error(x, 0)",
    "error({x})", "error()", "error('here')", "return x.y.z", "return x + 1", "return ('x'):rep(h * h * 20)",
    "return coroutine.create(print)", "return {1, {io.stdout}}", "error(coroutine.create(print))",
    "return table.unpack({x, x, x}, 1, 300)", "return select(-1, pcall(error, x))",
    "return coroutine.wrap(function() coroutine.yield(x) end)()", "return setmetatable({}, {})", "return #x",
    "error(setmetatable({}, {__tostring = function() error 'no text' end}))", "return math.maxinteger - h",
}

local hash = [[
    local h
    if math.type(x) == "integer" then h = x % 21
    elseif type(x) == "number" then h = x ~= x and 3 or math.abs(x) < 1e15 and x // 1 % 21 or 4
    elseif type(x) == "string" then h = #x % 21
    elseif type(x) == "table" then h = x.tag or 5
    else h = #type(x) end
    h = math.tointeger(h)
]]

-- With no upvalue but the globals; or with some; `before` is what it does before all else.
local function random_function(before)
    local text = {"local event, counter = ...\nreturn function(x)\n", before, hash}
    local calm = random(3) == 1 -- most of what it does is to return one value
    for h = 0, 20 do
        local deed = (calm and random(10) > 1) and "return x" or one_of(deeds)
        text[#text + 1] = ("if h == %d then %s end\n"):format(h, deed)
    end
    text[#text + 1] = "end"
    text = table.concat(text)
    if random(2) == 1 and before == "" then
        text = text:gsub("x == event", "x == nil"):gsub("^local event, counter = %.%.%.\n", "")
    end
    return text
end

local function made(text, counter) return assert(load(text, "=random"))(event, counter) end

-- Outcomes ---------------------------------------------------------------------------------------

local function same(a, b)
    if type(a) ~= type(b) or math.type(a) ~= math.type(b) then return false end
    if type(a) == "number" then
        return a ~= a and b ~= b or a == b and 1 / a == 1 / b
    elseif type(a) ~= "table" or a == b then
        return a == b
    end
    for k, v in pairs(a) do if not same(v, b[k]) then return false end end
    for k in pairs(b) do if a[k] == nil then return false end end
    return true
end

local queue = ipc.Queue()

local function sendable(...)
    return pcall(queue.put, queue, table.pack(...)) and queue:get() ~= nil
end

-- The packed results; or a table without n that says what the error is.
local function outcome(f, ...)
    local got = table.pack(pcall(f, ...))
    if not got[1] then
        local e = got[2]
        if type(e) == "thread" then
            e = "(error object is a thread value; cannot send error: a coroutine belongs to its process)"
        end
        if type(e) == "table" and getmetatable(e) then return {is_any = true} end
        return {is_error = true, error = e}
    end
    if not sendable(table.unpack(got, 2, got.n)) then return {is_unsendable = true} end
    return table.pack(table.unpack(got, 2, got.n))
end

local function is_outcome(expected, ok, ...)
    if expected.is_any then return not ok end
    if expected.is_unsendable then
        return not ok and tostring((...)):find "cannot send result" ~= nil
    elseif expected.is_error then
        return not ok and same(expected.error, (...))
    end
    return ok and same(expected, table.pack(...))
end

local function is_one(expected) return not expected.n end

-- What map comes to: the first error, or the first value of each.
local function is_map(expected, n, ok, ...)
    local values = {}
    for i = 1, n do
        if is_one(expected[i]) then return is_outcome(expected[i], ok, ...) end
        values[i] = expected[i][1]
    end
    return ok and same(values, (...))
end

-- One case ---------------------------------------------------------------------------------------

local killed = 0

-- Kills workers now and then until the result is there.
local function wait_and_kill(r)
    for _ = 1, 8 do
        if r:wait(random() * 0.005) then break end
        local workers = process.active_children()
        if #workers > 0 and random(2) == 1 then
            one_of(workers):kill()
            killed = killed + 1
        end
    end
    return r:get(60)
end

local function as_iterator(list, n)
    local i = 0
    return function()
        i = i + 1
        if i <= n then return list[i] end
    end
end

local function has_nil(list, n)
    for i = 1, n do if list[i] == nil then return true end end
    return false
end

local calls = {}

function calls.map(p, f, list, n, size, expected)
    return is_map(expected, n, pcall(p.map, p, f, list, size))
end

function calls.map_async(p, f, list, n, size, expected, kills)
    local r = p:map_async(f, list, size)
    if random(4) == 1 and not kills then
        local other = p:map_async(f, list, one_of {1, 2, 5})
        if not is_map(expected, n, pcall(other.get, other, 60)) then return false end
    end
    return is_map(expected, n, pcall(kills and wait_and_kill or r.get, r, 60))
end

-- The number of an item, out of those in the set, that this error may be of; one that may have any error
-- only when there is no other.
local function item_of_error(expected, items, e)
    local any
    for i in pairs(items) do
        if is_one(expected[i]) and is_outcome(expected[i], false, e) then
            if not expected[i].is_any then return i end
            any = i
        end
    end
    return any
end

-- Takes up to `most` of the n items, and looks whether each comes to what is expected: in order, or each
-- once. What an error is of is told by its value alone. Other uses of the pool come between.
local function take(next_item, is_ordered, n, most, expected, between)
    local left = {}
    for i = 1, n do left[i] = true end
    for place = 1, math.min(n, most) do
        local got = table.pack(pcall(next_item))
        local i = place
        if not is_ordered then
            i = got[1] and got[2] or not got[1] and item_of_error(expected, left, got[2])
        end
        if not i or not left[i] or got[1] and got[2] ~= i then return false end
        left[i] = nil
        if not is_outcome(expected[i], got[1], table.unpack(got, got[1] and 3 or 2, got.n)) then return false end
        if not between(place) then return false end
    end
    return most < n or next_item() == nil and next_item() == nil
end

local function by_imap(method, p, f, list, n, size, expected, kills)
    local is_ordered = method == "imap"
    local next_item = p[method](p, f, list, size)
    local most = random(5) == 1 and random(0, n) or n -- or it is dropped half way
    local other = random(5) == 1 and p:imap(f, list, one_of {1, 3}) -- one more, half of whose items are taken
    return take(next_item, is_ordered, n, most, expected, function(place)
        if kills and random(50) == 1 and #process.active_children() > 0 then
            one_of(process.active_children()):kill()
            killed = killed + 1
        end
        if random(100) == 1 then process.sleep(0.001) end
        return not other or place % 2 == 0
            or is_outcome(expected[place // 2 + 1], (function(ok, i, ...)
                if ok then return ok, ... end
                return ok, i
            end)(pcall(other)))
    end)
end

function calls.imap(...) return by_imap("imap", ...) end

function calls.imap_unordered(...) return by_imap("imap_unordered", ...) end

function calls.iterator(p, f, list, n, size, expected)
    if has_nil(list, n) then return true end
    local method = one_of {"imap", "imap_unordered"}
    if random(2) == 1 then
        return take(p[method](p, f, as_iterator(list, n), size), method == "imap", n, n, expected,
            function() return true end)
    end
    return is_map(expected, n, pcall(p.map, p, f, as_iterator(list, n), size))
end

function calls.starmap(p, f, list, n, size, expected)
    local all, wrong = {}, random(4) == 1 and random(2 * n + 1)
    for i = 1, n do
        all[i] = i == wrong and i or {list[i], n = 1}
        if i == wrong then
            expected[i] = {is_error = true, error =
                "starmap wants each item to be a list of arguments, not a number"}
        end
    end
    return is_map(expected, n, pcall(p.starmap, p, f, all, size))
end

function calls.apply(p, f, list, n, _, expected)
    local results = {}
    for i = 1, math.min(n, 20) do results[i] = p:apply_async(f, {list[i], n = 1}) end
    for i, r in ipairs(results) do
        if not is_outcome(expected[i], pcall(r.get, r, 60)) then return false end
    end
    return true
end

local names = {}
for name in pairs(calls) do names[#names + 1] = name end
table.sort(names)

local function case(p, kills, counter)
    local n = one_of {random(0, 3), random(0, 30), random(0, 300)}
    local list = random_list(n)
    local name = kills and one_of {"map_async", "map_async", "map", "apply", "imap", "imap_unordered"} or one_of(names)
    local size = one_of {1, 2, 3, random(1, 50), n + 1, math.maxinteger}
    if name ~= "iterator" then size = one_of {size, size, false} or nil end
    local before = kills and "if counter and counter:add(1) % 499 == 0 then signal.kill(process.getpid(), 9) end\n"
        or ""
    local text = random_function(before)
    local f, plain = made(text, kills and counter or nil), made(text)
    local expected = {}
    for i = 1, n do expected[i] = outcome(plain, list[i]) end
    local ok, right = pcall(calls[name], p, f, list, n, size, expected, kills)
    if ok and right then return true end
    t.diag(("wrong: %s, %d items, chunks of %s: %s\n%s"):format(name, n, size, ok or right, text))
    return false
end

local function cases(seconds, options, kills)
    local p <close> = pool.Pool(options)
    local counter = ipc.Value("i", 0)
    local done, wrong = 0, 0
    local deadline = process.monotonic() + seconds
    repeat
        if not case(p, kills, counter) then wrong = wrong + 1 end
        done = done + 1
    until process.monotonic() > deadline or wrong > 2
    t.diag(("%d cases"):format(done))
    return wrong
end

t.is(cases(SECONDS / 2, {processes = 2}), 0, "each call comes to what a loop comes to")
t.is(cases(SECONDS / 4, {processes = 2, maxtasksperchild = random(9), timeout = 300}), 0,
    "also where workers are replaced after some tasks, and their time is limited")
t.is(cases(SECONDS / 4, {processes = 2, retries = 1000}, true), 0,
    "and where they are killed, and tasks are tried again")
t.diag(killed .. " killed from outside")
t.done()
