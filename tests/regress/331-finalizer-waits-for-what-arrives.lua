-- A finalizer that waited for a result, and ran while that one was received, waited for ever, and no handler of a
-- signal ran: what it waited for had been taken, and was to come to its place when the finalizer was over.

local t = require "tap"
local moments = require "moments"

local p <close> = pool.Pool(1)
local function nested(x) return {x, {x + 1}} end
local r, is_in_vain

local function wait()
    is_in_vain = not r:wait(10)
end

local function try(name, give, values)
    moments.each(name, function(watched)
        is_in_vain = false
        r = give()
        local ok, v = watched(r.get, r)
        return ok and not is_in_vain and t.same(v, values), is_in_vain and "in vain" or tostring(v)
    end, wait)
end

try("the result of a call", function() return p:apply_async(nested, {1}) end, {1, {2}})
local values = {{1, {2}}, {2, {3}}, {3, {4}}}
try("the results of a list", function() return p:map_async(nested, {1, 2, 3}, 2) end, values)
try("the results of an iterator", function()
    local n = 0
    return p:map_async(nested, function()
        n = n + 1
        return n <= 3 and n or nil
    end)
end, values)

t.done()
