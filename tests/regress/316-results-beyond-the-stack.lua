-- A call's results that came, and were too many for the stack of those who pass them on, were lost; and their
-- task had no result ever.

local t = require "tap"

local p <close> = pool.Pool(1)
local worker = p:apply(process.getpid)

for _, n in ipairs {200000, 240000, 300000, 500000} do
    local r = p:apply_async(function() return table.unpack({}, 1, n) end)
    local got = table.pack(pcall(r.get, r, 60))
    t.ok(got[1] and got.n == n + 1 or not got[1], n .. ": they come, or an error does")
    got = table.pack(pcall(r.get, r, 60))
    t.ok(got[1] and got.n == n + 1 or not got[1], "and again")
end
for _, n in ipairs {300000, 400000, 900000} do
    local ok, e = pcall(p.apply, p, function() return table.unpack({}, 1, n) end)
    t.ok(not ok and e:find("too many results: " .. n, 1, true), n .. " are an error that says so", e)
end
t.is(p:apply(math.abs, {-1}), 1, "the pool goes on")
t.is(p:apply(process.getpid), worker, "with its worker")

t.done()
