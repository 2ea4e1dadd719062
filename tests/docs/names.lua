-- docs/from-python.md and docs/from-lua.md: each name of theirs has a name of ours beside it that is
-- exported, or a dash. Each name of Python's exists there, and none of its public ones is missing.

local t = require "tap"
local markdown = require "markdown"
local members = require "luamp.members"

local source = os.getenv "top_srcdir" or "."

-- What the page calls an object, and one of its class.
local ended = process.spawn(function() end)
ended:join()
local workers = pool.Pool(1)
local running = thread.Thread{target = function() end}:start()
local listener = assert(ipc.Listener("@luamp-names-" .. process.getpid()))
local block = assert(ipc.SharedMemory{create = true, size = 1})
process.atexit(function() block:unlink() end)

local known = {
    process = process, signal = signal, sync = sync, ipc = ipc, pool = pool, thread = thread,
    members = members,

    array = ipc.Array("i", 1), barrier = sync.Barrier(1), chars = ipc.Array("c", "x"),
    cond = sync.Condition(), conn = ipc.Pipe(), dict = ipc.Dict(), event = sync.Event(),
    jq = ipc.JoinableQueue(), list = ipc.List(), listener = listener, lock = sync.Lock(),
    proc = ended, q = ipc.Queue(), result = workers:apply_async(function() end),
    sem = sync.BoundedSemaphore(), shm = block, t = running, timer = thread.Timer(60, print),
    value = ipc.Value("i"), workers = workers,
}

