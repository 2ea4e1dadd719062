-- The objects of a function and of a chunk are put together when the chunk has been encoded, and a finalizer that
-- ran then, and sent something, wrote over the chunk.

local t = require "tap"

local q, event = ipc.Queue(), sync.Event()
local sent, is_over = 0, false

local function litter()
    setmetatable({}, {__gc = function()
        if is_over then return end
        q:put {"litter", ("x"):rep(300), {1, 2, 3}}
        q:get()
        sent = sent + 1
        litter()
    end})
end

for _ = 1, 3 do litter() end
collectgarbage("incremental", 50, 400)

local p <close> = pool.Pool(2)
local list, numbers = {}, {}
for i = 1, 300 do list[i], numbers[i] = {i, ("v"):rep(i % 50)}, i end
for _ = 1, 3 do
    local ok, got = pcall(p.map, p, function(x) return event and x[1] end, list, 1)
    t.is(got, numbers, "all items arrive as they are")
    if not ok then break end
end
is_over = true
t.ok(sent > 100, sent .. " messages sent by finalizers")

t.done()
