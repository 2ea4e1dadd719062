-- The Test Anything Protocol for the project's Lua tests.
--
--     local t = require "tap"
--     t.plan(3)                                -- optional: without it, done() prints the plan
--     t.ok(cond, "promise")
--     t.is(got, expected, "promise")           -- tables are compared in depth
--     t.same(a, b)                             -- true when t.is would hold
--     t.raises(f, "pattern", "promise")        -- f's error, as text, matches the Lua pattern
--     t.skip("promise", "why")
--     t.test("promise", function() ... end)    -- holds if nothing is raised and all inside holds
--     t.test_of_forks("promise", f)            -- one that forks beside threads; see there
--     t.diag("a line for the reader")
--     t.done()                                     -- last: the exit status is 1 if anything failed
--
-- A forked child of a test may call the same functions, and so may a thread, which loads a copy of
-- this file of its own. They print comments only, since numbers and plan belong to the main thread of
-- the process that loaded this file first; what fails in them is written to a file, and done()
-- reports it there as a failure of the whole test.

local tap = {}

local function first_number(path)
    local f <close> = assert(io.open(path))
    return f:read("n")
end

local function gettid()
    return first_number("/proc/thread-self/stat")
end

local pid = first_number("/proc/self/stat")
local in_thread = gettid() ~= pid -- and so this is its own copy
local owner = not in_thread and pid
local planned
local count, failures = 0, 0
local from_children = assert(io.tmpfile())
from_children:setvbuf("no")
-- A thread cannot have that file; the last of these is of another process with our number.
local from_threads = ("%s/luamp-tap-%d"):format(os.getenv("TMPDIR") or "/tmp", pid)
if not in_thread then
    os.remove(from_threads)
end

local function put(text)
    io.stdout:write(text .. "\n")
    io.stdout:flush()
end

function tap.diag(text)
    put("# " .. tostring(text):gsub("\n", "\n# "))
end

local function report(cond, name, directive)
    name = tostring(name or "unnamed")
    local verdict = cond and "ok" or "not ok"
    local promise = name .. (directive or "")
    if gettid() == owner then
        count = count + 1
        put(("%s %d - %s"):format(verdict, count, promise))
    else
        put(("# in a %s: %s - %s"):format(in_thread and "thread" or "child", verdict, promise))
        if not cond then
            local line = name:gsub("\n", " ") .. "\n"
            if in_thread then
                local f <close> = assert(io.open(from_threads, "a"))
                f:write(line)
            else
                from_children:write(line)
            end
        end
    end
    if not cond then
        failures = failures + 1
    end
    return cond
end

-- where the test called: the first caller outside of this file
local function caller()
    for level = 2, 20 do
        local info = debug.getinfo(level, "Sl")
        if not info then
            break
        end
        if info.source ~= debug.getinfo(1, "S").source and info.currentline > 0 then
            return ("at %s:%d"):format(info.short_src, info.currentline)
        end
    end
    return "at an unknown place"
end

local function show(value, seen)
    if type(value) == "string" then
        return ("%q"):format(value):gsub("\\\n", "\\n")
    elseif type(value) ~= "table" or (getmetatable(value) or {}).__tostring then
        return tostring(value)
    end
    seen = seen or {}
    if seen[value] then
        return "<the same table>"
    end
    seen[value] = true
    local parts, positional = {}, #value
    for i = 1, positional do
        parts[i] = show(value[i], seen)
    end
    local named = {}
    for k, v in pairs(value) do
        if not (math.type(k) == "integer" and k >= 1 and k <= positional) then
            named[#named + 1] = ("[%s] = %s"):format(show(k, seen), show(v, seen))
        end
    end
    table.sort(named)
    table.move(named, 1, #named, #parts + 1, parts)
    return "{" .. table.concat(parts, ", ") .. "}"
end

-- Equal as by ==, and NaN equals NaN; tables by what is in them, cycles included.
local function same(a, b, seen)
    if a == b or (a ~= a and b ~= b) then
        return true
    elseif type(a) ~= "table" or type(b) ~= "table" then
        return false
    elseif seen[a] then
        return seen[a] == b
    end
    seen[a] = b
    for k, v in pairs(a) do
        if not same(v, b[k], seen) then
            return false
        end
    end
    for k in pairs(b) do
        if a[k] == nil then
            return false
        end
    end
    return true
end

function tap.same(a, b)
    return same(a, b, {})
end

function tap.plan(n)
    planned = n
    if gettid() == owner then
        put("1.." .. n)
    end
end

function tap.ok(cond, name)
    cond = not not cond
    report(cond, name)
    if not cond then
        tap.diag(caller())
    end
    return cond
end

function tap.is(got, expected, name)
    local equal = same(got, expected, {})
    report(equal, name)
    if not equal then
        tap.diag("     got: " .. show(got))
        tap.diag("expected: " .. show(expected))
        tap.diag(caller())
    end
    return equal
end

function tap.raises(f, pattern, name)
    local finished, message = pcall(f)
    local text = tostring(message)
    local raised = not finished and text:find(pattern) ~= nil
    report(raised, name)
    if not raised then
        tap.diag(finished and "no error was raised" or "     got: " .. text)
        tap.diag("expected: an error that matches " .. show(pattern))
        tap.diag(caller())
    end
    return raised
end

function tap.skip(name, why)
    report(true, name, " # SKIP " .. tostring(why))
end

function tap.test(name, f)
    local failed_before = failures
    local finished, trace = xpcall(f, function(e) return debug.traceback(tostring(e), 2) end)
    report(finished and failures == failed_before, name)
    if not finished then
        tap.diag(trace)
    end
    return finished
end

-- Is this program built with the address sanitizer?
function tap.is_sanitized()
    local f <close> = assert(io.open("/proc/self/maps"))
    return f:read("a"):find("libasan", 1, true) ~= nil
end

-- As test, for one that forks while there are threads, or just were. Under the address sanitizer of
-- gcc 12 the child may hang (docs/quirks.md): then it is not run, unless THREAD_FORK says so.
function tap.test_of_forks(name, f)
    if tap.is_sanitized() and not os.getenv "THREAD_FORK" then
        tap.skip(name, "the address sanitizer may hang in the child")
    else
        tap.test(name, f)
    end
end

-- The same for a whole file, whose first call it is.
function tap.file_of_forks(name)
    if tap.is_sanitized() and not os.getenv "THREAD_FORK" then
        tap.skip(name, "the address sanitizer may hang in the child")
        tap.done()
    end
end

function tap.done()
    if gettid() ~= owner then
        return
    end
    from_children:seek("set")
    local in_children = 0
    local function add(file, where)
        for name in file:lines() do
            tap.diag("failed in a " .. where .. ": " .. name)
            in_children = in_children + 1
        end
    end
    add(from_children, "child")
    local file = io.open(from_threads)
    if file then
        add(file, "thread")
        file:close()
        os.remove(from_threads)
    end
    if not planned then
        if in_children > 0 then
            report(false, "what was checked in children holds")
        end
        put("1.." .. count)
    elseif count ~= planned then
        tap.diag(("planned %d, ran %d"):format(planned, count))
    end
    local passed = failures == 0 and in_children == 0 and (not planned or count == planned)
    local process = package.loaded["luamp.process"]
    if process then
        process.exit(passed)
    else
        os.exit(passed, true)
    end
end

return tap
