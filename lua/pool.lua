-- pool: worker processes that run functions.
--
-- Tasks and results are two queues in shared memory. A worker takes a task under a lease, which
-- says in shared memory what it works on; it puts the result, and then gives the lease back.
-- Workers need nobody to go on; the process that made the pool collects results, runs callbacks and
-- replaces the dead, inside of its own calls (`pump`). A worker that died is looked at in this
-- order: its results are collected, then its lease is read: a task in it that has no result yet is
-- tried again, or fails. A result that comes twice is known by its number.
--
-- The items of a list go to the workers and come back by native code (src/bind/items.c, worker.c), as
-- long as all goes well. Any other message is a number and values:
--   task    "call", f, args, kwargs        -> what one call returns
--           "items", f, list, n, spread    -> what the calls for each item return
--           "range", first, last           -> the same, for items of the list that the workers
--                                             inherited by their fork
--   result  "ok", ...                      the values
--           "error", value, text, traceback, worker
--                                          the call failed
--           "items", values, n, errors, more
--                                          values[i] is the first that a call returned; where it
--                                          returned another number of values than one, more[i] is
--                                          the packed list; where it failed, errors[i] is {value,
--                                          text, traceback, worker}
-- Number 0 is the pool's: "broken", and what an error has: an initializer failed.
--
-- What changes the state of a pool runs without handlers of signals and without finalizers
-- (native.undisturbed): one that raises must not leave a result half noted, and one that uses the pool
-- must not find it so. What the user wrote, callbacks and iterators, runs with them. Only a module that
-- is loaded because a result refers to it can use the pool while the pool is at work.

local native = ...
local process, signal, processes = native.process, native.signal, native.processes

local DEATHS_WITHOUT_RESULT = 16 -- a worker, in a row: then the pool is broken
local READ_AHEAD = 2 -- chunks for each worker, of an iterator that is read as needed
local LIST_AHEAD = 16 -- the same of a list, whose results are held until they are asked for
local LIST_AHEAD_FAST = 128 -- and where half of what is ahead is taken in less than so many seconds
local FAST = 0.001
local CHUNKS_AHEAD, ITEMS_AHEAD = 32, 512 -- the same of a list whose results are waited for: the
                                         -- larger one
local LARGEST_CHUNK = 4096 -- where the pool chooses: more is not faster, and balances worse
local RESULTS_AT_ONCE = 16 -- of calls: no garbage is collected while they are taken
local GRACE = 1 -- seconds that a terminated worker has
local HIRE_AGAIN = 1 -- after so many seconds, when a worker could not be started

local Pool, Result = {}, {}
Pool.__index, Pool.__name = Pool, "Pool"
Result.__index, Result.__name = Result, "AsyncResult"
Pool.__stays = "a pool belongs to the process that made it" -- what is told when it is to be sent
Result.__stays = "a pool's result belongs to the process that made the pool"

-- The worker --------------------------------------------------------------------------------------

local function describe_error(e)
  if type(e) == "string" then return e end
  local mt = getmetatable(e)
  if type(mt) == "table" and mt.__tostring then return tostring(e) end
  return ("(error object is a %s value)"):format(type(e))
end

-- A message handler: the error, its text, a hint if there is one and the worker's traceback, and who it is.
local function failure(e)
  local worker = ("%s (pid %d)"):format(process.current_process().name, process.getpid())
  return {e, describe_error(e), processes.trace(e), worker}
end

-- What a message handler gave, or could not for want of stack or memory.
local function as_failure(e)
  return type(e) == "table" and e or {e, describe_error(e), ""}
end

local call_with = processes.call_with

local function call_spread(f, list, i)
  local item = list[i]
  if type(item) ~= "table" then
    error("starmap wants each item to be a list of arguments, not a " .. type(item), 0)
  end
  return call_with(f, item)
end

local function call_indexed(f, list, i)
  return f(list[i])
end

local function outcome(ok, ...)
  if ok then return "ok", ... end
  local e = as_failure((...))
  return "error", table.unpack(e, 1, 4)
end

local function run_task(inherited, kind, f, ...)
  if kind == "call" then
    local args, kwargs = ...
    return outcome(xpcall(native.run_call, failure, f, args, kwargs))
  elseif kind == "items" then
    local list, n, spread = ...
    return "items", native.run_items(failure, f, list, 1, n, spread and call_spread or nil)
  elseif kind == "range" then
    local list, first, last = inherited.list, f, ...
    local how = getmetatable(list) ~= nil and call_indexed or nil
    return "items", native.run_items(failure, inherited.f, list, first, last, how)
  end
  -- It could not be received: kind is false, and this is why. Where a class is not known, it is late to say so here.
  local why = describe_error(f):gsub("make it known with ipc%.register_class$",
                                     "register it before the pool is made, so that its workers know it")
  return "error", why, why, ""
end

-- An error whose value cannot be sent goes as its text, or where it has none, as why.
local function sendable_error(e)
  e = as_failure(e)
  local can, why = pcall(native.sendable, e[1])
  if can then return e end
  local text = e[2]
  if type(why) == "string" and text == ("(error object is a %s value)"):format(type(e[1])) then
    text = ("(error object is a %s value; %s)"):format(type(e[1]), why:gsub("^.-cannot send result", "cannot send error"))
  end
  return {text, text, e[3], e[4]}
end

-- Puts a result. One that cannot be sent becomes an error of its task, or of its item.
local function put_result(results, number, kind, ...)
  local ok, message = pcall(native.put, results, number, kind, ...)
  if ok then return end
  if kind == "ok" then
    message = message:gsub("^cannot send args%[(%d+)%]", function(i)
      return ("cannot send result[%d]"):format(i - 1)
    end)
    native.put(results, number, "error", message, message, "")
  elseif kind == "error" then
    local e = sendable_error({...})
    native.put(results, number, "error", table.unpack(e, 1, 4))
  else
    local values, n, errors, more = ...
    errors, more = errors or {}, more or {}
    for i = 1, n do
      if errors[i] then
        errors[i] = sendable_error(errors[i])
      else
        local all = more[i] or {values[i]}
        local can, why = pcall(native.sendable, all)
        if not can then
          values[i], more[i], errors[i] = nil, nil, {why, why, ""}
        end
      end
    end
    local why
    ok, why = pcall(native.put, results, number, "items", values, n, errors, more)
    if ok then return end
    for i = 1, n do errors[i] = errors[i] or {why, why, ""} end -- there is no room for all
    native.put(results, number, "items", {}, n, errors)
  end
