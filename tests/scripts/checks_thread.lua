-- What the scripts under scripts/thread/ promise. See run.lua for the form.

local transcript = require "transcript"
local expect, expect_time = transcript.expect, transcript.expect_time

-- The lines of the chat that a client printed, in order: "小明: 大家好".
local function received(run, name)
    local lines = {}
    for _, match in ipairs(run:matching("^" .. name .. " 收到 (.*)$")) do
        lines[#lines + 1] = match[1]
    end
    return lines
end

return {
    ["thread/create.lua"] = {
        {"a named thread prints its name, and the main program's pid", function(run)
            run:prints{"^主线程 pid %d+$", "^线程名 1 pid %d+$"}
            expect(run.lines[1]:match("%d+$") == run.lines[2]:match("%d+$"), "two pids")
        end},
    },

    ["thread/lock.lua"] = {
        seconds = 1, times = 3,
        {"num= 100 after both threads", function(run)
            run:prints{"num= 100"}
        end},
    },

    ["thread/thread_local.lua"] = {
        times = 3,
        {"each thread sees the value that it stored itself", function(run)
            expect(#run.lines == 4, "%d lines, expected 4", #run.lines)
            for i = 1, 4 do
                run:only(("Thread-%d--%d"):format(i, i * 100))
            end
        end},
    },

    ["thread/semaphore.lua"] = {
        seconds = 4,
        {"six threads, three at a time", function(run)
            expect(#run.lines == 6, "%d lines, expected 6", #run.lines)
            run:each_once("^Thread%-%d%-%-(%d)$", 0, 5)
            for i = 1, 6 do
                expect_time(run.times[i], i <= 3 and 0 or 2, "line " .. i)
            end
            run:ends_at(4)
        end},
    },

    ["thread/barrier.lua"] = {
        seconds = 5,
        {"they go on in threes, the last three when a sixth has come", function(run)
            expect(#run.lines == 14, "%d lines, expected 14", #run.lines)
            expect(run.lines[1] == "主线程开始", "line 1: %s", run.lines[1])
            local begun = run:each_once("^子线程Thread%-(%d)开始执行$", 1, 6)
            local ended = run:each_once("^子线程Thread%-(%d)结束执行$", 1, 6)
            run:at("主线程结束", 0)
            local at_two, at_five = 0, 0
            for i = 1, 6 do
                expect_time(begun[i].time, i == 6 and 3 or 0, "the beginning of " .. i)
                local early = ended[i].time < 3.5
                expect_time(ended[i].time, early and 2 or 5, "the end of " .. i)
                at_two, at_five = at_two + (early and 1 or 0), at_five + (early and 0 or 1)
            end
            expect(at_two == 3 and at_five == 3, "%d ended after two seconds, %d after five",
                at_two, at_five)
        end},
    },

    ["thread/timer.lua"] = {
        seconds = 5,
        {"the function runs once, after the delay; a cancelled one never", function(run)
            run:prints{"timer"}
            expect_time(run.times[1], 5, "the timer")
        end},
    },

    ["thread/event.lua"] = {
        seconds = 4,
        {"start, sending event, end", function(run)
            run:prints{"start...", "sending event...", "end..."}
            run:at("start...", 0)
            run:at("sending event...", 2)
            run:at("end...", 4)
        end},
    },

    ["thread/condition.lua"] = {
        times = 10,
        {"0 to 9 in order", function(run)
            run:prints{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
        end},
    },

    ["thread/chat_room.lua"] = {
        seconds = 4, times = 2,
        {"every line reaches every other client once, and nobody else", function(run)
            local ming, hong, gang = "小明", "小红", "小刚"
            local expected = {
                [ming] = {"系统: 小红 进来了", "系统: 小刚 进来了", "小红: 你好，小明",
                    "系统: 小刚 离开了", "小红: 小刚去哪儿了？"},
                [hong] = {"系统: 小刚 进来了", "小明: 大家好", "小刚 (私聊): 下课以后去吃饭吗？",
                    "系统: 小刚 离开了", "系统: 小明 离开了"},
                [gang] = {"小明: 大家好", "小红: 你好，小明"},
            }
            local n = 0
            for name, lines in pairs(expected) do
                local got = received(run, name)
                n = n + #got
                for i = 1, math.max(#got, #lines) do
                    expect(got[i] == lines[i], "%s, line %d: %s, expected %s", name, i, got[i],
                        lines[i])
                end
            end
            expect(#run.lines == n, "%d lines are no client's", #run.lines - n)
        end},
    },

    ["thread/no_gil.lua"] = {
        seconds = 3,
        {"both times, and what is won", function(run)
            run:prints{"^单线程 %d+%.%d%d 秒$", "^双线程 %d+%.%d%d 秒$", "^加速比 %d+%.%d$"}
        end},
    },
}
