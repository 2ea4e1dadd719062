--[[
figures.lua: what report.lua measures. A figure is {name, title, unit, repeats} and what of the
following it needs. `unit` is what all programs of the figure print; see `units` below. `repeats` is
the count that luamp's, the floor's, Python's and MCE's program gets: a measurement should take some
tenths of a second.

A figure's programs are lua/NAME.lua, c/NAME.c, python/NAME.py and perl/NAME.pl, each where there is
one; where there is none, that subject has no number.

- `program`: the programs have this name instead.
- `arguments`: what they get after the count.
- `floor`, `floor_arguments`: of a floor that differs; where `floor` is false, there is none.
- `commands`: interpreters are measured, not programs of ours.
- `plain`: the floor is the same program, run by stock Lua.
- `one_processor`: all its programs are held to one processor, where the system has `taskset`.
- `slow`: what is prepared takes much longer than what is measured: one round where it is quick.
]]

local figures = {
    {"start", "interpreter: start and end", "µs", {100, 100, 30}, commands = true},

    {"tables", "a small table, made and dropped", "ns", {50, 50, 50}, plain = true},

    {"process", "process: start and join", "µs", {400, 1000, 200, 100}},
    {"process_1", "the same on one processor", "µs", {400, 1000, 200, 100},
        program = "process", one_processor = true},
    {"process_500", "500 processes at once: each", "µs", {500, 500, 500, 500},
        program = "process", arguments = "500"},
    {"process_100m", "process beside 100 MiB", "µs", {100, 100, 50},
        program = "process", arguments = "1 100"},
    {"process_500_100m", "500 processes beside 100 MiB: each", "µs", {500, 500, 500},
        program = "process", arguments = "500 100", slow = true},
    {"process_1g", "process beside 1 GiB", "µs", {20, 20, 20},
        program = "process", arguments = "1 1024", slow = true},
    {"process_500_1g", "500 processes beside 1 GiB: each", "µs", {500, 500, 500},
        program = "process", arguments = "500 1024", slow = true},
    {"worker_memory", "idle worker: private memory", "KiB", {5, 5, 5, 5}},
    {"thread", "thread: start and join", "µs", {4000, 4000, 4000}},
    {"thread_1", "the same on one processor", "µs", {4000, 4000, 4000},
        program = "thread", one_processor = true},

    {"lua_calls", "two calls of an empty Lua method", "ns", {5000000}},
    {"c_calls", "two calls of an empty C method", "ns", {5000000}},
    {"lock", "lock: acquire and release", "ns", {3000000, 10000000, 2000000, 100000}},
    {"rlock", "recursive lock: acquire and release", "ns", {3000000, 10000000, 2000000}},
    {"semaphore", "semaphore: acquire and release", "ns", {3000000, 10000000, 2000000}},
    {"lock_2", "lock wanted by 2: an increment", "ns", {500000, 5000000, 300000},
        program = "lock_contended", arguments = "2"},
    {"lock_8", "lock wanted by 8: an increment", "ns", {500000, 5000000, 300000},
        program = "lock_contended", arguments = "8"},
    {"event_pingpong", "event: there and back", "µs", {30000, 30000, 3000}},
    {"condition_pingpong", "condition: there and back", "µs", {20000, 20000, 3000}},

    {"value_read", "value: read", "ns", {5000000, 100000000, 500000}},
    {"value_write", "value: write", "ns", {5000000, 100000000, 500000}},
    {"value_add", "value: add", "ns", {5000000, 20000000, 300000, 10000}},
    {"array_read", "array: read", "ns", {5000000, 100000000, 500000},
        program = "array", arguments = "read"},
    {"array_write", "array: write", "ns", {5000000, 100000000, 500000},
        program = "array", arguments = "write"},
    {"array_bulk", "array: 1,000 at once, there and back", "ns", {5000000, 500000000, 5000000},
        program = "array", arguments = "bulk"},
    {"dict_get", "shared table: get", "ns", {1000000, 5000000, 5000},
        program = "dict", arguments = "get"},
    {"dict_set", "shared table: set", "ns", {1000000, 5000000, 5000},
        program = "dict", arguments = "set"},

    {"queue_integers", "queue: small integers", "/s", {500000, 2000000, 60000, 5000},
        floor = "queue", floor_arguments = "8"},
    {"queue_batch", "queue: small integers by the hundred", "/s",
        {3000000, 50000000, 1000000, 200000}, floor = "queue", floor_arguments = "800 100"},
    {"queue_4x4", "queue: small integers, four to four", "/s", {500000, 1000000, 50000},
        program = "queue_many", arguments = "4"},
    {"queue_tables", "queue: small tables", "/s", {200000, 2000000, 50000, 5000},
        floor = "queue", floor_arguments = "24"},
    {"queue_1k", "queue: strings of 1 KiB", "/s", {200000, 500000, 50000, 5000},
        program = "queue_strings", arguments = "1024", floor = "queue"},
    {"queue_64k", "queue: strings of 64 KiB", "/s", {10000, 20000, 5000, 2000},
        program = "queue_strings", arguments = "65536", floor = "queue"},
    {"queue_1m", "queue: strings of 1 MiB", "/s", {5000, 5000, 200, 200},
        program = "queue_strings", arguments = "1048576", floor = "queue"},
    {"queue_64m", "queue: strings of 64 MiB", "/s", {10, 20, 5, 5},
        program = "queue_strings", arguments = "67108864", floor = "queue"},
    {"memcpy_1m", "1 MiB copied in one process", "/s", {0, 10000},
        program = "memcpy", arguments = "1048576"},
    {"queue_pingpong", "queue: there and back", "µs", {30000, 30000, 5000}},
    {"pipe_pingpong", "pipe: there and back", "µs", {30000, 30000, 10000, 5000}},
    {"socket_pingpong", "socket: there and back", "µs", {10000, 30000, 5000},
        floor = "pipe_pingpong"},
    {"socket_busy", "the same beside other work", "µs", {3000, 0, 1500},
        program = "socket_pingpong", arguments = "busy", floor = false},

    {"pool_start_stop", "pool of 4: start and stop", "µs", {50, 200, 10}},
    {"pool_apply", "pool of 2: apply", "µs", {10000, 30000, 3000}, floor = "queue_pingpong"},
    {"pool_map", "pool of 2: map, chunks by default", "/s", {300000, 5000000, 300000, 300000}},
    {"pool_map_1", "pool of 2: map, chunks of 1", "/s", {50000, 500000, 20000, 5000},
        program = "pool_map", arguments = "1"},
    {"pool_imap", "pool of 2: imap", "/s", {50000, 500000, 20000},
        floor = "pool_map", floor_arguments = "1"},
    {"pool_busy", "pool of 2: map of what takes 1 ms", "share", {480, 480, 480},
        floor = "pool_map", floor_arguments = "0 0.001"},

    {"codec", "1,000 small tables: encode and decode", "µs", {300, 1000, 100}},
    {"codec_encode", "1,000 small tables: encode", "µs", {500, 0, 200},
        program = "codec", arguments = "encode", floor = false},
    {"codec_decode", "1,000 small tables: decode", "µs", {500, 0, 200},
        program = "codec", arguments = "decode", floor = false},
}

