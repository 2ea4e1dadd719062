-- moments: a finalizer at each moment of what a test does.

local t = require "tap"

local moments = {}

local is_late
signal.signal(signal.SIGALRM, function()
    is_late = true
    signal.alarm(1) -- whatever else waits for ever
    error("it takes too long", 0)
end)

-- Runs f() again and again, each time with action() in a finalizer at a later moment of the call that f makes by
-- the function that it is given, until there is none left. Is what f() gives always true?
function moments.each(name, f, action)
    local moment, why = 0, nil
    repeat
        moment = moment + 1
        local left, is_done = moment, false
        local function arm()
            setmetatable({}, {__gc = function()
                left = left - 1
                if left == 0 then
                    is_done = true
                    action()
                elseif left > 0 then
                    arm()
                end
            end})
        end
        local function watched(g, ...)
            collectgarbage("incremental", 10, 1000, 1)
            collectgarbage()
            arm()
            local got = table.pack(pcall(g, ...))
            left = 0
            collectgarbage("incremental", 200, 100, 13)
            return table.unpack(got, 1, got.n)
        end
        is_late = false
        signal.alarm(30)
        local ok, right, text = pcall(f, watched)
        signal.alarm(0)
        if not ok or not right or is_late then
            why = ("at moment %d: %s"):format(moment, is_late and "late" or ok and text or right)
        end
    until not is_done or why
    if why then t.diag(why) end
    t.ok(not why and moment > 1, ("%s: at %d moments"):format(name, moment - 1))
end

return moments