end

local function work(settings, lease)
  native.leave_interrupts() -- the main process alone decides what Ctrl-C does
  local tasks, results = settings.tasks, settings.results
  if settings.initializer then
    local ok, e = xpcall(call_with, failure, settings.initializer, settings.initargs or {})
    if not ok then
      e = sendable_error(e)
      native.put(results, 0, "broken", table.unpack(e, 1, 4))
      return
    end
  end
  local left, limit = settings.maxtasksperchild or math.maxinteger, settings.timeout
  local function finish(number, ...)
    if limit then native.unlimited(tasks, lease) end
    put_result(results, number, ...)
    native.lease_done(tasks, lease)
  end
  local function see_to(ran, number, kind, ...)
    left = left - ran
    if number == nil then return false end
    left = left - 1
    if kind == "ran" then
      finish(number, "items", ...)
    else
      finish(number, run_task(settings.inherited, kind, ...))
    end
    return left > 0
  end
  while see_to(native.serve(tasks, lease, results, failure, call_spread, limit, left)) do end
end

-- The pool: workers -------------------------------------------------------------------------------

local function start_worker(self, lease)
  local settings = self.settings
  self.hired = self.hired + 1
  local worker = process.Process{
    name = ("%s-%d"):format(self.name, self.hired),
    target = work, args = {settings, lease},
  }
  processes.make_worker(worker)
  local started, why = worker:start()
  return started and worker, why
end

-- The lease's place is taken before: where there is no memory to note a worker, none is started.
local function hire(self, lease)
  self.workers[lease] = false
  local ok, worker, why = pcall(start_worker, self, lease)
  self.workers[lease] = ok and worker or nil
  if not ok then error(worker, 0) end
  return worker, why
end

-- A worker for each lease that has none. Where one cannot be started the others go on, and it is tried again later.
local function hire_missing(self)
  self.hire_at = process.monotonic() + HIRE_AGAIN
  for lease = 0, self.size - 1 do
    if self.workers[lease] == nil then
      local worker, why = hire(self, lease)
      if not worker then return false, why end
    end
  end
  self.hire_at = nil
  return true
end

-- The job, which has left the pool's, ends with an error: what is on its way, and what was not given.
local function give_up_job(job, e)
  local is_cut = native.abandon(job.items, job.errors, e)
  job.ended(is_cut and e or nil)
end

-- The job at this place leaves the pool's.
local function remove_job(self, place)
  table.remove(self.lists, place)
  return table.remove(self.jobs, place)
end

local function fail_all(self, ...)
  local pending = self.pending
  self.pending, self.n_pending = {}, 0
  for _, task in pairs(pending) do
    task.failed(...)
  end
  while #self.jobs > 0 do give_up_job(remove_job(self, #self.jobs), {...}) end
end

local function end_workers(self)
  for lease = 0, self.size - 1 do
    local worker = self.workers[lease]
    if worker then worker:terminate() end
  end
  local deadline = process.monotonic() + GRACE
  for lease = 0, self.size - 1 do
    local worker = self.workers[lease]
    if worker then
      if not worker:join(math.max(0, deadline - process.monotonic())) then
        worker:kill()
        worker:join()
      end
      self.workers[lease] = nil
    end
  end
end

local function break_pool(self, ...)
  self.broken = {...}
  end_workers(self)
  fail_all(self, ...)
end

-- What cannot be sent ----------------------------------------------------------------------------

-- The places of a task's values in its message, as its user knows them.
local places = {
  call = {[2] = "f", [3] = "args", [4] = "kwargs"},
  items = {[2] = "f", [3] = "list"},
}

-- What a value that cannot be sent is told as, in the user's terms; `first` is the number of the list's
-- first item in the message. Any other error is raised.
local function unsendable(message, kind, first)
  if type(message) ~= "string" or not message:find "cannot send %a+%[%d+%]" then
    error(message, 0)
  end
  message = message:match "cannot send .*"
  message = message:gsub("^cannot send list%[(%d+)%]", function(item)
    return ("cannot send list[%d]"):format(item + first - 1)
  end)
  return (message:gsub("^cannot send args%[(%d+)%](%[?)(%d*)", function(i, bracket, item)
    local place = places[kind][tonumber(i)]
    if place == "list" and item ~= "" then item = item + first - 1 end
    return ("cannot send %s%s%s"):format(place, bracket, item)
  end))
end

-- Gives a task once more. What is given may have changed, and be what cannot be sent.
local function put_again(kind, first, put, ...)
  local ok, why = pcall(put, ...)
  if not ok then error(unsendable(why, kind, first), 0) end
end

-- Results -----------------------------------------------------------------------------------------

-- The place of a job among the pool's, nil when it has left.
local function place_of(self, job)
  for place = #self.jobs, 1, -1 do
    if self.jobs[place] == job then return place end
  end
end

-- Looks whether the job at this place is done with, or is to give more. One whose items are taken leaves
-- when nothing of it is on its way: it gives more when it is asked for more, which may never be.
local function follow_job(self, place)
  local job = self.jobs[place]
  local chunks, given, settled, is_hungry = native.progress(job.items)
  if settled == chunks or job.is_taken and settled == given then
    remove_job(self, place)
    job.ended()
  elseif is_hungry and not job.is_taken then
    self.hungry[job] = true
  end
end

-- Notes that the n items from the first one on have failed, and how; of a job whose values all go together one
-- is enough.
local function note_failure(job, first, n, ...)
  local e = {...}
  for item = first, job.is_taken and first + n - 1 or first do job.errors[item] = e end
end

-- Notes what came of the n items from the first one on.
local function note_items(job, first, n, values, _, errors, more)
  native.copy(values, 1, n, job.values, first)
  for i = 1, n do
    local item = first + i - 1
    if errors and errors[i] then job.errors[item] = errors[i] end
    if more and more[i] and job.is_taken then job.more[item] = more[i] end
  end
end

-- What came of the chunk with this first item is noted.
local function end_chunk(self, job, first)
  native.settle(job.items, first)
  local place = place_of(self, job)
  if place then follow_job(self, place) end
end

-- The chunk with this number, if it has no result yet: its job, its first item and its length. It has no table
-- of its own, which could not be made where memory is short.
local function find_chunk(self, number)
  local place, first, n = native.owner(self.lists, number)
  if place then return self.jobs[place], first, n end
end

