-- What the scripts under scripts/signal/ promise. See run.lua for the form.

local transcript = require "transcript"
local expect, expect_time = transcript.expect, transcript.expect_time

-- All lines, each at its time.
local function prints_at(run, expected)
    local lines = {}
    for i, entry in ipairs(expected) do
        lines[i] = entry[2]
    end
    run:prints(lines)
    for i, entry in ipairs(expected) do
        expect_time(run.times[i], entry[1], run.lines[i])
    end
end

return {
    ["signal/kill.lua"] = {
        seconds = 1.2, times = 2,
        {"a child ended by SIGKILL has exitcode -9", function(run)
            expect(run.lines[#run.lines] == "exitcode -9", "the last line is %s",
                run.lines[#run.lines])
            for i = 1, #run.lines - 1 do -- two, but on a busy machine the child may begin late
                expect(run.lines[i]:find("^子进程 %d+$") and run.lines[i] == run.lines[1],
                    "line %d: %s", i, run.lines[i])
            end
            expect(#run.lines <= 3, "%d lines", #run.lines)
        end},
    },

    ["signal/alarm.lua"] = {
        seconds = 3,
        {"等待时钟信号 until SIGALRM ends the process with exitcode -14", function(run)
            local waiting = "等待时钟信号"
            prints_at(run, {{0.8, waiting}, {1.6, waiting}, {2.4, waiting}, {3, "exitcode -14"}})
        end},
    },

    ["signal/pause.lua"] = {
        seconds = 10,
        {"the second alarm replaces the first, and pause returns after seven seconds", function(run)
            local on = "等待时钟信号....."
            prints_at(run, {{7, "接收到时钟信号"}, {8, on}, {9, on}, {10, on}})
        end},
    },

    ["signal/ignore.lua"] = {
        seconds = 10,
        {"neither SIGALRM nor SIGINT ends it", function(run)
            local expected = {}
            for round = 1, 5 do
                expected[2 * round - 1] = {2 * round, "press ctrl-c !"}
                expected[2 * round] = {2 * round, "等待时钟...."}
            end
            prints_at(run, expected)
        end},
    },

    ["signal/handler.lua"] = {
        seconds = 10,
        {"the handler is called for both signals, and the loop goes on", function(run)
            local waiting = "Waiting for a signal"
            prints_at(run, {{0, waiting}, {2, waiting}, {2, "就不结束"}, {4, waiting},
                {5, "接收到时钟信号"}, {6, waiting}, {8, waiting}})
            run:ends_at(10)
        end},
    },
}