-- Names of ours in a text: {"q", ":", "get"}.
local function names_in(text)
    local names = {}
    for _, code in ipairs(markdown.code(text)) do
        for object, sign, name in code:gmatch "%f[%w_]([%a_][%w_]*)([.:])([%a_][%w_]*)" do
            if known[object] then
                names[#names + 1] = {object, sign, name}
            end
        end
    end
    return names
end

local function is_exported(object, sign, name)
    local value = known[object][name]
    if sign == ":" then
        return type(value) == "function"
    end
    return value ~= nil
end

-- Rows of a page whose first cell has a name of theirs: all but heads of tables and their rules.
local function rows_of(page)
    local list = {}
    for _, row in ipairs(markdown.read(source .. "/" .. page).rows) do
        if row.cells[1]:find "^`" then
            list[#list + 1] = row
        end
    end
    return list
end

local from_python = rows_of "docs/from-python.md"
t.ok(#from_python > 100, "the tables are found")

for _, page in ipairs{"docs/from-python.md", "docs/from-lua.md"} do
    t.test(page .. ": each name has a name of ours that is exported, or a dash", function()
        for _, row in ipairs(rows_of(page)) do
            local where = ("%s:%d: %s"):format(page, row.line, row.cells[1])
            if #row.cells ~= 3 then
                t.ok(false, where .. ": three cells")
            end
            -- Python's first table has what is returned in its second cell, and our names in the third.
            local ours = row.section == "What differs everywhere" and row.cells[3] or row.cells[2]
            local names = names_in(ours)
            if ours ~= "—" and (#names == 0 or #names ~= #markdown.code(ours)) then
                t.ok(false, where .. ": all in the cell are names of ours, or it is a dash: " .. ours)
            end
            for _, name in ipairs(names) do
                if not is_exported(table.unpack(name)) then
                    t.ok(false, where .. ": is exported: " .. table.concat(name))
                end
            end
        end
    end)

    t.test(page .. ": the remarks name only what is exported, too", function()
        for _, row in ipairs(rows_of(page)) do
            for _, name in ipairs(names_in(row.cells[3])) do
                if not is_exported(table.unpack(name)) then
                    t.ok(false, ("%s:%d: %s"):format(page, row.line, table.concat(name)))
                end
            end
        end
    end)
end

-- Public names of Python's modules, as of its version 3.11.
local PYTHON = {
    multiprocessing = [[
        Array AuthenticationError Barrier BoundedSemaphore BufferTooShort Condition Event JoinableQueue
        Lock Manager Pipe Pool Process ProcessError Queue RLock RawArray RawValue Semaphore SimpleQueue
        TimeoutError Value active_children allow_connection_pickling cpu_count current_process
        freeze_support get_all_start_methods get_context get_logger get_start_method log_to_stderr
        parent_process reducer set_executable set_forkserver_preload set_start_method]],
    ["multiprocessing.connection"] = "Client Listener Pipe wait Connection",
    ["multiprocessing.managers"] = "BaseManager SyncManager BaseProxy Token SharedMemoryManager",
    ["multiprocessing.pool"] = "Pool ThreadPool",
    ["multiprocessing.shared_memory"] = "SharedMemory ShareableList",
    queue = "Empty Full LifoQueue PriorityQueue Queue SimpleQueue",
    signal = [[
        SIG_DFL SIG_IGN alarm default_int_handler getitimer getsignal pause pidfd_send_signal
        pthread_kill pthread_sigmask raise_signal set_wakeup_fd setitimer siginterrupt signal sigpending
        sigtimedwait sigwait sigwaitinfo strsignal valid_signals]],
    threading = [[
        Barrier BoundedSemaphore BrokenBarrierError Condition Event ExceptHookArgs Lock RLock Semaphore
        TIMEOUT_MAX Thread ThreadError Timer active_count current_thread enumerate excepthook get_ident
        get_native_id getprofile gettrace local main_thread setprofile settrace stack_size]],
    Process = [[
        authkey close daemon exitcode ident is_alive join kill name pid run sentinel start terminate]],
    Thread = "daemon ident is_alive join name native_id run start",
    Pool = [[
        apply apply_async close imap imap_unordered join map map_async starmap starmap_async terminate]],
    AsyncResult = "get ready successful wait",
    Connection = [[
        close closed fileno poll readable recv recv_bytes recv_bytes_into send send_bytes writable]],
    Listener = "accept address close last_accepted",
    SharedMemory = "buf close name size unlink",
    Queue = [[
        put get put_nowait get_nowait qsize empty full close join_thread cancel_join_thread]],
    JoinableQueue = "task_done join",
    Barrier = "wait reset abort parties n_waiting broken",
    Condition = "wait wait_for notify notify_all",
    Event = "set clear is_set wait",
    Lock = "acquire release",
    Semaphore = "acquire release get_value",
    Synchronized = "value get_lock get_obj",
    SynchronizedString = "value raw",
    Timer = "cancel",
}

t.test("no public name of Python's is missing", function()
    local there = {}
    for _, row in ipairs(from_python) do
        for _, name in ipairs(markdown.code(row.cells[1])) do
            there[name] = true
        end
    end
    for owner, names in pairs(PYTHON) do
        for name in names:gmatch "%S+" do
            if not there[owner .. "." .. name] then
                t.ok(false, owner .. "." .. name .. " is in the table")
            end
        end
    end
end)

-- Names on its standard input, one a line; prints those that it does not know.
local ASK_PYTHON = [==[
import builtins, importlib, sys
import concurrent.futures, multiprocessing.connection, multiprocessing.pool, multiprocessing.queues
import multiprocessing.shared_memory, multiprocessing.managers, multiprocessing.sharedctypes
import multiprocessing.synchronize, threading

classes = {
    "AsyncResult": multiprocessing.pool.AsyncResult, "Barrier": threading.Barrier,
    "Condition": threading.Condition, "Connection": multiprocessing.connection.Connection,
    "Event": threading.Event, "Executor": concurrent.futures.Executor, "Future": concurrent.futures.Future,
    "JoinableQueue": multiprocessing.queues.JoinableQueue, "Listener": multiprocessing.connection.Listener,
    "Lock": type(threading.Lock()), "Pool": multiprocessing.pool.Pool,
    "Process": multiprocessing.Process, "Queue": multiprocessing.queues.Queue,
    "Semaphore": multiprocessing.Semaphore(), "SharedMemory": multiprocessing.shared_memory.SharedMemory,
    "SyncManager": multiprocessing.managers.SyncManager,
    "Synchronized": multiprocessing.sharedctypes.Synchronized,
    "SynchronizedString": multiprocessing.sharedctypes.SynchronizedString, "Thread": threading.Thread,
    "Timer": threading.Timer,
}

def known(name):
    parts = name.split(".")
    if parts[0] in classes:
        found, rest = classes[parts[0]], parts[1:]
    elif len(parts) == 1:
        return hasattr(builtins, name)
    else:
        found, rest = importlib.import_module(parts[0]), parts[1:]
    for part in rest:
        if found is threading.Lock:         # a function that makes one, until 3.13
            found = found()
        found = getattr(found, part, None)
        if found is None:
            return False
    return True

for name in sys.stdin.read().split():
    if not known(name):
        print(name)
]==]

t.test("each name of Python's exists there", function()
    if not os.execute "command -v python3 >/dev/null && python3 -c 'import multiprocessing' 2>/dev/null" then
        t.skip("the names are Python's", "there is no python3")
        return
    end
    local script, names = os.tmpname(), os.tmpname()
    process.atexit(function() os.remove(script) os.remove(names) end)
    do
        local f <close> = assert(io.open(script, "w"))
        f:write(ASK_PYTHON)
        local g <close> = assert(io.open(names, "w"))
        for _, row in ipairs(from_python) do
            for _, name in ipairs(markdown.code(row.cells[1])) do
                g:write(name, "\n")
            end
        end
    end
    local f = assert(io.popen(("python3 %s <%s 2>&1"):format(script, names)))
    t.is(f:read "a", "", "none is unknown")
    t.ok(f:close(), "it ran")
end)

workers:terminate()
workers:join()
listener:close()
t.done()
