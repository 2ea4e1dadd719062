-- What the scripts under scripts/ipc/ promise. See run.lua for the form.

local transcript = require "transcript"
local expect, expect_by = transcript.expect, transcript.expect_by
local expect_time = transcript.expect_time

return {
    ["ipc/queue_basics.lua"] = {
        {"1, full, empty", function(run)
            run:prints{"1", "full", "empty"}
        end},
    },

    ["ipc/queue_writer_reader.lua"] = {
        seconds = 3, times = 3,
        {"every letter put is got, in order", function(run)
            expect(#run.lines == 13, "%d lines, expected 13", #run.lines)
            run:only("^开始子进程%d+$")
            local puts = run:matching(" put (%a) to queue$")
            local gets = run:matching(" get (%a) from queue$")
            expect(#puts == 6 and #gets == 6, "%d puts, %d gets", #puts, #gets)
            for i = 1, 6 do
                local letter = ("abdcef"):sub(i, i)
                expect(puts[i][1] == letter, "put %d is %s", i, puts[i][1])
                expect(gets[i][1] == letter, "get %d is %s", i, gets[i][1])
                expect(gets[i].line > puts[i].line, "%s is got before it is put", letter)
            end
        end},
    },

    ["ipc/pipe.lua"] = {
        seconds = 3,
        {"five times [1, 2, 3, 4, 5]", function(run)
            local five = "[1, 2, 3, 4, 5]"
            run:prints{five, five, five, five, five}
            expect_time(run.times[1], 3, "the first")
            expect_time(run.times[5], 3, "the last")
        end},
    },

    ["ipc/queue_empty_full.lua"] = {
        seconds = 0.5,
        {"false, false", function(run)
            run:prints{"false", "false"}
        end},
    },

    ["ipc/queue_table.lua"] = {
        seconds = 2,
        {"收到消息: and the table", function(run)
            run:prints{"收到消息: a=1, b=2"}
            expect_time(run.times[1], 2, "the message")
        end},
    },

    ["ipc/value_money.lua"] = {
        seconds = 10,
        {"余额 and a number, then 余额 and the number that 应为 has, too", function(run)
            run:prints{"^余额: %-?%d+$", "^余额: %-?%d+$", "^应为: %-?%d+$"}
            local balances = run:matching("^余额: (%-?%d+)$")
            local expected = run:matching("^应为: (%-?%d+)$")[1]
            expect(balances[2][1] == expected[1], "%s instead of %s", balances[2][1], expected[1])
            for _, match in ipairs(balances) do
                local balance = tonumber(match[1])
                expect(balance >= 2000 + 100 - 18000 and balance <= 2000 + 20000 - 100,
                    "%d is more than two hundred changes can make", balance)
            end
            -- a hundred sleeps, each of which a busy machine may end late
            for i, name in ipairs{"first", "second"} do
                local message = ("the %s 余额: at %.2f s"):format(name, run.times[i])
                expect(run.times[i] > 5 * i - 0.1, "%s", message)
                expect_by(run.times[i], 15 * i, "%s", message)
            end
        end},
    },

    ["ipc/array_chars.lua"] = {
        {"Hello by letters, hello by letters, hello", function(run)
            run:prints{"H", "e", "l", "l", "o", "h", "e", "l", "l", "o", "hello"}
        end},
    },
}
