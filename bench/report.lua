--[[
report.lua: measures the figures and prints the table. Started by `run`, which sets in the
environment where the programs are (LUAMP, LUA, PYTHON, CC, BENCH_FLOORS) and whether somebody
looks on (BENCH_PROGRESS).

Each measurement is a process of its own that prints one number. The programs of a figure are
measured in turn, and all figures once before any is measured again: what else the machine does
then hits all alike, and for a part of a figure's rounds only. What is reported is the median.

Plain Lua on purpose: what measures must not depend on what is measured.
]]

local here = arg[0]:match "^(.*)/[^/]*$" or "."

local luamp, lua, python = os.getenv "LUAMP", os.getenv "LUA" or "", os.getenv "PYTHON" or ""
local compiler, floors = os.getenv "CC" or "cc", os.getenv "BENCH_FLOORS" or ""

local LIMIT = 120 -- seconds; what takes longer hangs
local ROUNDS, QUICK_ROUNDS, QUICK_PART = 5, 3, 10

local subjects = {"luamp", "floor", "python"}

--[[
The figures. `unit` is what all programs of the figure print; of "/s" more is better, else less.
`repeats` is the count that luamp's, the floor's and Python's program gets: a measurement should
take some tenths of a second. `arguments` follow the count. A figure's programs have its name, or
the one that `program` says; `floor` and `floor_arguments` are for a floor that differs. Where
`floor` or `python` is false, the figure has none. With `one_processor` all its programs are held
to one processor, where the system has `taskset`.
]]
local figures = {
    {"start", "interpreter: start and end", "µs", {100, 100, 30}, commands = true},
    {"process", "process: start and join", "µs", {400, 1000, 200}},
    {"process_1", "the same on one processor", "µs", {400, 1000, 200},
        program = "process", one_processor = true},
    {"thread", "thread: start and join", "µs", {4000, 4000, 4000}},
    {"thread_1", "the same on one processor", "µs", {4000, 4000, 4000},
        program = "thread", one_processor = true},
    {"lua_calls", "two calls of an empty Lua method", "ns", {5000000},
        floor = false, python = false},
    {"c_calls", "two calls of an empty C method", "ns", {5000000},
        floor = false, python = false},
    {"lock", "lock: acquire and release", "ns", {3000000, 10000000, 2000000}},
    {"rlock", "recursive lock: acquire and release", "ns", {3000000, 10000000, 2000000}},
    {"semaphore", "semaphore: acquire and release", "ns", {3000000, 10000000, 2000000}},
    {"value_read", "value: read", "ns", {5000000, 100000000, 500000}},
    {"value_write", "value: write", "ns", {5000000, 100000000, 500000}},
    {"value_add", "value: add", "ns", {5000000, 20000000, 300000}},
    {"event_pingpong", "event: there and back", "µs", {30000, 30000, 3000}},
    {"queue_integers", "queue: small integers", "/s", {500000, 2000000, 60000},
        floor = "queue", floor_arguments = "8"},
    {"queue_tables", "queue: small tables", "/s", {200000, 2000000, 50000},
        floor = "queue", floor_arguments = "24"},
    {"queue_1k", "queue: strings of 1 KiB", "/s", {200000, 500000, 50000},
        program = "queue_strings", arguments = "1024", floor = "queue"},
    {"queue_1m", "queue: strings of 1 MiB", "/s", {300, 1000, 200},
        program = "queue_strings", arguments = "1048576", floor = "queue"},
    {"queue_pingpong", "queue: there and back", "µs", {30000, 30000, 5000}},
    {"pipe_pingpong", "pipe: there and back", "µs", {30000, 30000, 10000}},
    {"pool_map", "pool of 2: map, chunks by default", "/s", {300000, 5000000, 300000}},
    {"pool_map_1", "pool of 2: map, chunks of 1", "/s", {50000, 500000, 20000},
        program = "pool_map", arguments = "1"},
    {"pool_apply", "pool of 2: apply", "µs", {10000, 30000, 3000}, floor = "queue_pingpong"},
    {"pool_start_stop", "pool of 4: start and stop", "µs", {50, 200, 10}},
    {"codec", "1,000 small tables: encode and decode", "µs", {300, 1000, 100}},
}

for _, figure in ipairs(figures) do
    figure.name, figure.title, figure.unit, figure.repeats = table.unpack(figure)
end

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

local function lua_command(program, ...)
    return table.concat({quote(luamp), quote(here .. "/lua/" .. program .. ".lua"), ...}, " ")
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
    return lua_command(figure.program or figure.name, count, figure.arguments)
end

function command_of.floor(figure, count)
    if figure.commands then
        return start_command(lua, count, "-e ''")
    elseif figure.name == "codec" then
        return file_exists(floors .. "/in_lua.so") and lua_command("table_copy", count) or nil
    end
    return floor_command(figure.floor or figure.program or figure.name, count,
        figure.floor_arguments or figure.arguments)
end

