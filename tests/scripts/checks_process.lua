-- What the scripts under scripts/process/ promise. See run.lua for the form.

local transcript = require "transcript"
local expect, expect_time = transcript.expect, transcript.expect_time

local DATE = "%a+ %a+ +%d+ %d+:%d+:%d+ %d+"

-- No line that matches comes more than half a second after this time.
local function none_after(run, pattern, time)
    for _, match in ipairs(run:matching(pattern)) do
        transcript.expect_by(match.time, time + 0.5,
            "line %d comes %.2f s after the end of its process", match.line, match.time - time)
    end
end

local function running_and_done(run)
    expect(#run.lines == 3, "%d lines, expected 3", #run.lines)
    local done = run:only("egon is done")
    expect(run:only("egon is running") < done, "done before running")
    expect(run:only("主程序") < done, "主程序 waited")
    run:at("主程序", 0)
    run:at("egon is done", 3)
end

return {
    ["process/mails_without_join.lua"] = {
        seconds = 1, times = 3,
        {"ten mails, and 10个邮件发送完毕 before the last of them", function(run)
            run:each_once("^第(%d+)个邮件已经发送完毕$", 0, 9)
            expect(#run.lines == 11, "%d lines, expected 11", #run.lines)
            expect(run:only("10个邮件发送完毕") < 11, "the main program waited")
        end},
    },

    ["process/mails_with_join.lua"] = {
        seconds = 1, times = 3,
        {"ten mails, and 10个邮件发送完毕 after the last of them", function(run)
            run:each_once("^第(%d+)个邮件已经发送完毕$", 0, 9)
            expect(#run.lines == 11, "%d lines, expected 11", #run.lines)
            expect(run:only("10个邮件发送完毕") == 11, "the main program did not wait")
        end},
    },

    ["process/daemon.lua"] = {
        seconds = 2,
        {"子进程 start, then 主进程, never 子进程 end", function(run)
            run:prints{"子进程 start", "主进程"}
            run:at("子进程 start", 0)
            run:at("主进程", 2)
            run:ends_at(2)
        end},
    },

    ["process/daemon_and_sibling.lua"] = {
        seconds = 10,
        {"the stars end with the main program's code", function(run)
            local _, ended = run:only("主进程")
            expect_time(ended, 3, "主进程")
            local stars = run:matching("^(%*+)$")
            transcript.expect_soon(#stars >= 4, "only %d lines of stars", #stars)
            for n, star in ipairs(stars) do
                expect(star[1] == ("*"):rep(n), "the %dth line of stars is %s", n, star[1])
            end
            none_after(run, "^%*+$", ended)
        end},
        {"func2 is waited for", function(run)
            run:at("func2 start", 0)
            run:at("func2 end", 10)
            expect(run:only("func2 end") == #run.lines, "something after func2 end")
            run:ends_at(10)
        end},
    },

    ["process/heartbeat.lua"] = {
        seconds = 3.5,
        {"我还活着 at least twice while the main program serves, never after", function(run)
            run:each_once("^提供服务 (%d+)$", 1, 7)
            local beats = run:matching("^我还活着$")
            transcript.expect_soon(#beats >= 2, "%d times 我还活着", #beats)
            expect(#beats + 7 == #run.lines, "other lines")
            for n, beat in ipairs(beats) do
                expect_time(beat.time, n, "我还活着")
            end
            local _, last = run:only("提供服务 7")
            none_after(run, "^我还活着$", last)
            run:ends_at(3.5)
        end},
    },

    ["process/start_with_target.lua"] = {
        seconds = 3,
        {"egon is running, and 主程序 before egon is done", running_and_done},
    },

    ["process/start_with_subclass.lua"] = {
        seconds = 3,
        {"egon is running, and 主程序 before egon is done", running_and_done},
    },

    ["process/join_two.lua"] = {
        seconds = 2,
        {"主程序 comes last, after the longer task and not the sum", function(run)
            expect(#run.lines == 5, "%d lines, expected 5", #run.lines)
            run:at("p1 is running", 0)
            run:at("p2 is running", 0)
            run:at("p1 is done", 1)
            run:at("p2 is done", 2)
            expect(run:only("主程序") == 5, "主程序 is not last")
            run:ends_at(2)
        end},
    },

    ["process/memory_isolation.lua"] = {
        {"子进程n=0, 主进程n=100", function(run)
            run:prints{"子进程n=0", "主进程n=100"}
        end},
    },

    ["process/attributes.lua"] = {
        seconds = 1, times = 3,
        {"pids, name, and is_alive before and after terminate and after join", function(run)
            run:prints{"^主进程 pid %d+$", "^子进程 pid %d+ ppid %d+ name egon$", "true",
                "^%l+$", "false"}
            local main = run:matching("^主进程 pid (%d+)$")[1]
            local child = run:matching("^子进程 pid (%d+) ppid (%d+)")[1]
            expect(child[2] == main[1], "the child's parent is %s, not %s", child[2], main[1])
            expect(child[1] ~= main[1], "the child has its parent's pid")
            expect(run.lines[4] == "true" or run.lines[4] == "false", "is_alive: a boolean")
            run:ends_at(1)
        end},
    },

    ["process/zombie_and_orphan.lua"] = {
        seconds = 2.5, times = 2,
        {"a child is a zombie until it is joined", function(run)
            local zombie = run:only("^僵尸进程 %d+ Z$")
            expect(run:only("已回收") == zombie + 1, "not right after it")
            expect(#run.lines == 3, "%d lines, expected 3", #run.lines)
        end},
        {"an orphan has another parent than before", function(run)
            local orphan = run:matching("^孤儿进程 (%d+) ppid (%d+) %-> (%d+)$")[1]
            expect(orphan, "no orphan")
            expect(orphan[2] ~= orphan[3], "the parent is still %s", orphan[2])
            expect(orphan[1] ~= orphan[2], "a parent of its own")
        end},
    },

    ["process/daemon_dies_with_main.lua"] = {
        seconds = 1,
        {"egon is 活着, 主正在死, never 死了", function(run)
            run:prints{"egon is 活着", "主正在死"}
            run:at("主正在死", 1)
            run:ends_at(1)
        end},
    },

    ["process/send_mile.lua"] = {
        times = 3,
        {"ten 1发送完毕, then start异步", function(run)
            local expected = {}
            for i = 1, 10 do
                expected[i] = "1发送完毕"
            end
            expected[11] = "start异步"
            run:prints(expected)
        end},
    },

    ["process/daemon_loop.lua"] = {
        seconds = 5,
        {"start once a second, main:, and no start after it", function(run)
            local _, ended = run:only("main:")
            expect_time(ended, 5, "main:")
            local starts = run:matching("^start$")
            expect(#starts == 5 or #starts == 6, "%d times start", #starts)
            expect(#starts + 1 == #run.lines, "other lines")
            for n, start in ipairs(starts) do
                expect_time(start.time, n - 1, "start")
            end
            none_after(run, "^start$", ended)
            run:ends_at(5)
        end},
    },

    ["process/terminate_is_asynchronous.lua"] = {
        seconds = 1, times = 5,
        {"is_alive is true, then either, then false", function(run)
            local answers = {}
            for _, line in ipairs(run.lines) do
                if line ~= "is alive" then
                    answers[#answers + 1] = line
                end
            end
            expect(#answers == 3, "%d answers", #answers)
            expect(answers[1] == "true", "at first: %s", answers[1])
            expect(answers[2] == "true" or answers[2] == "false", "then: %s", answers[2])
            expect(answers[3] == "false", "at last: %s", answers[3])
            local alive = run:count("is alive")
            expect(alive == 2 or alive == 3, "%d times is alive", alive)
            run:ends_at(1.1)
        end},
    },

    ["process/subclass_with_arguments.lua"] = {
        seconds = 1, times = 3,
        {"1 2, in son1, the main program's 1, then nothing more", function(run)
            run:prints{"1 2", "in son1", "1"}
            run:ends_at(0.7)
        end},
    },

    ["process/summary.lua"] = {
        seconds = 1,
        {"every operation of the summary, once", function(run)
            run:prints{"^start%(%) ", "^is_alive%(%) .*: true$", "^terminate%(%) ",
                "^join%(%) .* exitcode %-15$", "^daemon = true ", "^run%(%) .* x y$"}
            run:ends_at(1)
        end},
    },

    ["process/create.lua"] = {
        {"run(id, name) runs in a child and prints both", function(run)
            run:prints{"^主进程 %d+$", "^子进程 %d+: id 1, name 小明$"}
            local main = run:matching("^主进程 (%d+)$")[1]
            local child = run:matching("^子进程 (%d+):")[1]
            expect(main[1] ~= child[1], "the same process")
        end},
    },

    ["process/methods.lua"] = {
        seconds = 3,
        {"every attribute and method; a terminated child has exitcode -15", function(run)
            local child = run:matching("^子进程启动 父进程是: (%d+)$")
            expect(#child <= 1, "%d times 子进程启动", #child)
            transcript.expect_soon(child[1], "子进程启动 is missing")
            expect(child[1].line < run:only("^join%(1%) "), "子进程启动 is late")
            run:prints({"^父进程启动 %d+$", "daemon true", "name 进程名", "^start%(%) ", "^pid %d+$",
                "is_alive() true", "join(1) false", "^terminate%(%) ", "^join%(%) ",
                "exitcode -15", "^run%(%) ", "父进程结束"}, child[1].line)
            local main = run:matching("^父进程启动 (%d+)$")[1]
            expect(child[1][1] == main[1], "the child's parent is %s, not %s", child[1][1], main[1])
            run:ends_at(3)
        end},
    },

    ["process/global_is_copied.lua"] = {
        seconds = 3,
        {"a = 1 in the child, parent a = 1", function(run)
            run:prints{"这是父进程", "a = 1", "子进程事件", "**********", "parent a = 1", "**********"}
            run:at("这是父进程", 2)
            run:at("a = 1", 3)
        end},
    },

    ["process/three_things.lua"] = {
        seconds = 4,
        {"睡觉, 吃饭, 打豆豆, each with the parent's pid", function(run)
            local PIDS = "^(%d+) %-%-%-%- (%d+)$"
            run:prints{"睡觉", PIDS, "吃饭", PIDS, "打豆豆", PIDS}
            local pids = run:matching(PIDS)
            for i = 1, 3 do
                local other = pids[i % 3 + 1]
                expect(pids[i][1] == other[1], "parents %s and %s", pids[i][1], other[1])
                expect(pids[i][2] ~= other[2], "the same child twice")
                expect(pids[i][2] ~= pids[i][1], "a child that is its parent")
            end
            run:at("睡觉", 2)
            run:at("吃饭", 3)
            run:at("打豆豆", 4)
        end},
    },

    ["process/copy_file_halves.lua"] = {
        times = 3,
        {"the halves joined are the file", function(run)
            run:prints{"true"}
        end},
    },

    ["process/worker_attributes.lua"] = {
        seconds = 6,
        {"name, pid, alive; join(3) returns while it still runs", function(run)
            run:prints{"Process name: Worker", "^Process PID: %d+$", "Process is alive: true",
                "I'm Daivl", "I'm working...", "==================",
                "I'm Daivl", "I'm working...", "I'm Daivl", "I'm working..."}
            for i, seconds in pairs{[3] = 0, [5] = 2, [6] = 3, [8] = 4, [10] = 6} do
                expect_time(run.times[i], seconds, run.lines[i])
            end
        end},
    },

    ["process/daemon_clock.lua"] = {
        seconds = 5,
        {"the clock goes until main process exit", function(run)
            run:prints{"^" .. DATE .. "$", "^" .. DATE .. "$", "main process exit"}
            expect_time(run.times[1], 2, "the clock")
            expect_time(run.times[2], 4, "the clock")
            run:at("main process exit", 5)
            run:ends_at(5)
        end},
    },

    ["process/clock_process.lua"] = {
        seconds = 10,
        {"five times The time is, two seconds apart", function(run)
            local TIME = "^The time is " .. DATE .. "$"
            run:prints{TIME, TIME, TIME, TIME, TIME}
            for i = 1, 5 do
                expect_time(run.times[i], 2 * (i - 1), "The time is")
            end
            run:ends_at(10)
        end},
    },
}
