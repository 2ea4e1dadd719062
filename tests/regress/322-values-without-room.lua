-- A worker that found no room in shared memory for what the items of a list came to ended, and of each of them it
-- was said that the worker was lost; of a single call it was said what was the matter.

local t = require "tap"
local cli = require "host.cli"

cli.file("script.lua", [[
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    local p <close> = pool.Pool(1)
    local function xs(n) return ("x"):rep(n) end
    local function listed(n) return {xs(n)} end
    local ok, e = pcall(p.apply, p, xs, {256 << 20})
    if ok then return print "no limit" end
    print((e:gsub(":.*", "")))
    for _, f in ipairs {xs, listed} do
        for _, size in ipairs {1, 4} do
            print(select(2, pcall(p.map, p, f, {1, 256 << 20, 2, 3}, size)) == e)
            local it, outcomes = p:imap(f, {1, 256 << 20, 2, 3}, size), {}
            for i = 1, 4 do
                local ok, v = pcall(it)
                outcomes[i] = ok and "a value" or v == e and "no room" or tostring(v)
            end
            print(table.concat(outcomes, ", "))
        end
    end
]])
local result = cli.run("script.lua", nil, "ulimit -f 65536;")
if result.out == "no limit\n" then
    t.skip("the limit", "this system does not limit shared memory by ulimit -f")
else
    local by_one = "true\na value, no room, a value, a value\n"
    local together = "true\nno room, no room, no room, no room\n"
    t.is(result.out, "cannot send to a pool\n" .. (by_one .. together):rep(2), "what does not go says so")
    t.is(result.err, "", "and no worker ends")
end
t.done()
