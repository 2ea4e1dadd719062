--[[
report.lua: measures the figures of figures.lua and prints the table. Started by `run`, which sets
in the environment where the programs are (LUAMP, LUA, PYTHON, PERL, CC, BENCH_FLOORS) and whether
somebody looks on (BENCH_PROGRESS).

Each measurement is a process of its own that prints one number, or a word that says why there is
none. The programs of a figure are
measured in turn, and all figures once before any is measured again: what else the machine does
then hits all alike, and for a part of a figure's rounds only. What is reported is the median.

Plain Lua on purpose: what measures must not depend on what is measured.
]]

local here = arg[0]:match "^(.*)/[^/]*$" or "."

local known = dofile(here .. "/figures.lua")
local figures, bars, more_is_better = known.figures, known.bars, known.more_is_better

local luamp, lua, python = os.getenv "LUAMP", os.getenv "LUA" or "", os.getenv "PYTHON" or ""
local perl = os.getenv "PERL" or ""
local compiler, floors = os.getenv "CC" or "cc", os.getenv "BENCH_FLOORS" or ""

local LIMIT = 120 -- seconds; what takes longer hangs
local ROUNDS, QUICK_ROUNDS, QUICK_PART = 5, 3, 10

local subjects = {"luamp", "floor", "python", "mce"}

local function fail(...)
    io.stderr:write("bench: ", string.format(...), "\n")
    os.exit(1)
end

-- For somebody who looks on.
local function progress(text)
    if os.getenv "BENCH_PROGRESS" ~= "" then
        io.stderr:write("\r\27[K", text)
    end
end

-- For the shell.
local function quote(text)
    return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The first line that a command prints, or nil; and whether it succeeded.
local function output(command)
    local pipe = assert(io.popen(command, "r"))
    local line = pipe:read "l"
    pipe:read "a"
    return line, pipe:close()
end

local function file_exists(name)
    local file = io.open(name)
    return file ~= nil and file:close()
end

--[[
What is measured, as shell commands; nil where there is nothing to run.
]]

-- What stands before a script's path. Python would look for its own modules in the script's folder first, and find our `array`.
local options = {py = "-I"}

-- PROGRAM OPTION FOLDER/NAME.EXTENSION ARGUMENT...
local function script_command(program, folder, name, extension, ...)
    local path = ("%s/%s/%s.%s"):format(here, folder, name, extension)
    return program ~= "" and file_exists(path) and
        table.concat({quote(program), options[extension] or "", quote(path), ...}, " ") or nil
end

local function floor_command(program, ...)
    local path = floors .. "/" .. program
    return file_exists(path) and table.concat({quote(path), ...}, " ") or nil
end

-- The start of an interpreter is measured by a program in C, and its floor is plain Lua.
local function start_command(interpreter, count, arguments)
    return interpreter ~= "" and
        floor_command("start", count, quote(interpreter), arguments) or nil
end

local command_of = {}

function command_of.luamp(figure, count)
    if figure.commands then
        return start_command(luamp, count, "-e ''")
    elseif figure.name == "c_calls" and not file_exists(floors .. "/in_lua.so") then
        return nil
    end
    return script_command(luamp, "lua", figure.program or figure.name, "lua", count,
        figure.arguments)
end

function command_of.floor(figure, count)
    if figure.commands then
        return start_command(lua, count, "-e ''")
    elseif figure.plain then
        return script_command(lua, "lua", figure.name, "lua", count)
    elseif figure.floor == false then
        return nil
    elseif figure.name == "codec" then
        return file_exists(floors .. "/in_lua.so") and
            script_command(luamp, "lua", "table_copy", "lua", count) or nil
    end
    return floor_command(figure.floor or figure.program or figure.name, count,
        figure.floor_arguments or figure.arguments)
end

function command_of.python(figure, count)
    if figure.commands then
        return python ~= "" and start_command(python, count, "-c pass") or nil
    end
    return script_command(python, "python", figure.program or figure.name, "py", count,
        figure.arguments)
end

