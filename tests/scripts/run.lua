-- Runs the examples under scripts/ side by side, and holds each to what it promises.
--
--     LUAMP=path/of/luamp top_srcdir=. luamp tests/scripts/run.lua [part of a script's name]
--
-- A file that loads this one and calls it with a table says by what the scripts are run instead; see
-- stock.lua.
--
-- A file checks_*.lua beside this one returns a table:
--
--     ["sync/ktv_semaphore.lua"] = {
--         seconds = 15,       -- about what it takes: the longest are started first
--         times = 1,          -- how often it is run; a promise must hold in every run
--         {"a promise", function(run) ... end},       -- raises where it is not kept
--     }
--
-- where run is a Transcript (transcript.lua). A watcher process for each run reads what the script
-- prints, notes when, and puts the transcript into a queue. A run that is late, and nothing else, is
-- made again: the machine may have been busy. A script runs in an empty folder, with
-- a temporary folder of its own and in a session of its own, so what it leaves behind is found.

local top = os.getenv("top_srcdir") or "."
local luamp = os.getenv("LUAMP") or arg[-1]
local filter = arg[1] or ""
local given = ...
local other = type(given) == "table" and given or {} -- command = a shell's words, name =, times =

local SIDE_BY_SIDE = 20     -- runs at a time: they sleep nearly all of it
local PATIENCE = 40         -- seconds until a run is given up
local ATTEMPTS = 4          -- how often a run is looked at that is late, and nothing else

package.path = ("%s/tests/?.lua;%s/tests/scripts/?.lua;%s"):format(top, top, package.path)
local t = require "tap"
local transcript = require "transcript"

local function shell(command)
    local f <close> = assert(io.popen(command))
    return f:read("a")
end

local function quoted(s)
    return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function absolute(path)
    return (shell("realpath " .. quoted(path)):gsub("\n$", ""))
end

top = absolute(top)
luamp = absolute(luamp:find("/") and luamp or shell("command -v " .. quoted(luamp)):gsub("\n", ""))

local command = other.command or quoted(luamp)
local by = other.name and " by " .. other.name or ""

local checks = {}
for file in shell("ls " .. quoted(top) .. "/tests/scripts/checks_*.lua"):gmatch("[^\n]+") do
    for script, check in pairs(dofile(file)) do
        checks[script] = check
    end
end

local base = shell("mktemp -d"):gsub("\n", "")
process.atexit(function() os.execute("rm -r " .. quoted(base)) end)

-- The processes of a session that still live: a list of "pid (name) state".
local function members(session)
    local list = {}
    for line in shell("cat /proc/[0-9]*/stat 2>/dev/null"):gmatch("[^\n]+") do
        local pid, name, state, its = line:match("^(%d+) (%b()) (%a) %-?%d+ %-?%d+ (%d+) ")
        if its == session and state ~= "Z" and state ~= "X" then
            list[#list + 1] = ("%s %s %s"):format(pid, name, state)
        end
    end
    return list
end

-- Runs one script and returns its transcript. Lines of our own begin with \1: the session before
-- all others, and the status when the script's main process has ended. Whoever outlives that
-- process holds the pipe open, so the end of the pipe is when the last has gone.
local function watch(id, script, results)
    local folder = ("%s/%d"):format(base, id)
    assert(os.execute(("mkdir -p %s/work %s/tmp"):format(quoted(folder), quoted(folder))))
    local run = {id = id, script = script, lines = {}, times = {}, status = "unknown", seconds = 0}
    local start = process.monotonic()
    local output = assert(io.popen(([[cd %s/work && TMPDIR=%s/tmp exec setsid sh -c '
        printf "\001session %%d\n" $$; eval "$0 \"\$1\"" 2>"$2"; printf "\001exit %%d\n" $?
        ' %s %s %s/stderr </dev/null]]):format(quoted(folder), quoted(folder), quoted(command),
        quoted(top .. "/scripts/" .. script), quoted(folder))))
    for line in output:lines() do
        local now = process.monotonic() - start
        local session = line:match("^\1session (%d+)$")
        local rest, status = line:match("^(.*)\1exit (%d+)$")
        if session then
            run.session = session
            results:put{id = id, session = session}
        elseif status then
            run.status, run.seconds = math.tointeger(status), now
        end
        if not session and (not status or rest ~= "") then
            run.lines[#run.lines + 1] = status and rest or line
            run.times[#run.times + 1] = now
        end
    end
    run.silence = process.monotonic() - start
    output:close()
    run.left = members(run.session)
    while #run.left > 0 and process.monotonic() - start < run.silence + 0.5 do
        process.sleep(0.05)                 -- what has just closed the pipe may still be ending
        run.left = members(run.session)
    end
    local errors <close> = assert(io.open(folder .. "/stderr"))
    run.errors = errors:read("a")
    run.files = shell(("find %s -mindepth 2"):format(quoted(folder)))
    results:put(run)
end

-- What every script promises.
local function clean(run)
    local expect = transcript.expect
    expect(run.status == 0, "exit status %s", run.status)
    expect(run.errors == "", "it prints to stderr")
    transcript.expect_by(run.silence, run.seconds + 0.5, "a process outlived it by %.2f s",
        run.silence - run.seconds)
    expect(#run.left == 0, "still there: %s", table.concat(run.left, ", "))
    expect(run.files == "", "it leaves files behind:\n%s", run.files)
end

-- The scripts that this is about, by name.
local chosen = {}
for script, check in pairs(checks) do
    if script:find(filter, 1, true) then
        check.script, check.runs = script, {}
        check[#check + 1] = {"ends by itself with status 0 and leaves nothing behind", clean}
        chosen[#chosen + 1] = check
    end
end
assert(#chosen > 0, "no script has this in its name: " .. filter)
table.sort(chosen, function(a, b) return a.script < b.script end)

-- The longest that a program took which does nothing, while the scripts ran: so late each of a
-- script's steps may be, and a few of them may follow each other.
local slowest = ipc.Value("d")
local STEPS = 3
process.Process{daemon = true, target = function()
    while true do
        local start = process.monotonic()
        os.execute(command .. " -e ''")
        slowest.value = math.max(slowest.value, process.monotonic() - start)
        process.sleep(0.2)
    end
end}:start()

local results = ipc.Queue()
local last_id = 0

-- Runs the checks' scripts side by side, the longest first; a check may be there several times, and
-- each run is added to its `runs`.
local function run_all(pending)
    table.sort(pending, function(a, b)
        local takes_a, takes_b = a.seconds or 0, b.seconds or 0
        if takes_a ~= takes_b then
            return takes_a > takes_b
        end
        return a.script < b.script
    end)
    slowest.value = 0
    local running, slots = {}, SIDE_BY_SIDE

    local function finish(id, run)
        local runs = running[id].check.runs
        runs[#runs + 1] = transcript.Transcript.new(run)
        running[id] = nil
        slots = slots + 1
    end

    while #pending > 0 or next(running) do
        while slots > 0 and #pending > 0 do
            local check = table.remove(pending, 1)
            last_id = last_id + 1
            running[last_id] = {
                check = check,
                deadline = process.monotonic() + PATIENCE,
                watcher = process.spawn(watch, last_id, check.script, results),
            }
            slots = slots - 1
        end
        local message = results:get(1)
        if message and message.session then
            if message.lines then
                running[message.id].watcher:join()
                finish(message.id, message)
            else
                running[message.id].session = message.session
            end
        end
        for id, job in pairs(running) do
            if process.monotonic() > job.deadline and job.session then
                t.diag(("%s takes more than %d s and is killed"):format(job.check.script, PATIENCE))
                os.execute("kill -s KILL -- -" .. job.session)      -- its watcher sees the end
                job.deadline = math.huge
            elseif not message and not job.watcher:is_alive() and results:empty() then
                finish(id, {script = job.check.script, lines = {}, times = {}, seconds = 0,
                    silence = 0, status = "unknown: its watcher died", errors = "", left = {},
                    files = ""})
            end
        end
    end
    transcript.slack = STEPS * slowest.value
    if transcript.slack > 0.5 then
        t.diag(("a busy machine: %.2f s more are allowed everywhere"):format(transcript.slack))
    end
end

-- What a run breaks is upper bounds of time, and nothing else.
local function is_only_late(check, run)
    local is_late = false
    for _, promise in ipairs(check) do
        local kept, message = pcall(promise[2], run)
        if not kept and not transcript.is_lateness(message) then
            return false
        end
        is_late = is_late or not kept
    end
    return is_late
end

-- Takes out of the checks' runs those that are only late: the checks to run again.
local function take_late()
    local again = {}
    for _, check in ipairs(chosen) do
        for i = #check.runs, 1, -1 do
            if is_only_late(check, check.runs[i]) then
                t.diag(("scripts/%s was late once"):format(check.script))
                table.remove(check.runs, i)
                again[#again + 1] = check
            end
        end
    end
    return again
end

local pending = {}
for _, check in ipairs(chosen) do
    for _ = 1, other.times or check.times or 1 do
        pending[#pending + 1] = check
    end
end
run_all(pending)
for _ = 2, ATTEMPTS do
    local late = take_late()
    if #late == 0 then
        break
    end
    run_all(late)
end

local function hold(check, promise)
    local failed, why
    for n, run in ipairs(check.runs) do
        local kept, message = pcall(promise[2], run)
        if not kept then
            failed, why = run, ("run %d of %d: %s"):format(n, #check.runs, tostring(message))
            break
        end
    end
    t.ok(not failed, ("scripts/%s%s: %s"):format(check.script, by, promise[1]))
    if failed then
        t.diag(why)
        t.diag(failed)
    end
end

for _, check in ipairs(chosen) do
    for _, promise in ipairs(check) do
        hold(check, promise)
    end
end

if filter == "" then
    local without = {}
    local files = shell(("cd %s/scripts && find . -name '*.lua'"):format(quoted(top)))
    for script in files:gmatch("%./([^\n]+)") do
        if not checks[script] then
            without[#without + 1] = script
        end
    end
    t.is(without, {}, "every script is checked")
end
t.done()
