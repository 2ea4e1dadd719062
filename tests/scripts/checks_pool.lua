-- What the scripts under scripts/pool/ promise, and the demonstration. See run.lua for the form.

local transcript = require "transcript"
local expect, expect_time = transcript.expect, transcript.expect_time

local MONTHS = {Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9,
    Oct = 10, Nov = 11, Dec = 12}

-- What os.date() printed, as os.time() would tell it.
local function seconds_of(date)
    local month, day, hour, min, sec, year =
        date:match("^%a+ (%a+) +(%d+) (%d+):(%d+):(%d+) (%d+)$")
    expect(month, "%s is no date", date)
    return os.time{year = year, month = MONTHS[month], day = day, hour = hour, min = min, sec = sec}
end

return {
    ["pool/apply_async.lua"] = {
        seconds = 2,
        {"run 0 to run 4 on four workers, then done", function(run)
            expect(#run.lines == 6, "%d lines, expected 6", #run.lines)
            run:each_once("^run (%d)$", 0, 4)
            expect(run.lines[6] == "done", "done is not last")
            for i = 1, 4 do
                expect_time(run.times[i], 0, run.lines[i])
            end
            expect_time(run.times[5], 1, "the fifth task")
            expect_time(run.times[6], 2, "done")
        end},
    },

    ["pool/apply_async_results.lua"] = {
        seconds = 7.5,
        {"ten times hello, four at a time", function(run)
            expect(#run.lines == 20, "%d lines, expected 20", #run.lines)
            local hellos = run:each_once("^hello (%d)$", 0, 9)
            for i = 0, 9 do
                expect(hellos[i].line <= 10, "hello %d comes after a result", i)
            end
            for i = 2, 10 do
                expect_time(run.times[i], (i - 1) // 4 * 2, run.lines[i], run.times[1])
            end
        end},
        {"ten times in order of submission, none earlier than the one before", function(run)
            local first = seconds_of(run.lines[11])
            for i = 11, 20 do
                local later = seconds_of(run.lines[i]) - first
                expect(i == 11 or seconds_of(run.lines[i]) >= seconds_of(run.lines[i - 1]),
                    "%s comes after %s", run.lines[i], run.lines[i - 1])
                expect(math.abs(later - (i - 11) // 4 * 2) <= 1,
                    "result %d: %d s later than the first", i - 10, later)
            end
        end},
    },

    ["pool/map.lua"] = {
        seconds = 3,
        {"[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]", function(run)
            expect(#run.lines == 11, "%d lines, expected 11", #run.lines)
            expect(run:count("执行 pool map事件") == 10, "not ten tasks")
            expect(run.lines[11] == "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]", "%s", run.lines[11])
            run:ends_at(3)
        end},
    },

    ["demo.lua"] = {
        seconds = 5,
        {"every row is drawn once, in order, by several workers", function(run)
            expect(#run.lines == 26, "%d lines, expected 26", #run.lines)
            local workers, shades = {}, {}
            for i = 1, 24 do
                local y, worker, row = run.lines[i]:match("^([ %d]%d) (%u) (.*)$")
                expect(tonumber(y) == i, "line %d: %s", i, run.lines[i])
                expect(#row == 72, "row %d is %d wide", i, #row)
                workers[worker] = true
                for shade in row:gmatch(".") do
                    shades[shade] = true
                end
            end
            expect(workers.A and workers.B and workers.C and workers.D, "fewer than four workers")
            expect(shades[" "] and shades["#"] and shades["."], "no picture")
        end},
        {"the row of a killed worker is drawn again", function(run)
            expect(run.lines[25]:find("^24 rows by 5 workers in %d+%.%d s$"), "%s", run.lines[25])
            local rows = run.lines[26]:match("^worker %d+ was killed, row ([%d, ]+) drawn again$")
            expect(rows and tonumber(rows), "%s", run.lines[26])
        end},
    },
}
