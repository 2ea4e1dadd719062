-- All objects that a line made for a list of variables had the name of the first.

local t = require "tap"

local function names(...)
    local result = {}
    for i, object in ipairs {...} do result[i] = tostring(object):match '"(.-)"' end
    return result
end

local a, b = sync.Lock(), sync.Event()
t.is(names(a, b), {"a", "b"}, "each has the name of its variable")

local _, c <const>, d = 5, ipc.Queue(), ipc.Value "i"
t.is(names(d, c), {"d", "c"}, "whatever stands before it")

x, y = sync.Lock(), sync.Lock()
t.is(names(x, y), {"x", "y"}, "of globals, too")

for _ = 1, 2 do
    local one, two = sync.Lock(), sync.Lock()
    t.is(names(one, two), {"one", "two"}, "in a loop, too")
end

local parent, child = ipc.Pipe()
t.is(names(parent, child), {"parent", "child"}, "the ends of a pipe have each its own")

local left, right = ipc.Pipe {duplex = false, name = "given"}
t.is(names(left, right), {"given", "given"}, "unless it has a name")

local pair = {sync.Lock(), sync.Lock()}
t.ok(names(pair[1])[1]:find "305[^:]*:%d+$", "what is inside of an expression has file and line: the first,")
t.is(names(pair[1]), names(pair[2]), "and the others")

local condition, n = sync.Condition(sync.Lock()), 1
t.is(names(condition), {"condition"}, "a call in a call does not count")

local lists, more = {sync.Lock(), sync.Lock()}, {sync.Lock()}
t.ok(names(lists[1])[1]:find "305[^:]*:%d+$", "nor one in a table")
t.is(names(lists[1]), names(more[1]), "whose ever it is")

t.done()