function command_of.python(figure, count)
    if python == "" then
        return nil
    elseif figure.commands then
        return start_command(python, count, "-c pass")
    end
    local script = ("%s/python/%s.py"):format(here, figure.program or figure.name)
    return table.concat({quote(python), quote(script), count, figure.arguments}, " ")
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

-- Puts a number into results[figure][subject], or the word "failed" in place of the list: what
-- failed once is not measured again.
local function measure_once(figure, i, part, results)
    local subject = subjects[i]
    if figure[subject] == false or results[subject] == "failed" then
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
    else
        results[subject] = "failed"
        progress ""
        io.stderr:write("bench: this failed: ", command, "\n")
    end
end

local function measure(chosen, rounds, part)
    local results = {}
    for round = 1, rounds do
        for _, figure in ipairs(chosen) do
            results[figure] = results[figure] or {}
            progress(("round %d of %d: %s"):format(round, rounds, figure.name))
            for i in ipairs(subjects) do
                measure_once(figure, i, part, results[figure])
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
    return (x < 10 and "%.2f" or x < 100 and "%.1f" or "%.0f"):format(x)
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
    return unit == "/s" and 1 / ratio or ratio
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
    local rows = {{"figure", "what", "unit", "luamp", "floor", "Python", "luamp/floor",
        "Python/luamp"}}
    for _, figure in ipairs(chosen) do
        local of, unit = results[figure], figure.unit
        table.insert(rows, {figure.name, figure.title, unit, show_spread(of.luamp, unit),
            show_spread(of.floor, unit), show_spread(of.python, unit),
            show_ratio(cost_ratio(of.luamp, of.floor, unit)),
            show_ratio(cost_ratio(of.python, of.luamp, unit))})
    end
    print_table(rows)
end

--[[
What luamp promises. `of` lists the medians that the promise is about, as figure and subject; they
are passed to `check`, which returns what was measured, in words, and whether the promise holds. A
promise that names the machine's own pace is scaled to this one.
]]

local promises = {
    {
        text = "a lock's pair takes no more than 60 ns where a pair of plain Lua calls takes 28",
        of = {{"lock", "luamp"}, {"lua_calls", "luamp"}},
        check = function(lock, calls)
            local bar = 60 / 28 * calls
            return ("%.1f ns where it takes %.1f: at most %.1f"):format(lock, calls, bar),
                lock <= bar
        end,
    },
    {
        text = "a queue passes over 1.5 M small integers a second where Python's passes 0.18 M",
        of = {{"queue_integers", "luamp"}, {"queue_integers", "python"}},
        check = function(ours, pythons)
            local bar = 1.5 / 0.18 * pythons
            return ("%.2f M where it passes %.3f M: more than %.2f M"):format(ours / 1e6,
                pythons / 1e6, bar / 1e6), ours > bar
        end,
    },
    {
        text = "luamp starts in no more than Lua's own time and a tenth",
        of = {{"start", "luamp"}, {"start", "floor"}},
        check = function(ours, luas)
            return ("%.0f µs where Lua takes %.0f: at most %.0f"):format(ours, luas, luas * 1.1),
                ours <= luas * 1.1
        end,
    },
}

local function print_promises(chosen, results)
    local by_name = {}
    for _, figure in ipairs(chosen) do
        by_name[figure.name] = results[figure]
    end
    local lines = {}
    for _, promise in ipairs(promises) do
        local medians = {}
        for _, wanted in ipairs(promise.of) do
            local numbers = (by_name[wanted[1]] or {})[wanted[2]]
            if type(numbers) == "table" then
                table.insert(medians, median(numbers))
            end
        end
        if #medians == #promise.of then
            local measured, holds = promise.check(table.unpack(medians))
            table.insert(lines, ("- %s: %s. Here %s."):format(holds and "holds" or "DOES NOT HOLD",
                promise.text, measured))
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
    print(("%s. Stock Lua: %s. Python: %s. Compiler: %s."):format(version(quote(luamp), "-v"),
        version(lua, "-v"), version(python, "--version"), version(compiler, "--version")))
    print(("Medians of %d interleaved rounds (least–most). Load average before: %s, after: %s.")
        :format(rounds, load_before, load_average()))
end

--[[
The command line.
]]

local function print_help()
    print [[
usage: bench/run [OPTION...] [FIGURE...]
  --rounds N   measure each figure N times (5)
  --quick      3 rounds of a tenth of the repeats: to see that it works
  --help       this text
figures, all of them by default:]]
    for _, figure in ipairs(figures) do
        print(("  %-16s %s"):format(figure.name, figure.title))
    end
end

local function find_figure(name)
    for _, figure in ipairs(figures) do
        if figure.name == name then
            return figure
        end
    end
    fail("there is no figure '%s': see --help", name)
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
            table.insert(chosen, find_figure(argument))
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
    print_promises(chosen, results)
    for _, of in pairs(results) do
        if of.luamp == "failed" or of.floor == "failed" or of.python == "failed" then
            os.exit(1)
        end
    end
end

main(arg)
