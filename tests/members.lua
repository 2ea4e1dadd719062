-- members: somebody else for a test, be it a process or a thread.
--
--   local members = require "members"
--   local m = members.spawn(function() lock:acquire() end)
--   members.until_asleep(m)             it blocks, or will not be long
--   m:join()                            and what else processes and threads have in common
--
-- The variable MEMBERS of the environment says what they are: processes, or "threads". All that the
-- modules sync and ipc promise holds for both, so their tests run twice: in `make check` with processes,
-- in `make check-threads` with threads.
--
-- What a test has to keep to: a thread has copies of the function's upvalues. luamp's objects are the
-- same ones; what is changed in a table or a local stays there. And nobody can kill a thread:
--
--   members.test_of_processes(name, f)  as tap's test; skipped where members are threads

local t = require "tap"

local members = {kind = os.getenv("MEMBERS") or "processes"}
assert(members.kind == "processes" or members.kind == "threads", "MEMBERS=processes or threads")

function members.spawn(f, ...)
    if members.kind == "processes" then
        return process.spawn(f, ...)
    end
    return thread.Thread{target = f, args = table.pack(...)}:start()
end

-- The kernel's letter for what the member does; nil before it has begun.
local function state_of(m)
    local path = members.kind == "processes" and ("/proc/%d/stat"):format(m.pid)
        or ("/proc/self/task/%d/stat"):format(m.native_id or 0)
    local f <close> = io.open(path)
    return f and f:read("a"):match("%) (%a)")
end

-- Waits until the member, which has said that it is about to block, does.
function members.until_asleep(m)
    repeat
        process.sleep(0.002)
    until state_of(m) == "S"
end

function members.test_of_processes(name, f)
    if members.kind == "processes" then
        t.test(name, f)
    else
        t.skip(name, "a process is killed, or ends with a status of its own")
    end
end

-- The end of a member that holds something, from outside: a process is killed; a thread waits for the
-- event, and then its function ends without giving anything back.
function members.finish(m, event)
    if members.kind == "processes" then
        m:kill()
    else
        event:set()
    end
end

-- The same, as the last act of the member's function itself.
function members.die()
    if members.kind == "processes" then
        signal.kill(process.getpid(), signal.SIGKILL)
    end
end

-- What a report calls it.
function members.name_of(m)
    return members.kind == "processes" and m.name or m.name .. " in MainProcess"
end

return members
