-- What the scripts under scripts/sync/ promise. See run.lua for the form.

local transcript = require "transcript"
local expect, expect_by = transcript.expect, transcript.expect_by
local expect_time = transcript.expect_time

-- Of so many people, this many bought a ticket and this many did not, each one once.
local function sold(run, people, bought, pattern_bought, missed, pattern_missed)
    local seen = {}
    for _, pattern in ipairs{pattern_bought, pattern_missed} do
        for _, match in ipairs(run:matching(pattern)) do
            expect(not seen[match[1]], "%s is there twice", match[1])
            seen[match[1]] = true
        end
    end
    for i = 0, people - 1 do
        expect(seen[tostring(i)], "%d is missing", i)
    end
    local n = #run:matching(pattern_bought)
    expect(n == bought, "%d tickets sold, expected %d", n, bought)
    n = #run:matching(pattern_missed)
    expect(n == missed, "%d people without a ticket, expected %d", n, missed)
end

return {
    ["sync/tickets_search.lua"] = {
        {"ten find two tickets left, at the same time", function(run)
            run:each_once("^person(%d)查询余票 :  2$", 0, 9)
            expect(#run.lines == 10, "%d lines, expected 10", #run.lines)
            run:ends_at(0.2)
        end},
    },

    ["sync/tickets_race.lua"] = {
        times = 5,
        {"more than two tickets are sold", function(run)
            local bought = #run:matching("^person%d买到票了$")
            transcript.expect_soon(bought > 2, "only %d", bought)
            sold(run, 10, bought, "^person(%d)买到票了$", 10 - bought, "^person(%d)没有买到票$")
            expect(#run.lines == 10, "%d lines, expected 10", #run.lines)
        end},
    },

    ["sync/tickets_lock.lua"] = {
        seconds = 2.4, times = 3,
        {"exactly two tickets are sold", function(run)
            sold(run, 10, 2, "^person(%d)买到票了$", 8, "^person(%d)没有买到票$")
        end},
        {"at the end the file says 余票 : 0", function(run)
            expect(run:only("余票 : 0") == 11, "not the last of 11 lines")
            expect(#run.lines == 11, "%d lines, expected 11", #run.lines)
        end},
        {"one at a time", function(run)
            run:ends_at(2.4)
        end},
    },

    ["sync/ktv_semaphore.lua"] = {
        seconds = 15,
        {"ten in, ten out, never more than four inside", function(run)
            expect(#run.lines == 20, "%d lines, expected 20", #run.lines)
            local came = run:each_once("^person(%d)走进ktv$", 0, 9)
            local left = run:each_once("^person(%d)走出ktv$", 0, 9)
            local change = {}
            for i = 0, 9 do
                change[came[i].line], change[left[i].line] = 1, -1
                expect_time(left[i].time, 5, "person" .. i .. " inside", came[i].time)
            end
            local inside, most = 0, 0
            for line = 1, 20 do
                inside = inside + change[line]
                most = math.max(most, inside)
                expect(inside <= 4, "%d inside at line %d", inside, line)
            end
            expect(most == 4, "never more than %d inside", most)
        end},
        {"nobody waits while there is room", function(run)
            run:ends_at(15)
        end},
    },

    ["sync/traffic_light_event.lua"] = {
        seconds = 22,
        {"twenty cars pass, none while the light has been red for half a second", function(run)
            local passes = run:each_once("^car (%d+) 通过了$", 0, 19)
            local red, green = "\27[31m红灯亮\27[0m", "\27[32m绿灯亮\27[0m"
            expect(run.lines[1] == red, "the light is not red at first")
            local since
            for i, line in ipairs(run.lines) do
                if line == red then
                    since = run.times[i]
                elseif line == green then
                    since = nil
                elseif line:find("通过了") then
                    local red_for = since and run.times[i] - since or 0
                    expect_by(red_for, 0.5, "%s when it has been red for %.2f s", line, red_for)
                end
            end
            for i = 0, 19 do
                expect_by(passes[i].time, i + 1 + 2.7, "car %d waited too long", i)
            end
        end},
        {"the light changes every two seconds, and a car that comes at red waits", function(run)
            local lights = run:matching("^\27%[3[12]m(.-)\27%[0m$")
            expect(#lights >= 10, "%d lights", #lights)
            for i, light in ipairs(lights) do
                expect(light[1] == (i % 2 == 1 and "红灯亮" or "绿灯亮"), "light %d: %s", i, light[1])
                expect_time(light.time, 2 * (i - 1), light[1])
            end
            local waited = run:matching("^car (%d+) 在等待$")
            transcript.expect_soon(#waited >= 3, "only %d cars waited", #waited)
            expect(#lights + #waited + 20 == #run.lines, "other lines")
        end},
    },

    ["sync/tickets_mutex.lua"] = {
        seconds = 10,
        {"ten look at the same time and see three tickets", function(run)
            for _, match in pairs(run:each_once("^路人(%d) 查看到余票为 3$", 0, 9)) do
                expect_time(match.time, 1, "查看到余票为")
            end
            expect(#run.lines == 20, "%d lines, expected 20", #run.lines)
        end},
        {"three tickets are sold, one after the other", function(run)
            sold(run, 10, 3, "^路人(%d) 购票成功$", 7, "^路人(%d) 查看到没有票了$")
            local before = 1
            for _, match in ipairs(run:matching("^路人%d 购票成功$")) do
                expect(match.time - before > 0.9 - transcript.slack, "two at the same time")
                expect_by(match.time - before, 3.7, "too long a wait")
                before = match.time
            end
        end},
    },

    ["sync/tickets_with_lock.lua"] = {
        times = 5,
        {"each buys one, and the number falls by one each time", function(run)
            expect(#run.lines == 11, "%d lines, expected 11", #run.lines)
            run:each_once("^user(%d) 买到票, 余票 %d+$", 0, 9)
            for i = 1, 10 do
                local left = run.lines[i]:match("余票 (%d+)$")
                expect(left == tostring(20 - i), "line %d: %s left", i, left)
            end
            expect(run.lines[11] == "余票 : 10", "the file says %s", run.lines[11])
        end},
    },

    ["sync/semaphore_value.lua"] = {
        seconds = 6, times = 2,
        {"the fourth takes a permit only when one is given back", function(run)
            expect(#run.lines == 13, "%d lines, expected 13", #run.lines)
            local waits = run:matching("^进程(%d+)等待信号量$")
            local takes = run:matching("^进程(%d+)消耗信号量$")
            local gives = run:matching("^进程(%d+)添加信号量$")
            for what, list in pairs{["等待"] = waits, ["消耗"] = takes, ["添加"] = gives} do
                local seen = {}
                for _, match in ipairs(list) do
                    expect(not seen[match[1]], "%s %s twice", match[1], what)
                    seen[match[1]] = true
                end
                expect(#list == 4, "%d times %s", #list, what)
                for _, match in ipairs(waits) do
                    expect(seen[match[1]], "%s never %s", match[1], what)
                end
            end
            for i = 1, 3 do
                expect_time(waits[i].time, 0, "等待")
                expect_time(takes[i].time, 0, "消耗")
            end
            expect_time(waits[4].time, 0, "等待")
            expect_time(takes[4].time, 3, "the fourth 消耗 after the first", takes[1].time)
            expect_time(gives[4].time, 6, "the last 添加")
        end},
        {"the value ends at 3", function(run)
            expect(run.lines[#run.lines] == "3", "it ends at %s", run.lines[#run.lines])
        end},
    },

    ["sync/event_basics.lua"] = {
        seconds = 2,
        {"a wait returns at once when the event is set, and blocks after clear", function(run)
            run:prints{"true", "clear", "false\ttimeout"}
            run:at("clear", 0)
            run:at("false\ttimeout", 2)
        end},
    },

    ["sync/event_wait_timeout.lua"] = {
        seconds = 3,
        {"the waiter with a timeout gives up, the other reads the file", function(run)
            expect(#run.lines == 7, "%d lines, expected 7", #run.lines)
            run:at("想操作临界区", 0)
            run:at("也想操作临界区", 0)
            run:at("主进程操作", 0)
            run:at("不能读取文件", 2)
            run:at("释放临界区", 3)
            run:at("开始操作临界区资源 true", 3)
            run:at("I love China", 3)
            expect(run:only("I love China") > run:only("开始操作临界区资源 true"), "read too early")
        end},
    },

    ["sync/lock_writers.lua"] = {
        times = 5,
        {"the twenty lines of each writer stand together", function(run)
            expect(#run.lines == 40, "%d lines, expected 40", #run.lines)
            local first = run.lines[1]:match("^writer([12])想先向终端写入$")
            expect(first, "line 1: %s", run.lines[1])
            local second = first == "1" and "2" or "1"
            for i = 1, 40 do
                local expected = ("writer%s想先向终端写入"):format(i <= 20 and first or second)
                expect(run.lines[i] == expected, "line %d: %s", i, run.lines[i])
            end
        end},
    },
}