for _, figure in ipairs(figures) do
    figure.name, figure.title, figure.unit, figure.repeats = table.unpack(figure)
end

-- Units of which more is better: items a second, and the share that the perfect time is of the time
-- that it took. Of all others less is.
local more_is_better = {["/s"] = true, share = true}

--[[
The bars: what luamp promises of a figure, each a line under the table that says whether it holds.

- `python`: how many times as much it costs Python, at least; `floor`: how many times as much as the
  floor it costs, at most.
- `at_most`, `at_least`: a number in the figure's unit.
- `over`: {number, name}: no more than so much over luamp's number for another figure.
- `share`: {number, name, subject}: so much of what another figure is for a subject, at least.

And what a bar of `python`, `floor` or `share` cannot go beyond, whatever luamp does:

- `calls`: so many calls from Lua to a function of C stand beside what the floor does, each of which
  costs half of `c_calls`. Where that is more than the bar allows, its line says so. Of things a second it
  is 0: the floor alone.
]]

local bars = {
    start = {floor = 1.1},
    process = {python = 6, floor = 1.7},
    process_1g = {python = 5},
    worker_memory = {python = 5},
    lock = {python = 1, over = {30, "c_calls"}},
    lock_2 = {python = 2},
    value_add = {python = 15, at_most = 60, calls = 2}, -- the method is looked up by a function, too
    event_pingpong = {python = 8, floor = 1.5, calls = 5}, -- two waits are half a call each: the return
    queue_integers = {python = 25, at_least = 4e6, share = {0.35, "queue_integers", "floor"}},
    queue_batch = {at_least = 12e6},
    queue_tables = {python = 10},
    queue_1m = {python = 3, share = {0.4, "memcpy_1m", "floor"}, calls = 0}, -- the floor is the C ring
    queue_pingpong = {python = 20, floor = 3},
    pipe_pingpong = {python = 2, floor = 1.3},
    pool_map = {python = 2.5, at_least = 12e6},
    pool_map_1 = {python = 12},
    pool_apply = {python = 15},
    pool_start_stop = {python = 8},
    pool_busy = {at_least = 0.97},
    codec = {python = 2, calls = 0}, -- the floor copies the same tables by Lua's public interface
}

return {figures = figures, bars = bars, more_is_better = more_is_better}
