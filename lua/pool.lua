-- pool: worker processes that run functions.
--
-- Tasks and results are two queues in shared memory. A worker takes a task under a lease, which says in
-- shared memory what it works on; it puts the result, and then gives the lease back. Workers need nobody to
-- go on; the process that made the pool collects results, runs callbacks and replaces the dead, inside of
-- its own calls (`pump`). A worker that died is looked at in this order: its results are collected, then its
-- lease is read: a task in it that has no result yet is tried again, or fails. A result that comes twice is
-- known by its number.
--
-- A message is a number and values:
--   task    "call", f, args, kwargs              -> what one call returns
--           "items", f, list, n, first, spread   -> what the calls for each item return
--           "range", first, last                 -> the same, for the items of the list that the workers
--                                                   inherited by their fork
--   result  "ok", ...                            the values
--           "error", value, text, traceback      the call failed
--           "items", values, n, errors           values[i] is a packed list; errors[i] = {value, text, traceback}
-- Number 0 is the pool's: "broken", value, text, traceback: an initializer failed.

local native = ...
local process, signal, processes = native.process, native.signal, native.processes

local DEATHS_WITHOUT_RESULT = 16 -- a worker, in a row: then the pool is broken
local READ_AHEAD = 2 -- chunks for each worker, of an iterator that is read as needed
local GRACE = 1 -- seconds that a terminated worker has

local Pool, Result = {}, {}
Pool.__index, Pool.__name = Pool, "Pool"
Result.__index, Result.__name = Result, "AsyncResult"

-- The worker -------------------------------------------------------------------------------------------

local function describe_error(e)
  if type(e) == "string" then return e end
  local mt = getmetatable(e)
  if type(mt) == "table" and mt.__tostring then return tostring(e) end
  return ("(error object is a %s value)"):format(type(e))
end

-- The error, its text, and the worker's traceback.
local function failure(e)
  return {e, describe_error(e), debug.traceback(nil, 2)}
end

local function call_with(f, args, kwargs)
  local n = args.n or #args
  if kwargs == nil then
    return f(table.unpack(args, 1, n))
  end
  local all = table.move(args, 1, n, 1, {})
  all[n + 1] = kwargs
  return f(table.unpack(all, 1, n + 1))
end

local function run_items(f, list, first, last, spread)
  local values, errors = {}, nil
  for i = first, last do
    local one
    if spread then
      local item = list[i]
      if type(item) == "table" then
        one = table.pack(xpcall(call_with, failure, f, item))
      else
        one = {false, failure("starmap wants each item to be a list of arguments, not a "
                              .. type(item))}
      end
    else
      one = table.pack(xpcall(f, failure, list[i]))
    end
    if one[1] then
      values[i - first + 1] = table.pack(table.unpack(one, 2, one.n))
    else
      errors = errors or {}
      errors[i - first + 1] = one[2]
    end
  end
  return "items", values, last - first + 1, errors
end

local function run_task(inherited, kind, f, ...)
  if kind == "call" then
    local args, kwargs = ...
    local results = table.pack(xpcall(call_with, failure, f, args, kwargs))
    if results[1] then
      return "ok", table.unpack(results, 2, results.n)
    end
    return "error", table.unpack(results[2], 1, 3)
  elseif kind == "items" then
    local list, n, spread = ...
    return run_items(f, list, 1, n, spread)
  elseif kind == "range" then
    return run_items(inherited.f, inherited.list, f, (...))
  end
  return "error", f, f, "" -- it could not be received: kind is false, and this is why
end

-- An error whose value cannot be sent goes as its text.
local function sendable_error(e)
  if pcall(native.sendable, e[1]) then return e end
  return {e[2], e[2], e[3]}
end

local function unsendable(message)
  return {message, message, ""}
end

-- Puts a result. One that cannot be sent becomes an error of its task, or of its item.
local function put_result(results, number, kind, ...)
  local ok, message = pcall(native.put, results, number, kind, ...)
  if ok then return end
  if kind == "ok" then
    native.put(results, number, "error", message, message, "")
  elseif kind == "error" then
    local e = sendable_error({...})
    native.put(results, number, "error", e[1], e[2], e[3])
  else
    local values, n, errors = ...
    errors = errors or {}
    for i = 1, n do
      if errors[i] then
        errors[i] = sendable_error(errors[i])
      else
        local can, why = pcall(native.sendable, values[i])
        if not can then
          values[i], errors[i] = nil, unsendable(why)
        end
      end
    end
    native.put(results, number, "items", values, n, errors)
  end