local function forget_task(self, number)
  self.pending[number], self.n_pending = nil, self.n_pending - 1
end

local function settle(self, number, kind, ...)
  if number == 0 then
    if not self.broken then break_pool(self, ...) end
    return
  end
  local task = self.pending[number]
  local job, first, n = find_chunk(self, number)
  if not task and not job then return end -- a second result of a task that was tried again
  self.tries[number] = nil
  self.deaths = 0
  -- It comes only once: where stack or memory are short, that is the task's result.
  if task then
    forget_task(self, number)
    local ok, e = pcall(kind == "ok" and task.done or kind == "items" and task.items or task.failed, ...)
    if not ok then task.failed(e, describe_error(e), "") end
  else
    local ok, e = pcall(kind == "items" and note_items or note_failure, job, first, n, ...)
    if not ok then note_failure(job, first, n, e, describe_error(e), "") end
    end_chunk(self, job, first)
  end
end

local function note(self, settled, number, kind, ...)
  if settled > 0 then
    self.deaths = 0
    for place = #self.jobs, 1, -1 do follow_job(self, place) end
  end
  if number == nil then return settled > 0 end
  if kind == false then -- it could not be received: this is why
    settle(self, number, "error", ..., describe_error((...)), "")
  else
    settle(self, number, kind, ...)
  end
  return true
end

local function take_results(self)
  return note(self, native.collect(self.settings.results, self.lists))
end

-- The same, where the result that is taken is not lost for want of memory, wherever that is: it comes only once, so
-- then this is the task's result. native.collect notes in lists[0] the number of each that it takes. A module that is
-- loaded for a result may take others meanwhile.
local function take_results_safely(self)
  local lists = self.lists
  local outer = lists[0]
  lists[0] = false
  self.receiving = self.receiving + 1
  local ok, any = pcall(take_results, self)
  self.receiving = self.receiving - 1
  local number = lists[0]
  lists[0] = outer
  if ok then return any end
  note(self, 1) -- chunks may have been settled before
  if not number or not self.pending[number] and not find_chunk(self, number) then error(any, 0) end
  settle(self, number, "error", any, describe_error(any), "")
  return true
end

-- Takes the results that are there; unless it is to be all, no more than RESULTS_AT_ONCE, and not longer
-- than until something can be given to the workers. Was there any?
local function collect(self, all)
  local any = false
  for _ = 1, all and math.maxinteger or RESULTS_AT_ONCE do
    if not take_results_safely(self) then break end
    any = true
    if not all and next(self.hungry) then break end
  end
  return any
end

-- How many tasks the workers were given that have no result yet.
local function count_under_way(self)
  local n = self.n_pending
  for _, items in ipairs(self.lists) do
    local _, given, settled = native.progress(items)
    n = n + given - settled
  end
  return n
end

local function has_work(self)
  return self.n_pending > 0 or #self.jobs > 0
end

local function how_it_ended(worker)
  local code = worker.exitcode
  if code == nil then return "has ended" end
  if code < 0 then
    return ("was ended by signal %d (%s)"):format(-code, signal.strsignal(-code))
  end
  return ("ended with exit status %d"):format(code)
end

-- The task's worker died.
local function give_again(self, number)
  local task, job, first = self.pending[number], find_chunk(self, number)
  if task then
    task.again()
  elseif job then
    put_again("items", first, native.give_again, self.settings.tasks, job.items, number)
  end
end

-- The same, and it is not tried again.
local function fail_task(self, number, e)
  local text = describe_error(e)
  local task = self.pending[number]
  local job, first, n = find_chunk(self, number)
  self.tries[number] = nil
  if task then
    forget_task(self, number)
    task.failed(e, text, "")
  elseif job then
    note_failure(job, first, n, e, text, "")
    end_chunk(self, job, first)
  end
end

local function wants_workers(self)
  return not self.broken and (self.state == "running" or has_work(self))
end

-- A worker is dead: what it worked on is tried again or fails, and another takes its place.
local function bury(self, lease)
  local worker = self.workers[lease]
  worker:join()
  collect(self, true) -- what it put before it died
  if self.workers[lease] ~= worker then return end -- the pool was broken by that, or a module used it
  self.workers[lease] = nil
  local number, overdue = native.lease_task(self.settings.tasks, lease)
  native.lease_done(self.settings.tasks, lease)
  if self.pending[number] or find_chunk(self, number) then -- none has number 0
    local tries = self.tries[number] or 0
    if self.settings.timeout and overdue then
      fail_task(self, number, ("task timeout: %s (pid %d) was ended after %g seconds"):format(
        worker.name, worker.pid, self.settings.timeout))
    elseif tries < self.retries then
      self.tries[number] = tries + 1
      local ok, e = pcall(give_again, self, number)
      if not ok then fail_task(self, number, e) end
    else
      fail_task(self, number, ("worker lost: %s (pid %d) %s"):format(worker.name, worker.pid,
                                                                     how_it_ended(worker)))
    end
  elseif worker.exitcode ~= 0 then
    self.deaths = self.deaths + 1
    if self.deaths > DEATHS_WITHOUT_RESULT * self.size then
      local text = "pool broken: its workers die before they do anything; the last one, "
        .. worker.name .. ", " .. how_it_ended(worker)
      break_pool(self, text, text, "")
      return
    end
  end
  if wants_workers(self) then hire_missing(self) end -- without any, tend() tells
end

