-- Objects of other statements and fields of a line had the name of its first variable, and those of a
-- line that began with `if` or `for` were called so.

local t = require "tap"

-- The name of each, or "" where it is the file and the line.
local function names(...)
    local result = {}
    for i, object in ipairs {...} do
        local name = tostring(object):match '"(.-)"'
        result[i] = name:find "340[^:]*:%d+$" and "" or name
    end
    return result
end

local a = sync.Lock(); local b = sync.Lock()
t.is(names(a, b), {"", ""}, "two statements")
c = sync.Lock() d = sync.Lock()
t.is(names(c, d), {"", ""}, "with nothing between")
local e, f = sync.Lock(), sync.Lock() local g = sync.Lock()
t.is(names(e, f, g), {"", "", ""}, "behind a list")
local h = sync.Lock() --[[ a ]] h2 = sync.Lock()
t.is(names(h, h2), {"", ""}, "with a comment between")
local pair = {one = sync.Lock(), two = sync.Lock()}
t.is(names(pair.one, pair.two), {"", ""}, "fields of a table")
local made = setmetatable({lock = sync.Lock()}, {})
t.is(names(made.lock), {""}, "an argument")
local condition = sync.Condition(sync.Lock())
t.is(names(condition), {"condition"}, "but what the argument is for has the name")
local ok, result = pcall(sync.Lock)
t.is(names(result), {""}, "what another function calls")
local call = function() return sync.Lock() end
t.is(names(call()), {""}, "in a function")
if ok then lock = sync.Lock() end
t.is(names(lock), {""}, "behind if")
local list = {}
for i = 1, 2 do list[i] = sync.Lock() end
t.is(names(list[1], list[2]), {"", ""}, "in a loop of one line")
do local x = sync.Lock() t.is(names(x), {""}, "in a block of one line") end
local one, other = ipc.Pipe() -- and (another) remark
t.is(names(one, other), {"one", "other"}, "all results of one call")
local single = ipc.Pipe()
t.is(names(single), {"single"}, "or the first")

local t1 = {
    ledger = sync.Semaphore(1 + 2),
    index = ipc.Queue {maxsize = 5},
    first = sync.Lock(), second = sync.Lock(),
    deep = {sync.Lock()},
    last = list[1] and sync.Event()}
t.is(names(t1.ledger, t1.index, t1.last), {"ledger", "index", "last"}, "a field with a line of its own")
t.is(names(t1.first, t1.second, t1.deep[1]), {"", "", ""}, "two fields on one")

local semaphore = sync.Semaphore(tonumber "3")
t.is(names(semaphore), {"semaphore"}, "other calls among the arguments")
local kept <const>, closed <close> = sync.Lock(), sync.Lock():acquire()
t.is(names(kept, closed), {"kept", "closed"}, "attributes, and a method of what was made")
local checked = assert(sync.Lock {name = tostring(nil) and nil})
t.is(names(checked), {"checked"}, "what assert gives is what it gets")
local default = default or sync.Lock()
t.is(names(default), {"default"}, "or")
t1.queue = ipc.Queue();
t.is(names(t1.queue), {"queue"}, "a semicolon at the end")
local text = ipc.Value("c", "(") -- not a bracket
t.is(names(text), {"text"}, "a bracket in a string")
t.done()