end

local function work(settings, lease)
  signal.signal(signal.SIGINT, signal.SIG_IGN) -- the main process alone decides what Ctrl-C does
  local tasks, results = settings.tasks, settings.results
  if settings.initializer then
    local ok, e = xpcall(call_with, failure, settings.initializer, settings.initargs or {})
    if not ok then
      e = sendable_error(e)
      native.put(results, 0, "broken", e[1], e[2], e[3])
      return
    end
  end
  local done = 0
  local limit = settings.timeout
  local function finish(number, ...)
    if limit then native.limit(tasks, lease, 0) end
    put_result(results, number, ...)
    native.lease_done(tasks, lease)
  end
  local function serve(number, kind, ...)
    if number == nil then return false end
    if limit then native.limit(tasks, lease, limit) end
    finish(number, run_task(settings.inherited, kind, ...))
    done = done + 1
    return done ~= settings.maxtasksperchild
  end
  while serve(native.take(tasks, lease)) do end
end

-- The pool: workers ------------------------------------------------------------------------------------

local function hire(self, lease)
  local settings = self.settings
  self.hired = self.hired + 1
  local worker = process.Process{
    name = ("%s-%d"):format(self.name, self.hired),
    target = work, args = {settings, lease},
  }
  processes.make_worker(worker)
  local started, why = worker:start()
  if not started then return nil, why end
  self.workers[lease] = worker
  return worker
end

local function fail_all(self, value, text, traceback)
  local pending = self.pending
  self.pending, self.n_pending = {}, 0
  for _, task in pairs(pending) do
    task.failed(value, text, traceback)
  end
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

local function break_pool(self, value, text, traceback)
  self.broken = {value, text, traceback}
  end_workers(self)
  fail_all(self, value, text, traceback)
end

-- Results ----------------------------------------------------------------------------------------------

local function settle(self, number, kind, ...)
  if number == 0 then
    if not self.broken then break_pool(self, ...) end
    return
  end
  local task = self.pending[number]
  if task == nil then return end -- a second result of a task that was tried again
  self.pending[number] = nil
  self.n_pending = self.n_pending - 1
  self.deaths = 0
  if kind == "ok" then
    task.done(...)
  elseif kind == "items" then
    task.items(...)
  else
    task.failed(...)
  end
end

local function collect(self)
  local any = false
  while true do
    local message = table.pack(native.take(self.settings.results, nil, 0))
    if message[1] == nil then return any end
    if message[2] == false then
      settle(self, message[1], "error", message[3], message[3], "")
    else
      settle(self, table.unpack(message, 1, message.n))
    end
    any = true
  end
end

local function how_it_ended(worker)
  local code = worker.exitcode
  if code == nil then return "has ended" end
  if code < 0 then
    return ("was ended by signal %d (%s)"):format(-code, signal.strsignal(-code))
  end
  return ("ended with exit status %d"):format(code)
end

-- A worker is dead: what it worked on is tried again or fails, and another takes its place.
local function bury(self, lease)
  local worker = self.workers[lease]
  worker:join()
  collect(self) -- what it put before it died
  if self.workers[lease] ~= worker then return end -- the pool was broken by that
  self.workers[lease] = nil
  local number, overdue = native.lease_task(self.settings.tasks, lease)
  native.lease_done(self.settings.tasks, lease)
  local task = number ~= 0 and self.pending[number]
  if task then
    if self.settings.timeout and overdue then
      self.pending[number], self.n_pending = nil, self.n_pending - 1
      local text = ("task timeout: %s (pid %d) was ended after %g seconds"):format(
        worker.name, worker.pid, self.settings.timeout)
      task.failed(text, text, "")
    elseif task.tries < self.retries then
      task.tries = task.tries + 1
      native.put(self.settings.tasks, number, table.unpack(task.message, 1, task.message.n))
    else
      self.pending[number], self.n_pending = nil, self.n_pending - 1
      local text = ("worker lost: %s (pid %d) %s"):format(worker.name, worker.pid,
                                                         how_it_ended(worker))
      task.failed(text, text, "")
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
  if not self.broken and (self.state == "running" or self.n_pending > 0) then
    hire(self, lease) -- where that fails, the others go on; without any, pump tells
  end