-- Collects results, and when there are none looks after the workers. Was there anything, and the
-- workers that live.
local function tend(self)
  if collect(self) then return true end
  local any, lives = false, {}
  for lease = 0, self.size - 1 do
    local worker = self.workers[lease]
    if worker and not processes.lives(worker._process.child) then
      bury(self, lease)
      any = true
      worker = self.workers[lease]
    end
    if worker then lives[#lives + 1] = worker._process.child end
  end
  if self.hire_at and process.monotonic() >= self.hire_at then
    self.hire_at = nil
    if wants_workers(self) then hire_missing(self) end
    any = true
  end
  if #lives == 0 and has_work(self) then
    local hired, why = hire_missing(self)
    if not hired and not next(self.workers) then
      local text = "pool broken: no worker can be started: " .. why
      break_pool(self, text, text, "")
    end
    any = true
  end
  return any, lives
end

local function run_callback(f, ...)
  local ok, message = xpcall(f, processes.traceback, ...)
  if ok then return end
  if processes.is_interrupt(message) then error(message, 0) end
  processes.report("error in a pool's callback: " .. message .. "\n")
end

local function feed(self, job)
  self.hungry[job] = nil
  job.feed()
end

-- Runs what the user wrote and results called for: callbacks, and iterators that are read on.
local function attend(self)
  local due = self.due
  while due.first <= due.last do
    local place = due.first
    local call = due[place]
    due.first = place + 1 -- first: a signal's handler may raise after each step
    due[place] = nil
    run_callback(call.f, table.unpack(call.values, 1, call.values.n))
  end
  local job = next(self.hungry)
  while job do
    local ok, e = pcall(feed, self, job)
    if not ok then
      self.hungry[job] = true
      error(e, 0)
    end
    job = next(self.hungry)
  end
end

-- Waits until done() is true: false when the time is over.
local function pump_until(self, done, timeout)
  local deadline, since = timeout and process.monotonic() + timeout, nil
  while true do
    attend(self)
    if done() then return true end
    local any, lives = native.undisturbed(tend, self)
    if any then
      since = nil
    elseif not done() then
      local now = process.monotonic()
      local left = deadline and deadline - now
      if left and left <= 0 then return false end
      if self.receiving > 0 and count_under_way(self) <= self.receiving then -- nothing else is to come
        error("this result cannot be waited for: it is being received, and this module is loaded for it", 0)
      end
      if self.hire_at then left = math.min(left or HIRE_AGAIN, math.max(0, self.hire_at - now)) end
      since = native.wait(self.settings.results, lives, left, since)
    end
  end
end

-- Submitting --------------------------------------------------------------------------------------

-- The checks of a method's arguments: each raises at the method's caller.

-- An integer where it is one but for its type, as cpu_count() / 2 may be.
local function to_integer(value)
  return math.type(value) == "float" and math.tointeger(value) or value
end

-- What a value is called: an object of luamp's by its class.
local function kind_of(value)
  local mt = type(value) == "userdata" and getmetatable(value)
  return type(mt) == "table" and type(mt.__name) == "string" and mt.__name or type(value)
end

local function check_pool(self, method)
  if type(self) ~= "table" or getmetatable(self) ~= Pool then
    error(("'%s' wants a pool to its left; call it with a colon: p:%s(...)"):format(
            method, method), 3)
  end
end

local function check_running(self)
  if process.getpid() ~= self.pid then
    error("a pool belongs to the process that made it", 3)
  elseif self.state == "ended" then
    error("pool terminated", 3)
  elseif self.broken then
    error(self.broken[1], 0)
  elseif self.state == "closed" then
    error("the pool is closed; no more tasks can be given to it", 3)
  end
end

local function can_call(f)
  local mt = type(f) ~= "function" and getmetatable(f)
  return type(f) == "function" or type(mt) == "table" and mt.__call ~= nil
end

local function check_function(f, method)
  if not can_call(f) then
    error(("%s wants a function, not a %s"):format(method, type(f)), 3)
  end
end

local function check_callbacks(callback, error_callback)
  if callback ~= nil and not can_call(callback) then
    error(("a callback is a function, not a %s"):format(type(callback)), 3)
  elseif error_callback ~= nil and not can_call(error_callback) then
    error(("an error_callback is a function, not a %s"):format(type(error_callback)), 3)
  end
end

-- Callbacks among the options of a map go to its caller; here they would go to the function.
local function check_no_callbacks(kwargs)
  if next(kwargs) == nil then return end
  for option, f in pairs(kwargs) do
    if option ~= "callback" and option ~= "error_callback" or not can_call(f) then return end
  end
  error("apply_async takes callbacks after the kwargs: p:apply_async(f, args, nil, callback, error_callback)", 3)
end

local function check_arguments(method, args, kwargs)
  if args ~= nil and type(args) ~= "table" then
    error(("%s wants its arguments as a list, not a %s"):format(method, type(args)), 3)
  elseif kwargs ~= nil and type(kwargs) ~= "table" then
    error(("%s wants its kwargs as a table, not a %s"):format(method, type(kwargs)), 3)
  end
end

-- A table, or a list or array that processes share.
local function is_list(value)
  local kind = kind_of(value)
  return kind == "table" or kind == "List" or kind == "Array"
end

local function check_list(list, method)
  if not is_list(list) and type(list) ~= "function" then
    error(("%s wants a list or an iterator, not a %s"):format(method, kind_of(list)), 3)
  end
end

local function check_timeout(timeout, method)
  if timeout ~= nil and type(timeout) ~= "number" then
    error(("%s takes a number of seconds, not a %s"):format(method, type(timeout)), 3)
  end
end

local map_options = {chunksize = true, callback = true, error_callback = true}

-- The chunk size, or a table of options in its place: what they say, nil where they do not.
local function check_chunks(given)
  local callback, error_callback
  if type(given) == "table" then
    for option in pairs(given) do
      if not map_options[option] then
        local meant = type(option) == "string" and processes.nearest(option, map_options)
        local hint = meant and "; did you mean '" .. meant .. "'?"
          or "; there are 'chunksize', 'callback' and 'error_callback'"
        error(("unknown option '%s'%s"):format(tostring(option), hint), 3)
      end
    end
    given, callback, error_callback = given.chunksize, given.callback, given.error_callback
  end
  if type(given) == "userdata" then
    error(("the third argument is the chunk size, not a %s; an iterator is one function: "
           .. "function() return (q:get()) end"):format(kind_of(given)), 3)
  end
  given = to_integer(given)
  if given ~= nil and (math.type(given) ~= "integer" or given < 1) then
    error("the chunk size is an integer, at least 1", 3)
  end
  return given, callback, error_callback
end

-- The first of n numbers, which nobody else gets.
local function take_numbers(self, n)
  local first = self.next_number
  self.next_number = first + n
  return first
end

local function enter_task(self, task, number)
  self.pending[number] = task
  self.n_pending = self.n_pending + 1
end

local TERMINATED = {"pool terminated", "pool terminated", ""}

-- What has to be raised now of a pool that a signal's handler, or what the user wrote, has ended since it
-- was looked at; as results have it.
local function why_over(self)
  local is_over = self.state == "ended" or self.is_dismissed
  return self.broken or is_over and TERMINATED or nil
end

local function check_still_there(self)
  local why = why_over(self)
  if why then error(why[1], 0) end
end

-- Gives a task to the workers. What cannot be sent is nil and a message that says so, in the user's
-- terms (see unsendable). Nothing has happened then.
local function submit(self, task, first, kind, ...)
  check_still_there(self)
  local number = take_numbers(self, 1)
  if self.retries > 0 then
    local message = table.pack(kind, ...)
    function task.again()
      put_again(kind, first, native.put, self.settings.tasks, number,
                table.unpack(message, 1, message.n))
    end
  end
  local ok, message = pcall(native.put, self.settings.tasks, number, kind, ...)
  if ok then
    enter_task(self, task, number)
    return true
  end
  return nil, unsendable(message, kind, first)
end

-- Results of tasks --------------------------------------------------------------------------------

local function new_result(pool, callback, error_callback)
  return setmetatable({pool = pool, callback = callback, error_callback = error_callback}, Result)
end

local function call_later(self, f, values)
  if f == nil then return end
  local due = self.due
  due[due.last + 1] = {f = f, values = values}
  due.last = due.last + 1
end

local function succeed(result, values)
  result.values = values
  result.state = "done"
  call_later(result.pool, result.callback, values)
end

-- `e` is {value, text, traceback, worker}; `item`, if any, is the number of the item that failed.
local function fail(result, e, item)
  e = as_failure(e)
  result.failure, result.item = e, item
  result.state = "failed"
  call_later(result.pool, result.error_callback, {n = 1, e[1]})
end

-- Raises the error's own value. Where nobody catches it, the item, the worker and its traceback are
-- told.
local function raise(e, item)
  local value, _, traceback, worker = table.unpack(as_failure(e), 1, 4)
  local lines = {}
  if item then lines[#lines + 1] = ("item %d of the list"):format(item) end
  if traceback and traceback ~= "" then
    local hint, stack = traceback:match "^(hint: [^\n]*)\n(.*)$"
    lines[#lines + 1] = hint
    lines[#lines + 1] = ("in %s, %s"):format(worker or "a worker", stack or traceback)
  end
  if traceback == "" and type(value) == "string" and value:find "^cannot receive " then
    value = processes.where() .. value -- the codec's, of a worker, which has no line
  end
  processes.note_remote(value, table.concat(lines, "\n"))
  error(value, 0)
end

local function check_result(self, method)
  if type(self) ~= "table" or getmetatable(self) ~= Result then
    error(("'%s' wants a result to its left; call it with a colon: r:%s(...)"):format(
            method, method), 3)
  elseif process.getpid() ~= self.pool.pid then
    error("a pool, and what it gives, belong to the process that made it", 3)
  end
end

-- True when it is settled by the timeout.
local function settled(self, timeout)
  return pump_until(self.pool, function() return self.state ~= nil end, timeout)
end

function Result:ready()
  check_result(self, "ready")
  return settled(self, 0)
end

function Result:wait(timeout)
  check_result(self, "wait")
  check_timeout(timeout, "wait")
  if settled(self, timeout) then return true end
  return false, "timeout"
end

function Result:get(timeout)
  check_result(self, "get")
  check_timeout(timeout, "get")
  if not settled(self, timeout) then
    return nil, "timeout"
  end
  if self.state == "failed" then raise(self.failure, self.item) end
  return table.unpack(self.values, 1, self.values.n)
end

function Result:successful()
  check_result(self, "successful")
  if not settled(self, 0) then
    error("the result is not ready yet", 2)
  end
  return self.state == "done"
end

function Result:traceback()
  check_result(self, "traceback")
  local f = settled(self, 0) and self.failure
  if not f then return nil end
  return f[2] .. "\n" .. f[3]
end

function Result:__tostring()
  return ("AsyncResult (%s)"):format(self.state or "pending")
end

-- One call ----------------------------------------------------------------------------------------

-- What cannot be sent is told at the caller of the method, which therefore must not call this as its last act.
local function apply(self, f, args, kwargs, callback, error_callback)
  local result = new_result(self, callback, error_callback)
  local sent, why = native.undisturbed(submit, self, {
    done = function(...) succeed(result, table.pack(...)) end,
    failed = function(...) fail(result, {...}) end,
  }, 0, "call", f, args or {}, kwargs)
  if not sent then error(why, 3) end
  return result
end

function Pool:apply_async(f, args, kwargs, callback, error_callback)
  check_pool(self, "apply_async")
  check_running(self)
  check_function(f, "apply_async")
  check_arguments("apply_async", args, kwargs)
  if callback == nil and error_callback == nil and kwargs ~= nil then check_no_callbacks(kwargs) end
  check_callbacks(callback, error_callback)
  local result = apply(self, f, args, kwargs, callback, error_callback)
  return result
end

function Pool:apply(f, args, kwargs)
  check_pool(self, "apply")
  check_running(self)
  check_function(f, "apply")
  check_arguments("apply", args, kwargs)
  local result = apply(self, f, args, kwargs)
  return result:get()
end

-- Many items --------------------------------------------------------------------------------------

-- A source of chunks: next() gives a list, its length and the index of its first item; nil at the
-- end, and the error when the iterator raised one. What was read stays read when a signal's handler
-- raises. next() is given an empty table, for it must make none: a finalizer that ran there and waited for the
-- pool would find the iterator in use.
local function chunks_of(list, size)
  local first = 1
  if type(list) ~= "function" then
    local length = #list
    local is_plain = getmetatable(list) == nil
    return function()
      local n = math.min(size, length - first + 1)
      if n <= 0 then return nil end
      local chunk = native.new_list(n)
      if is_plain then
        native.copy(list, first, n, chunk, 1)
      else
        table.move(list, first, first + n - 1, 1, chunk)
      end
      first = first + n
      return chunk, n, first - n
    end
  end
  local over, problem = false, nil
  local chunk, n = {}, 0
  return function(fresh)
    while not over and n < size do
      local ok, item = pcall(list)
      if ok and item ~= nil then
        chunk[n + 1], n = item, n + 1
      elseif not ok and processes.is_interrupt(item) then
        error(item, 0)
      else
        over = true
        if not ok then problem = {item, describe_error(item), ""} end
      end
    end
    if n == 0 then return nil, problem end
    local full, length = chunk, n
    chunk, n, first = fresh, 0, first + n
    return full, length, first - length
  end
end

-- How many of n items make a chunk, where the user leaves that to the pool.
local function default_size(self, n)
  return math.max(1, math.min(LARGEST_CHUNK, (n + 4 * self.size - 1) // (4 * self.size)))
end

-- A job: the chunks of one list or iterator on their way. At most `most` are given to the workers
-- and not yet done with; feed() reads and gives more. `came(first, n, values, errors, more)` and
-- `failed(first, n, e)` are told what became of a chunk, `ended(n, e)` that there are no more than
-- n items, and the error of the iterator if it raised one.
local function new_job(self, f, list, size, most, spread, handlers)
  local next_chunk = chunks_of(list, size)
  local job = {under_way = 0, n = 0, over = false}
  local reading = false
  local chunk, length, first -- read, and not yet given to the workers

  local function give()
    if why_over(self) then return end -- the iterator itself ended the pool
    local from, n = first, length
    local sent, why = submit(self, {
      items = function(values, count, errors, more)
        handlers.came(from, count, values, errors, more)
      end,
      failed = function(...) handlers.failed(from, n, {...}) end,
    }, from, "items", f, chunk, n, spread)
    job.n = from + n - 1
    job.under_way = job.under_way + 1
    chunk = nil
    if not sent then handlers.failed(from, n, {why, why, ""}) end
  end

  function job.feed()
    if reading then return end -- the iterator itself waits for this pool
    if job.over or job.under_way >= most then return end
    local fresh = {}
    while not job.over and job.under_way < most and not why_over(self) do
      if chunk == nil then
        reading = true
        local ok, e
        ok, chunk, length, first = pcall(next_chunk, fresh)
        reading = false
        if not ok then
          e, chunk = chunk, nil
          error(e, 0)
        end
      end
      if chunk == nil then
        job.over = true
        native.undisturbed(handlers.ended, job.n, length)
      else
        native.undisturbed(give)
        fresh = {}
      end
    end
  end

  return job
end

-- What cannot be sent of the function raises now, at the caller of the method, and not once for
-- each item.
local function check_sendable(f)
  local ok, message = pcall(native.sendable, f)
  if ok then return end
  if type(message) ~= "string" or not message:find "cannot send result" then
    error(message, 0) -- a handler of a signal raised
  end
  error((message:gsub("^.-cannot send result", "cannot send f")), 3)
end

-- The outcome of a map: the first error by item, else the iterator's own, else the values.
local function finish_map(result, values, errors, problem)
  local first_error
  for i in pairs(errors) do
    if first_error == nil or i < first_error then first_error = i end
  end
  if first_error then
    fail(result, errors[first_error], first_error)
  elseif problem then
    fail(result, problem)
  else
    succeed(result, {n = 1, values})
  end
end

local function map_iterator(self, result, f, list, size, spread)
  local values, errors, problem = {}, {}, nil
  local job

  local function finish()
    if result.state ~= nil or job.under_way > 0 then return end
    local why = not job.over and why_over(self) -- then nobody reads on
    if job.over or why then finish_map(result, values, errors, problem or why) end
  end

  local function chunk_ended()
    job.under_way = job.under_way - 1
    if not job.over then self.hungry[job] = true end
    finish()
  end

  job = new_job(self, f, list, size, READ_AHEAD * self.size, spread, {
    came = function(first, n, got, failures)
      if failures then
        for i = 1, n do
          if failures[i] then errors[first + i - 1] = failures[i] end
        end
      else
        native.copy(got, 1, n, values, first)
      end
      chunk_ended()
    end,
    failed = function(first, _, e)
      errors[first] = e
      chunk_ended()
    end,
    ended = function(_, e)
      problem = e
      finish()
    end,
  })
  local feed = job.feed
  function job.feed()
    feed()
    native.undisturbed(finish)
  end
  job.feed()
end

-- Gives chunks of the job to the workers, as many as may be on their way.
local function give_chunks(self, job)
  repeat
    local given, first, n, why = native.give(self.settings.tasks, job.items)
    if first then
      local known, text = pcall(unsendable, why, "items", first)
      note_failure(job, first, n, known and text or why, describe_error(text), "")
      native.settle(job.items, first)
    end
  until given == 0 and not first
end

-- The same for a job that is one of the pool's.
local function give(self, job)
  local ok, e = pcall(give_chunks, self, job)
  local place = place_of(self, job)
  if not place then return end -- it was given up meanwhile
  if ok then
    follow_job(self, place)
  else
    if type(e) == "string" then e = e:gsub("^luamp/[%w_]+%.lua:%d+: ", "") end
    give_up_job(remove_job(self, place), {e, describe_error(e), ""})
  end
end

local function enter_job(self, job)
  self.jobs[#self.jobs + 1], self.lists[#self.lists + 1] = job, job.items
end

-- The job of a list whose items go natively: its values and errors, by item; how many chunks are at
-- most on their way; and how what came of them is taken (src/bind/items.c).
local function list_job(self, f, list, size, spread, values, most, order)
  local n = #list
  if getmetatable(list) ~= nil then
    list = table.move(list, 1, n, 1, native.new_list(n))
  elseif self.retries > 0 then
    list = native.copy(list, 1, n, native.new_list(n), 1)
  end
  local number = native.undisturbed(take_numbers, self, n) -- as many as there can be chunks
  local items = native.items(number, list, n, size, values, f, spread, most, order)
  return {items = items, values = values, errors = {}}
end

-- Where nobody waits for the result, nobody may be there to give more: all chunks are given at once.
-- Otherwise no more than the workers need, so that what is on its way stays in the caches.
local function map_list(self, result, f, list, size, spread, is_awaited)
  local most = is_awaited and self.size * math.max(CHUNKS_AHEAD, ITEMS_AHEAD // size)
    or math.maxinteger
  local values = native.new_list(#list)
  local job = list_job(self, f, list, size, spread, values, most)

  function job.ended(e)
    finish_map(result, values, job.errors, e)
  end

  function job.feed()
    native.undisturbed(function()
      if place_of(self, job) then give(self, job) end
    end)
  end

  native.undisturbed(function()
    check_still_there(self)
    enter_job(self, job)
    give(self, job)
  end)
end

local function map_async(self, f, list, size, callback, error_callback, spread, is_awaited)
  local result = new_result(self, callback, error_callback)
  if type(list) == "function" then
    map_iterator(self, result, f, list, size or 1, spread)
  else
    map_list(self, result, f, list, size or default_size(self, #list), spread, is_awaited)
  end
  return result
end

-- An iterator over results of a list. The job is one of the pool's while something is on its way.
--
-- Whoever stops asking leaves what is ahead to be run for nothing, so there is little of it; but where tasks are
-- short, the workers and the one who asks would wait for each other all the time. So more is ahead as
-- long as that is a matter of milliseconds.
local function imap_list(self, f, list, size, order)
  local least, most = self.size * LIST_AHEAD, self.size * LIST_AHEAD_FAST
  local job = list_job(self, f, list, size, false, {}, most, order)
  local items, errors, more = job.items, job.errors, {}
  local ahead, fed_at = least, -math.huge
  local problem -- why not all of the list was given
  job.is_taken, job.more = true, more

  function job.ended(e)
    problem = e or problem
  end

  -- Sets how much is ahead, by how long it took to take half of what was.
  local function adapt()
    local now = process.monotonic()
    ahead = now - fed_at < FAST and math.min(2 * ahead, most) or math.max(ahead // 2, least)
    native.allow(items, ahead)
    fed_at = now
  end

  local function feed()
    local _, _, _, is_hungry = native.progress(items)
    local why = why_over(self)
    if why then
      give_up_job(job, why) -- what was on its way has been
    elseif is_hungry then
      adapt()
      if not place_of(self, job) then enter_job(self, job) end
      give(self, job)
    end
  end

  local function is_there_or_over()
    local _, given, settled = native.progress(items)
    return native.is_item_there(items) or settled == given
  end

  -- Gives more, and waits for the next item: false when there is none.
  local function wait()
    if process.getpid() ~= self.pid then
      error("a pool, and what it gives, belong to the process that made it", 4)
    end
    while true do
      native.undisturbed(feed)
      local chunks, _, settled = native.progress(items)
      if native.is_item_there(items) then return true end -- last: a signal's handler may use the pool
      if settled == chunks then break end
      pump_until(self, is_there_or_over)
    end
    local why = problem
    problem = nil
    if why then raise(why) end
    return false
  end

  native.undisturbed(feed)
  return function()
    return native.take_item(items, errors, more, wait, raise)
  end
end

-- The same of an iterator, or of a list that has a metatable, and so may be read as it is needed: what
-- came, by item, waits until it is asked for. In order, the next one is waited for; otherwise any that is
-- there.
local function imap_iterator(self, f, list, size, ordered)
  local chunk_of, arrived, first_arrived, last_arrived = {}, {}, 1, 0
  local given_out, total = 0, nil
  local job

  local function arrive(first, n, chunk)
    chunk.first, chunk.left = first, n
    for item = first, first + n - 1 do
      chunk_of[item] = chunk
      if not ordered then
        last_arrived = last_arrived + 1
        arrived[last_arrived] = item
      end
    end
  end

  local ahead = type(list) == "function" and READ_AHEAD or LIST_AHEAD
  job = new_job(self, f, list, size, ahead * self.size, false, {
    came = function(first, n, values, errors, more)
      arrive(first, n, {values = values, errors = errors or {}, more = more or {}})
    end,
    failed = function(first, n, e)
      local errors = {}
      for i = 1, n do errors[i] = e end
      arrive(first, n, {values = {}, errors = errors, more = {}})
    end,
    ended = function(n, e)
      total = n
      if e then -- the iterator's error comes last
        total = n + 1
        arrive(total, 1, {values = {}, errors = {e}, more = {}, is_iterators = true})
      end
    end,
  })
  job.feed()

  local function item_there()
    if ordered then return chunk_of[given_out + 1] ~= nil end
    return first_arrived <= last_arrived
  end

  local function take()
    given_out = given_out + 1
    local item = given_out
    if not ordered then
      item, arrived[first_arrived] = arrived[first_arrived], nil
      first_arrived = first_arrived + 1
    end
    local chunk = chunk_of[item]
    chunk_of[item] = nil
    chunk.left = chunk.left - 1
    if chunk.left == 0 and not chunk.is_iterators then job.under_way = job.under_way - 1 end
    return item, chunk
  end

  return function()
    if process.getpid() ~= self.pid then
      error("a pool, and what it gives, belong to the process that made it", 2)
    end
    job.feed()
    if given_out == total then return nil end
    pump_until(self, function() return item_there() or why_over(self) end)
    if not item_there() then
      total = given_out
      raise(why_over(self))
    end
    local item, chunk = native.undisturbed(take)
    local i = item - chunk.first + 1
    local e, more = chunk.errors[i], chunk.more[i]
    if e then
      raise(e, not chunk.is_iterators and item or nil)
    elseif more then
      return item, table.unpack(more, 1, more.n)
    end
    return item, chunk.values[i]
  end
end

local function imap(self, f, list, size, is_ordered)
  if type(list) == "function" or getmetatable(list) ~= nil then
    return imap_iterator(self, f, list, size or 1, is_ordered)
  end
  return imap_list(self, f, list, size or 1, is_ordered and "in order" or "as settled")
end

function Pool:map_async(f, list, chunksize, callback, error_callback)
  check_pool(self, "map_async")
  check_running(self)
  check_function(f, "map_async")
  check_list(list, "map_async")
  local size, option, error_option = check_chunks(chunksize)
  callback, error_callback = callback or option, error_callback or error_option
  check_callbacks(callback, error_callback)
  check_sendable(f)
  return map_async(self, f, list, size, callback, error_callback, false)
end

function Pool:map(f, list, chunksize)
  check_pool(self, "map")
  check_running(self)
  check_function(f, "map")
  check_list(list, "map")
  local size, callback, error_callback = check_chunks(chunksize)
  check_callbacks(callback, error_callback)
  check_sendable(f)
  return map_async(self, f, list, size, callback, error_callback, false, true):get()
end

function Pool:starmap(f, list, chunksize)
  check_pool(self, "starmap")
  check_running(self)
  check_function(f, "starmap")
  check_list(list, "starmap")
  local size, callback, error_callback = check_chunks(chunksize)
  check_callbacks(callback, error_callback)
  check_sendable(f)
  return map_async(self, f, list, size, callback, error_callback, true, true):get()
end

function Pool:imap(f, list, chunksize)
  check_pool(self, "imap")
  check_running(self)
  check_function(f, "imap")
  check_list(list, "imap")
  local size = check_chunks(chunksize)
  check_sendable(f)
  return imap(self, f, list, size, true)
end

function Pool:imap_unordered(f, list, chunksize)
  check_pool(self, "imap_unordered")
  check_running(self)
  check_function(f, "imap_unordered")
  check_list(list, "imap_unordered")
  local size = check_chunks(chunksize)
  check_sendable(f)
  return imap(self, f, list, size, false)
end

-- The end -----------------------------------------------------------------------------------------

function Pool:close()
  check_pool(self, "close")
  if self.state == "running" then self.state = "closed" end
end

local function terminate(self)
  self.state = "ended"
  end_workers(self)
  collect(self, true)
  fail_all(self, "pool terminated", "pool terminated", "")
end

function Pool:terminate()
  check_pool(self, "terminate")
  local has_ended = self.state == "ended" and next(self.workers) == nil -- else it was tried, and failed for want of memory
  if has_ended or process.getpid() ~= self.pid then return end
  native.undisturbed(terminate, self)
  attend(self)
end

-- All tasks are done, and there will be no others: the workers find the queue closed, and end.
local function dismiss(self, deadline)
  self.is_dismissed = true -- an iterator whose list is not all given gives no more
  self.settings.tasks:close()
  for lease = 0, self.size - 1 do
    local worker = self.workers[lease]
    if worker then
      local left = deadline and math.max(0, deadline - process.monotonic())
      if not worker:join(left) then return false end
      self.workers[lease] = nil
    end
  end
  return true
end

function Pool:join(timeout)
  check_pool(self, "join")
  check_timeout(timeout, "join")
  if process.getpid() ~= self.pid then
    error("a pool belongs to the process that made it", 2)
  elseif self.state == "running" then
    error("close or terminate the pool before it is joined", 2)
  end
  local deadline = timeout and process.monotonic() + timeout
  local function is_idle()
    return not has_work(self) and next(self.hungry) == nil or self.broken or self.state == "ended"
  end
  if self.state ~= "ended" and not pump_until(self, is_idle, timeout) then
    return false, "timeout"
  end
  if self.state ~= "ended" and not self.broken and not dismiss(self, deadline) then
    return false, "timeout"
  end
  self.state = "ended"
  return true
end

function Pool:__close(e)
  if process.getpid() ~= self.pid then return end
  if e ~= nil then
    self:terminate()
  elseif self.state ~= "ended" then
    self:close()
    self:join()
  end
end

function Pool:__gc()
  self:terminate()
end

function Pool:__tostring()
  local live = 0
  for _, worker in pairs(self.workers) do live = live + (worker and 1 or 0) end
  return ('Pool "%s" (%d workers, %d tasks, %s)'):format(
    self.name, live, count_under_way(self), self.broken and "broken" or self.state)
end

-- Making ------------------------------------------------------------------------------------------

local options = {
  processes = "integer", initializer = "function", initargs = "table", maxtasksperchild = "integer",
  retries = "integer", timeout = "number", name = "string",
}

local least = {processes = 1, maxtasksperchild = 1, retries = 0, timeout = 0}

-- The same options, in a table of ours.
local function check_options(given)
  local checked = {}
  for option, value in pairs(given) do
    local kind = options[option]
    if kind == nil then
      local meant = type(option) == "string" and processes.nearest(option, options)
      local hint = meant and "; did you mean '" .. meant .. "'?"
        or type(option) == "number" and "; options have names: {processes = 2}" or ""
      error(("unknown option '%s' of pool.Pool%s"):format(tostring(option), hint), 4)
    end
    if kind == "integer" then value = to_integer(value) end
    local is = kind == "integer" and math.type(value) == "integer" or type(value) == kind
    if not is then
      error(("option '%s' of pool.Pool: %s %s expected, got %s"):format(
              option, kind == "integer" and "an" or "a", kind, math.type(value) or type(value)), 4)
    end
    if least[option] and value < least[option] then
      error(("option '%s' of pool.Pool: at least %d expected"):format(option, least[option]), 4)
    end
    checked[option] = value
  end
  return checked
end

local pools = 0

local function new_pool(given, inherited)
  if given == nil then
    given = {}
  elseif type(given) ~= "table" then
    given = {processes = given}
  end
  given = check_options(given)
  local self = setmetatable({
    size = given.processes or process.cpu_count(),
    retries = given.retries or 0,
    name = given.name,
    pid = process.getpid(),
    state = "running",
    workers = {},
    pending = {}, -- number -> task without a result, but for the chunks of lists
    jobs = {}, lists = {[0] = false}, -- lists on their way: Lua's side, and at the same places the native one; at 0 is
    -- the number of the result that was taken last, for take_results_safely
    receiving = 0, -- how many results are being received: more than one where a module is loaded for one
    n_pending = 0, -- how many tasks are in `pending`
    tries = {}, -- number -> how often it was tried again
    due = {first = 1, last = 0}, -- callbacks to be run
    hungry = {}, -- jobs whose iterators are to be read on
    next_number = 1,
    hired = 0,
    deaths = 0, -- of workers without a task, since the last result
  }, Pool)
  if self.name == nil then
    pools = pools + 1
    self.name = pools == 1 and "PoolWorker" or ("Pool%dWorker"):format(pools)
  end
  local tasks, results = native.queues(self.size, self.name)
  self.settings = {
    tasks = tasks, results = results, inherited = inherited,
    initializer = given.initializer, initargs = given.initargs,
    maxtasksperchild = given.maxtasksperchild,
    timeout = given.timeout ~= 0 and given.timeout or nil,
  }
  local ok, hired, why = pcall(native.undisturbed, hire_missing, self)
  if ok and hired then return self end
  self:terminate()
  if not ok then error(hired, 0) end
  return nil, why
end

local pool = {}

function pool.Pool(given)
  local self, why = new_pool(given)
  if not self then error(why, 2) end
  return self
end

-- map(f, list[, options]): workers are forked for this one call, so f is any function and the list
-- is not copied: a task is a range of it.
function pool.map(f, list, given)
  check_function(f, "map")
  if not is_list(list) then
    error(("map wants a list, not a %s"):format(kind_of(list)), 2)
  end
  local n = #list
  if n == 0 then return {} end
  local self <close>, why = new_pool(given, {f = f, list = list})
  if not self then error(why, 2) end
  local size = default_size(self, n)
  local values, errors = native.new_list(n), {}
  for first = 1, n, size do
    submit(self, {
      items = function(got, count, failures)
        if failures then
          for i = 1, count do
            if failures[i] then errors[first + i - 1] = failures[i] end
          end
        else
          native.copy(got, 1, count, values, first)
        end
      end,
      failed = function(...) errors[first] = {...} end,
    }, first, "range", first, math.min(first + size - 1, n))
  end
  self:close()
  self:join()
  for i = 1, n do
    if errors[i] then raise(errors[i], i) end
  end
  return values
end

return pool
