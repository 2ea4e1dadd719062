-- An update whose function changed the entry itself was tried again without end.

local t = require "tap"

signal.signal(signal.SIGALRM, function() error("it does not end", 0) end)
signal.alarm(60)

local d = ipc.Dict {n = 1, other = 1}
local key = ("k"):rep(100)

local function fails(name, k, f)
    local shown = type(k) == "string" and '"' .. k .. '"' or tostring(k)
    t.raises(function() d:update(k, f) end, "341[^:]*:%d+: update of " .. shown:gsub("%p", "%%%0") ..
        ' in Dict "d": its function changes this entry itself; return the new value instead', name)
end

fails("a field", "n", function(n) d.n = n + 1 return d.n end)
fails("set", "n", function(n) d:set("n", n + 1) return n + 1 end)
fails("update", "n", function(n) return d:update("n", function() return n + 1 end) end)
fails("a long key", key, function() d[key] = (d[key] or 0) + 1 return 0 end)
fails("a number", 5, function() d[5.0] = (d[5] or 0) + 1 return 0 end)
fails("from another update", "n", function(n)
    return d:update("other", function(o) d.n = n + o return o end)
end)

-- What was noted is forgotten, and other entries, dicts and processes are no matter.
d.n = 10
t.is(d:update("n", function(n) return n + 1 end), 11, "the next update goes well")
local calls, elsewhere = 0, ipc.Dict {n = 1}
local result = d:update("n", function(n)
    calls = calls + 1
    if calls == 1 then
        process.spawn(function() d.n = 20 end):join() -- overtakes it once
    end
    d.other = calls
    elsewhere.n = calls
    return n + 1
end)
t.is({calls, result, d.n, d.other, elsewhere.n}, {2, 21, 21, 2, 2}, "one that is overtaken may set others")
calls = 0
t.is(d:update("n", function(n)
    calls = calls + 1
    local p = process.spawn(function() if calls < 3 then d.n = calls end end)
    p:join()
    t.is(p.exitcode, 0, "a child is another, which sets what it likes")
    return n + 100
end), 102, "and overtakes it twice")
t.raises(function()
    d:update("n", function(n)
        process.spawn(function() d.n = n + 1 end):join()
        if n > 105 then error "enough" end
        return n
    end)
end, "enough", "an error when it is tried again")
d.n = 7
t.is(d.n, 7, "leaves nothing behind")
t.done()
