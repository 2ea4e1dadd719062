-- A handler that raised while a pool tried whether its function can be sent had its error taken
-- for the answer, and told with the line of the call in front.
local t = require "tap"

local p = pool.Pool(1)
local raising, odd, raised = false, nil, 0
signal.signal(signal.SIGALRM, function()
    if raising then
        raising = false -- once: a second signal may come while the first error is on its way
        error("by signal", 0)
    end
end)
local big = {}
for i = 1, 300 do big[i] = {i} end
for _ = 1, 3000 do
    local ok, e = pcall(function()
        raising = true
        signal.setitimer(math.random() * 0.0001 + 0.000001)
        p:map(function() return big end, {})
        raising = false
    end)
    raising = false
    if not ok then raised = raised + 1 end
    if not ok and e ~= "by signal" then odd = e end
end
signal.setitimer(0)
t.ok(raised > 0, "some handlers raised")
t.is(odd, nil, "and what they raised arrived as it was")
t.done()
