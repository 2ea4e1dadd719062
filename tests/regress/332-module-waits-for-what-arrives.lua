-- A module that was loaded because a result refers to it, and that waited for this result, waited for ever.

local t = require "tap"

local came
local function preload(name, load)
    package.preload[name] = function()
        if came then came[name] = table.pack(pcall(load)) end -- in a worker there is nothing to wait for
        return {f = function() return name end}
    end
end

local p
local function f_of(name) return function() return require(name).f end end
local function same(x) return x end
local results = {}

preload("own", function() return results.own:get() end)
preload("others", function() return p:apply(same, {1}), p:map(same, {2, 3})[2] end)
preload("inner", function() return results.inner:wait() end)
preload("outer", function()
    results.inner = p:apply_async(f_of "inner")
    return results.inner:get()(), results.outer:get()
end)
preload("list", function() return results.list:get() end)

p = pool.Pool(1)
for _, name in ipairs {"own", "others", "outer", "list"} do
    came = nil
    if name == "list" then
        results.list = p:map_async(f_of "list", {1})
    else
        results[name] = p:apply_async(f_of(name))
    end
    came = {}
    local ok, g = pcall(results[name].get, results[name])
    if name == "list" then g = g[1] end
    t.ok(ok and g() == name, name .. ": the result arrives")
    for asked, got in pairs(came) do
        local is_told = not got[1] and got[2]:find "cannot be waited for: it is being received"
        if asked == "others" then
            t.ok(t.same(got, {true, 1, 3, n = 3}), "a module that waits for other results has them")
        else
            t.ok(is_told, ("a module that waits for its own is told, which is %s of %s"):format(asked, name))
        end
    end
end
p:terminate()
t.done()