function command_of.mce(figure, count)
    return not figure.commands and figure.repeats[4] and
        script_command(perl, "perl", figure.program or figure.name, "pl", count,
            figure.arguments) or nil
end

--[[
The measuring.
]]

-- The last processor that we may run on, for what is held to one: the first has the most to do besides.
local taskset = output "command -v taskset" and
    ("taskset -c %s "):format(output "taskset -cp $$":match "(%d+)[^ ]*$" or "0") or ""

local timeout = output "command -v timeout" and ("timeout %d "):format(LIMIT) or ""

local function median(numbers)
    local sorted = table.move(numbers, 1, #numbers, 1, {})
    table.sort(sorted)
    local middle = #sorted // 2
    if #sorted % 2 == 1 then
        return sorted[middle + 1]
    end
    return (sorted[middle] + sorted[middle + 1]) / 2
end

-- Puts a number into results[subject], or a word in place of the list: "failed", or what the program
-- says instead. What gave a word once is not measured again.
local function measure_once(figure, i, part, results)
    local subject = subjects[i]
    if figure.repeats[i] == nil or type(results[subject]) == "string" then
        return
    end
    local count = math.max(figure.repeats[i] // part, 5)
    local command = command_of[subject](figure, ("%d"):format(count))
    if command == nil then
        return
    end
    local line, succeeded = output((figure.one_processor and taskset or "") .. timeout .. command)
    local number = succeeded and tonumber(line)
    if number then
        results[subject] = results[subject] or {}
        table.insert(results[subject], number)
    elseif succeeded and line then
        results[subject] = line
    else
        results[subject] = "failed"
        progress ""
        io.stderr:write("bench: this failed: ", command, "\n")
    end
end

-- Each figure's results: lists of numbers, or a word, by subject.
local function measure(chosen, rounds, part)
    local results = {}
    for round = 1, rounds do
        for _, figure in ipairs(chosen) do
            results[figure.name] = results[figure.name] or {}
            if round == 1 or part == 1 or not figure.slow then
                progress(("round %d of %d: %s"):format(round, rounds, figure.name))
                for i in ipairs(subjects) do
                    measure_once(figure, i, part, results[figure.name])
                end
            end
        end
    end
    progress ""
    return results
end

--[[
The table.
]]

local function show_number(x, unit)
    if unit == "/s" then
        if x >= 1e6 then
            return ("%.2f M"):format(x / 1e6)
        elseif x >= 1e4 then
            return ("%.0f k"):format(x / 1e3)
        end
    end
    return (x < 1 and "%.3f" or x < 10 and "%.2f" or x < 100 and "%.1f" or "%.0f"):format(x)
end

local function show_spread(numbers, unit)
    if type(numbers) ~= "table" then
        return numbers or "-"
    end
    return ("%s (%s–%s)"):format(show_number(median(numbers), unit),
        show_number(math.min(table.unpack(numbers)), unit),
        show_number(math.max(table.unpack(numbers)), unit))
end

-- How many times as much a costs as b.
local function cost_ratio(a, b, unit)
    if type(a) ~= "table" or type(b) ~= "table" then
        return nil
    end
    local ratio = median(a) / median(b)
    return more_is_better[unit] and 1 / ratio or ratio
end

local function show_ratio(ratio)
    return ratio and (ratio < 10 and "%.2f" or "%.0f"):format(ratio) or "-"
end

local function print_table(rows)
    local widths = {}
    for _, row in ipairs(rows) do
        for i, text in ipairs(row) do
            widths[i] = math.max(widths[i] or 3, utf8.len(text))
        end
    end
    for n, row in ipairs(rows) do
        local cells = {}
        for i, text in ipairs(row) do
            cells[i] = text .. (" "):rep(widths[i] - utf8.len(text))
        end
        print("| " .. table.concat(cells, " | ") .. " |")
        if n == 1 then
            for i, width in ipairs(widths) do
                cells[i] = ("-"):rep(width)
            end
            print("| " .. table.concat(cells, " | ") .. " |")
        end
    end
end

local function print_results(chosen, results)
    local rows = {{"figure", "what", "unit", "luamp", "floor", "Python", "MCE", "luamp/floor",
        "Python/luamp", "MCE/luamp"}}
    for _, figure in ipairs(chosen) do
        local of, unit = results[figure.name], figure.unit
        table.insert(rows, {figure.name, figure.title, unit, show_spread(of.luamp, unit),
            show_spread(of.floor, unit), show_spread(of.python, unit), show_spread(of.mce, unit),
            show_ratio(cost_ratio(of.luamp, of.floor, unit)),
            show_ratio(cost_ratio(of.python, of.luamp, unit)),
            show_ratio(cost_ratio(of.mce, of.luamp, unit))})
    end
    print_table(rows)
end

--[[
The bars. A kind of bar says in `words` what its number means, and with `least` that what is measured
must not be less, otherwise not more. `measure` returns what the number is compared with, from the
results of the bar's figure, its unit, all results, and what else the bar says; nil where something
was not measured. With `ratio`, both are ratios, otherwise numbers in the figure's unit.
]]

local function median_of(results, name, subject)
    local numbers = (results[name] or {})[subject]
    return type(numbers) == "table" and median(numbers) or nil
end

local function luamps_median(of)
    return type(of.luamp) == "table" and median(of.luamp) or nil
end

local kinds_of_bars = {
    {
        name = "python", words = "Python/luamp at least %s", least = true, ratio = true,
        has_bound = true,
        measure = function(of, unit) return cost_ratio(of.python, of.luamp, unit) end,
    },
    {
        name = "floor", words = "luamp/floor at most %s", ratio = true, has_bound = true,
        measure = function(of, unit) return cost_ratio(of.luamp, of.floor, unit) end,
    },
    {name = "at_most", words = "at most %s", measure = luamps_median},
    {name = "at_least", words = "at least %s", least = true, measure = luamps_median},
    {
        name = "over", words = "at most %s over %s",
        measure = function(of, _, results, other)
            local base, ours = median_of(results, other, "luamp"), luamps_median(of)
            return base and ours and ours - base
        end,
    },
    {
        name = "share", words = "at least %s of %s, the %s", least = true, ratio = true,
        has_bound = true,
        measure = function(of, _, results, other, subject)
            local base, ours = median_of(results, other, subject), luamps_median(of)
            return base and ours and ours / base
        end,
    },
}

-- What a bar of this kind comes to for a program that does no more than the floor and the calls from Lua
-- to C that it takes; nil where that is not known. `...`: what else the bar says.
local function bound(figure, kind, results, ...)
    local calls, of = (bars[figure.name] or {}).calls, results[figure.name]
    local call = calls == 0 and 0 or median_of(results, "c_calls", "luamp")
    local floor = median_of(results, figure.name, "floor")
    if not kind.has_bound or not calls or not call or not floor then
        return nil
    end
    local least = floor + calls * call / 2 / (figure.unit == "µs" and 1000 or 1)
    return kind.measure({luamp = {least}, floor = of.floor, python = of.python}, figure.unit, results,
        ...)
end

-- The line of one bar, which is a number, or a list of a number and what else the kind wants to know.
local function show_bar(figure, kind, bar, results)
    local function show(x)
        if kind.ratio then
            return ("%.3g"):format(x)
        end
        return show_number(x, figure.unit) .. (figure.unit == "/s" and "" or " ") .. figure.unit
    end
    local list = type(bar) == "table" and bar or {bar}
    local number = list[1]
    local measured = kind.measure(results[figure.name], figure.unit, results,
        table.unpack(list, 2))
    local words = kind.words:format(show(number), table.unpack(list, 2))
    if measured == nil then
        return ("- not measured: %s: %s"):format(figure.name, words)
    end
    local function reaches(x)
        return x == number or (x > number) == (kind.least or false)
    end
    local line = ("- %s: %s: %s; here %s"):format(reaches(measured) and "holds" or "does not hold",
        figure.name, words, show(measured))
    local best = bound(figure, kind, results, table.unpack(list, 2))
    if best and not reaches(best) then
        local calls = bars[figure.name].calls
        line = ("%s; the floor%s would be %s"):format(line,
            calls > 0 and (" and %d calls of C from Lua"):format(calls) or "", show(best))
    end
    return line
end

local function print_bars(chosen, results)
    local lines = {}
    for _, figure in ipairs(chosen) do
        for _, kind in ipairs(kinds_of_bars) do
            local bar = (bars[figure.name] or {})[kind.name]
            if bar ~= nil then
                table.insert(lines, show_bar(figure, kind, bar, results))
            end
        end
    end
    if #lines > 0 then
        print()
        print(table.concat(lines, "\n"))
    end
end

local function read_line(name)
    local file = io.open(name)
    local line = file and file:read "l"
    if file then
        file:close()
    end
    return line
end

local function load_average()
    return (read_line "/proc/loadavg" or "?"):match "%S+"
end

-- The first line that a program prints about itself, without the rights to it.
local function version(program, option)
    if program == "" then
        return "none"
    end
    local line = output(("%s %s 2>&1"):format(program, option)) or "?"
    return (line:gsub("%s+Copyright.*", ""))
end

local function print_machine(rounds, load_before)
    local model = output "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null"
    print(("%s cores, %s, %s."):format(output "getconf _NPROCESSORS_ONLN",
        model or output "uname -m", output "uname -sr"))
    print(("%s. Stock Lua: %s. Python: %s. MCE: %s. Compiler: %s."):format(
        version(quote(luamp), "-v"), version(lua, "-v"), version(python, "--version"),
        version(perl, "-MMCE -e 'print MCE->VERSION'"), version(compiler, "--version")))
    print(("Medians of %d interleaved rounds (least–most). Load average before: %s, after: %s.")
        :format(rounds, load_before, load_average()))
end

--[[
The command line.
]]

local function print_help()
    print [[
usage: bench/run [OPTION...] [FIGURE...]
       bench/run --scale [--quick] [FOLDER]
  --rounds N   measure each figure N times (5)
  --quick      3 rounds of a tenth of the repeats: to see that it works
  --scale      how costs grow, as plots in a folder; a new one where none is named
  --help       this text
figures, all of them by default; a name may end in * (quote it):]]
    for _, figure in ipairs(figures) do
        print(("  %-18s %s"):format(figure.name, figure.title))
    end
end

-- Adds to `chosen` the figure of a name, or all whose names begin as one with a * at its end.
local function choose(chosen, name)
    local beginning, found = name:match "^(.*)%*$", false
    for _, figure in ipairs(figures) do
        if figure.name == name or
            beginning and figure.name:sub(1, #beginning) == beginning then
            table.insert(chosen, figure)
            found = true
        end
    end
    if not found then
        fail("there is no figure '%s': see --help", name)
    end
end

local function main(arguments)
    local chosen, rounds, part = {}, nil, 1
    local i = 1
    while i <= #arguments do
        local argument = arguments[i]
        if argument == "--help" then
            return print_help()
        elseif argument == "--quick" then
            part = QUICK_PART
            rounds = rounds or QUICK_ROUNDS
        elseif argument == "--rounds" then
            i = i + 1
            rounds = math.tointeger(tonumber(arguments[i]))
            if rounds == nil or rounds < 1 then
                fail "--rounds takes a number of at least 1"
            end
        elseif argument:match "^%-" then
            fail("there is no option '%s': see --help", argument)
        else
            choose(chosen, argument)
        end
        i = i + 1
    end
    rounds = rounds or ROUNDS
    chosen = #chosen > 0 and chosen or figures
    local load_before = load_average()
    local results = measure(chosen, rounds, part)
    print_machine(rounds, load_before)
    print()
    print_results(chosen, results)
    print_bars(chosen, results)
    for _, of in pairs(results) do
        for _, subject in ipairs(subjects) do
            if of[subject] == "failed" then
                os.exit(1)
            end
        end
    end
end

main(arg)