end

-- Collects results and looks after the workers; without any, waits until something happens.
local function pump(self, deadline)
  if process.getpid() ~= self.pid then
    error("a pool belongs to the process that made it", 0)
  end
  local any = collect(self)
  local lives = {}
  for lease = 0, self.size - 1 do
    local worker = self.workers[lease]
    if worker and not processes.lives(worker._process.child) then
      bury(self, lease)
      any = true
      worker = self.workers[lease]
    end
    if worker then lives[#lives + 1] = worker._process.child end
  end
  if any or self.broken or self.state == "ended" then return end
  if #lives == 0 then
    local text = "pool broken: no worker can be started"
    break_pool(self, text, text, "")
    return
  end
  local timeout
  if deadline then
    timeout = deadline - process.monotonic()
    if timeout <= 0 then return end
  end
  native.wait(self.settings.results, lives, timeout)
end

-- Waits until done() is true: false when the time is over.
local function pump_until(self, done, timeout)
  local deadline = timeout and process.monotonic() + timeout
  while not done() do
    if deadline and process.monotonic() >= deadline then
      collect(self)
      return done()
    end
    pump(self, deadline)
  end
  return true
end

-- Submitting -------------------------------------------------------------------------------------------

local function check_running(self, level)
  if process.getpid() ~= self.pid then
    error("a pool belongs to the process that made it", level + 1)
  elseif self.state == "ended" then
    error("pool terminated", level + 1)
  elseif self.broken then
    error(self.broken[1], level + 1)
  elseif self.state == "closed" then
    error("the pool is closed; no more tasks can be given to it", level + 1)
  end
end

local function submit(self, task, ...)
  local number = self.next_number
  self.next_number = number + 1
  native.put(self.settings.tasks, number, ...)
  task.tries = 0
  if self.retries > 0 then task.message = table.pack(...) end
  self.pending[number] = task
  self.n_pending = self.n_pending + 1
end

local function check_function(f, method, level)
  local mt = type(f) ~= "function" and getmetatable(f)
  if type(f) ~= "function" and not (type(mt) == "table" and mt.__call) then
    error(("%s wants a function, not a %s"):format(method, type(f)), level + 1)
  end
end

local function check_list(list, method, level)
  if type(list) ~= "table" and type(list) ~= "function" then
    error(("%s wants a list or an iterator, not a %s"):format(method, type(list)), level + 1)
  end
end

-- Results of tasks --------------------------------------------------------------------------------------

local function run_callback(f, ...)
  if f == nil then return end
  local ok, message = xpcall(f, processes.traceback, ...)
  if ok then return end
  if processes.is_interrupt(message) then error(message, 0) end
  processes.report("error in a pool's callback: " .. message .. "\n")
end

local function new_result(pool, callback, error_callback)
  return setmetatable({pool = pool, callback = callback, error_callback = error_callback}, Result)
end

local function succeed(result, ...)
  result.values = table.pack(...)
  result.state = "done"
  run_callback(result.callback, ...)
end

local function fail(result, value, text, traceback, item)
  result.failure = {value = value, text = text, traceback = traceback, item = item}
  result.state = "failed"
  run_callback(result.error_callback, value)
end

local function is_settled(result)
  return function() return result.state ~= nil end
end

-- What is told when nobody catches it: the item, and the worker's own traceback.
local function raise(f)
  local lines = {}
  if f.item then lines[#lines + 1] = ("item %d of the list"):format(f.item) end
  if f.traceback and f.traceback ~= "" then
    lines[#lines + 1] = "in the worker, " .. f.traceback:gsub("^%s+", "")
  end
  processes.note_remote(f.value, table.concat(lines, "\n"))
  error(f.value, 0)
end

function Result:ready()
  if self.state == nil then pump_until(self.pool, is_settled(self), 0) end
  return self.state ~= nil
end

function Result:wait(timeout)
  if pump_until(self.pool, is_settled(self), timeout) then return true end
  return false, "timeout"
end

function Result:get(timeout)
  if not pump_until(self.pool, is_settled(self), timeout) then
    return nil, "timeout"
  end
  if self.state == "failed" then raise(self.failure) end
  return table.unpack(self.values, 1, self.values.n)
end

function Result:successful()
  if not self:ready() then
    error("the result is not ready yet", 2)
  end
  return self.state == "done"
end

function Result:traceback()
  local f = self:ready() and self.failure
  if not f then return nil end
  return f.text .. "\n" .. (f.traceback or "")
end

function Result:__tostring()
  return ("AsyncResult (%s)"):format(self.state or "pending")
end

-- One call ---------------------------------------------------------------------------------------------

local function apply(self, f, args, kwargs, callback, error_callback, method, level)
  check_running(self, level + 1)
  check_function(f, method, level + 1)
  if args ~= nil and type(args) ~= "table" then
    error(("%s wants its arguments as a list, not a %s"):format(method, type(args)), level + 1)
  end
  local result = new_result(self, callback, error_callback)
  submit(self, {
    done = function(...) succeed(result, ...) end,
    failed = function(...) fail(result, ...) end,
  }, "call", f, args or {}, kwargs)
  return result
end

function Pool:apply_async(f, args, kwargs, callback, error_callback)
  return apply(self, f, args, kwargs, callback, error_callback, "apply_async", 2)
end

function Pool:apply(f, args, kwargs)
  return apply(self, f, args, kwargs, nil, nil, "apply", 2):get()
end

-- Many items -------------------------------------------------------------------------------------------

-- A source of chunks: next() gives a list, its length and the index of its first item, or nil.
local function chunks_of(list, size)
  local first = 1
  if type(list) == "function" then
    local over = false
    return function()
      local chunk, n = {}, 0
      while not over and n < size do
        local item = list()
        if item == nil then
          over = true
        else
          n = n + 1
          chunk[n] = item
        end
      end
      if n == 0 then return nil end
      first = first + n
      return chunk, n, first - n
    end
  end
  local length = #list
  return function()
    local n = math.min(size, length - first + 1)
    if n <= 0 then return nil end
    first = first + n
    return table.move(list, first - n, first - 1, 1, {}), n, first - n
  end
end

local function chunk_size(self, list, given, default, level)
  if type(given) == "table" then
    for option in pairs(given) do
      if option ~= "chunksize" and option ~= "callback" and option ~= "error_callback" then
        error(("unknown option '%s'; there are 'chunksize', 'callback' and 'error_callback'"):format(
                tostring(option)), level + 1)
      end
    end
    given = given.chunksize
  end
  if given ~= nil then
    if math.type(given) ~= "integer" or given < 1 then
      error("the chunk size is an integer, at least 1", level + 1)
    end
    return given
  end
  return default or math.max(1, (#list + 4 * self.size - 1) // (4 * self.size))
end

local function map_async(self, f, list, given, callback, error_callback, spread, method, level)
  check_running(self, level + 1)
  check_function(f, method, level + 1)
  check_list(list, method, level + 1)
  local size = chunk_size(self, list, given, type(list) == "function" and 1 or nil, level + 1)
  if type(given) == "table" then
    callback, error_callback = given.callback or callback, given.error_callback or error_callback
  end
  local result = new_result(self, callback, error_callback)
  local next_chunk = chunks_of(list, size)
  local most = type(list) == "function" and READ_AHEAD * self.size or math.huge
  local values, errors, n, under_way, over = {}, {}, 0, 0, false

  local function finish()
    local first_error
    for i in pairs(errors) do
      if first_error == nil or i < first_error then first_error = i end
    end
    if first_error then
      fail(result, errors[first_error][1], errors[first_error][2], errors[first_error][3], first_error)
    else
      succeed(result, values)
    end
  end

  local feed
  local function chunk_ended()
    under_way = under_way - 1
    feed()
  end

  function feed()
    while not over and under_way < most and result.state == nil do
      local ok, chunk, length, first = pcall(next_chunk)
      if not ok then -- the caller's iterator failed
        over = true
        if processes.is_interrupt(chunk) then error(chunk, 0) end
        errors[n + 1] = {chunk, describe_error(chunk), ""}
      elseif chunk == nil then
        over = true
      else
        n = n + length
        under_way = under_way + 1
        submit(self, {
          items = function(got, count, failures)
            for i = 1, count do
              local e = failures and failures[i]
              if e then
                errors[first + i - 1] = e
              else
                values[first + i - 1] = got[i][1]
              end
            end
            chunk_ended()
          end,
          failed = function(...)
            errors[first] = {...}
            chunk_ended()
          end,
        }, "items", f, chunk, length, spread)
      end
    end
    if over and under_way == 0 and result.state == nil then finish() end
  end
  feed()
  return result
end

function Pool:map_async(f, list, chunksize, callback, error_callback)
  return map_async(self, f, list, chunksize, callback, error_callback, false, "map_async", 2)
end

function Pool:map(f, list, chunksize)
  return map_async(self, f, list, chunksize, nil, nil, false, "map", 2):get()
end

function Pool:starmap(f, list, chunksize)
  return map_async(self, f, list, chunksize, nil, nil, true, "starmap", 2):get()
end

-- An iterator over results. `ready` has what came, by item: a packed list, or {failed = ...}. In order, the
-- next one is waited for; otherwise any that is there.
local function imap(self, f, list, given, ordered, method)
  check_running(self, 3)
  check_function(f, method, 3)
  check_list(list, method, 3)
  local next_chunk = chunks_of(list, chunk_size(self, list, given, 1, 3))
  local most = READ_AHEAD * self.size
  local ready = {} -- item -> what came of it
  local arrived, first_arrived, last_arrived = {}, 1, 0 -- items, as they came; not needed in order
  local given_out, n, held, over = 0, 0, 0, false

  local function came(item, value)
    ready[item] = value
    if not ordered then
      last_arrived = last_arrived + 1
      arrived[last_arrived] = item
    end
  end

  local function feed()
    while not over and held < most do
      local chunk, length, first = next_chunk()
      if chunk == nil then
        over = true
        return
      end
      n = n + length
      held = held + 1
      local left = length
      local function one_read()
        left = left - 1
        if left == 0 then held = held - 1 end
      end
      submit(self, {
        items = function(got, count, failures)
          for i = 1, count do
            local e = failures and failures[i]
            came(first + i - 1, {values = got[i], failed = e, read = one_read})
          end
        end,
        failed = function(...)
          local e = {...}
          for i = first, first + length - 1 do
            came(i, {failed = e, read = one_read})
          end
        end,
      }, "items", f, chunk, length)
    end
  end
  feed()

  return function()
    feed()
    if over and given_out == n then return nil end
    given_out = given_out + 1
    local item
    if ordered then
      item = given_out
      pump_until(self, function() return ready[item] ~= nil end)
    else
      pump_until(self, function() return first_arrived <= last_arrived end)
      item = arrived[first_arrived]
      arrived[first_arrived] = nil
      first_arrived = first_arrived + 1
    end
    local one = ready[item]
    ready[item] = nil
    one.read()
    if one.failed then
      raise{value = one.failed[1], text = one.failed[2], traceback = one.failed[3], item = item}
    end
    return item, table.unpack(one.values, 1, one.values.n)
  end
end

function Pool:imap(f, list, chunksize)
  return imap(self, f, list, chunksize, true, "imap")
end

function Pool:imap_unordered(f, list, chunksize)
  return imap(self, f, list, chunksize, false, "imap_unordered")
end

-- The end ----------------------------------------------------------------------------------------------

function Pool:close()
  if self.state == "running" then self.state = "closed" end
end

function Pool:terminate()
  if self.state == "ended" then return end
  self.state = "ended"
  if process.getpid() ~= self.pid then return end
  end_workers(self)
  collect(self)
  fail_all(self, "pool terminated", "pool terminated", "")
end

function Pool:join(timeout)
  if self.state == "running" then
    error("close or terminate the pool before it is joined", 2)
  end
  if self.state == "ended" or self.broken then
    return true
  end
  local deadline = timeout and process.monotonic() + timeout
  if not pump_until(self, function() return self.n_pending == 0 or self.broken end, timeout) then
    return false, "timeout"
  end
  if self.broken then
    self.state = "ended"
    return true
  end
  self.settings.tasks:close() -- nothing will be tried again: the workers find it empty, and end
  for lease = 0, self.size - 1 do
    local worker = self.workers[lease]
    if worker then
      local left = deadline and math.max(0, deadline - process.monotonic())
      if not worker:join(left) then return false, "timeout" end
      self.workers[lease] = nil
    end
  end
  self.state = "ended"
  return true
end

function Pool:__close(e)
  if e ~= nil then
    self:terminate()
  elseif self.state ~= "ended" then
    self:close()
    self:join()
  end
end

function Pool:__gc()
  if self.state == "running" or self.state == "closed" then self:terminate() end
end

function Pool:__tostring()
  local live = 0
  for _ in pairs(self.workers) do live = live + 1 end
  return ('Pool "%s" (%d workers, %d tasks, %s)'):format(
    self.name, live, self.n_pending, self.broken and "broken" or self.state)
end

-- Making -----------------------------------------------------------------------------------------------

local options = {
  processes = "integer", initializer = "function", initargs = "table", maxtasksperchild = "integer",
  retries = "integer", timeout = "number", name = "string",
}

local least = {processes = 1, maxtasksperchild = 1, retries = 0, timeout = 0}

local function check_options(given)
  for option, value in pairs(given) do
    local kind = options[option]
    if kind == nil then
      local meant = type(option) == "string" and processes.nearest(option, options)
      error(("unknown option '%s' of pool.Pool%s"):format(
              tostring(option), meant and "; did you mean '" .. meant .. "'?" or ""), 4)
    end
    local is = kind == "integer" and math.type(value) == "integer" or type(value) == kind
    if not is then
      error(("option '%s' of pool.Pool: a %s expected, got %s"):format(
              option, kind, math.type(value) or type(value)), 4)
    end
    if least[option] and value < least[option] then
      error(("option '%s' of pool.Pool: at least %d expected"):format(option, least[option]), 4)
    end
  end
end

local pools = 0

local function new_pool(given, inherited)
  if given == nil then
    given = {}
  elseif type(given) ~= "table" then
    given = {processes = given}
  end
  check_options(given)
  local self = setmetatable({
    size = given.processes or process.cpu_count(),
    retries = given.retries or 0,
    name = given.name,
    pid = process.getpid(),
    state = "running",
    workers = {},
    pending = {}, -- number -> task without a result
    n_pending = 0,
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
  for lease = 0, self.size - 1 do
    local worker, why = hire(self, lease)
    if not worker then
      self:terminate()
      return nil, why
    end
  end
  return self
end

local pool = {}

function pool.Pool(given)
  local self, why = new_pool(given)
  if not self then error(why, 2) end
  return self
end

-- map(f, list[, options]): workers are forked for this one call, so f is any function and the list is not
-- copied: a task is a range of it.
function pool.map(f, list, given)
  check_function(f, "map", 2)
  if type(list) ~= "table" then
    error(("map wants a list, not a %s"):format(type(list)), 2)
  end
  local n = #list
  if n == 0 then return {} end
  local self <close>, why = new_pool(given, {f = f, list = list})
  if not self then error(why, 2) end
  local size = math.max(1, (n + 4 * self.size - 1) // (4 * self.size))
  local values, errors = {}, {}
  for first = 1, n, size do
    submit(self, {
      items = function(got, count, failures)
        for i = 1, count do
          local e = failures and failures[i]
          if e then
            errors[first + i - 1] = e
          else
            values[first + i - 1] = got[i][1]
          end
        end
      end,
      failed = function(...) errors[first] = {...} end,
    }, "range", first, math.min(first + size - 1, n))
  end
  self:close()
  self:join()
  for i = 1, n do
    local e = errors[i]
    if e then raise{value = e[1], text = e[2], traceback = e[3], item = i} end
  end
  return values
end

return pool
