-- process: the class Process, and what happens in which order when a process ends.
--
-- Native code makes one attempt (start, wait, signal); names, families, inheritance, daemons and
-- the end of a process are decided here. What a class is, is told in class.lua.
--
-- Each thread of a process has a state of its own, and so runs this file for itself: it knows the
-- children that it started. Those that it has not seen end are left to the process when it ends.

local native, class = ...

-- What this process knows of itself. One table, and a child begins with a new one: it copies each page
-- with something that it changes, or that it makes a part of what was there before.
local this = {
  children = {}, -- those started here and not yet known to have ended, oldest first
  exit_functions = {},
  identity = {}, -- numbers from the main process down to this one
  current = nil, -- the process, as an object
  target = nil, args = nil, kwargs = nil, -- what it runs, unless its class says so
  parent = nil, -- made when it is asked for
  parent_name = nil,
  is_daemon = false,
  is_worker = false,
  is_bound = false, -- dies when its parent dies, and so do its children
  finishing = false,
  abandoned = false, -- Ctrl-C has ended it: no thread is waited for
}

local Process

-- Classes -----------------------------------------------------------------------------------------

local function description(self)
  local s = self._process
  local what
  if s.closed then
    what = "closed"
  elseif s.child == nil then
    what = "not started"
  else
    local code = self.exitcode
    if code == nil then
      what = ("pid %d, %s"):format(self.pid, s.ended and "ended" or "running")
    elseif code < 0 then
      what = ("pid %d, ended by signal %d"):format(self.pid, -code)
    else
      what = ("pid %d, exit status %d"):format(self.pid, code)
    end
  end
  return ('%s "%s" (%s)'):format(getmetatable(self).__name, s.name, what)
end

-- It is no longer one of those that are to be waited for.
local function forget(child)
  local place = child._process.place
  if place and this.children[place] == child then -- a copy that was sent elsewhere is in no list
    table.remove(this.children, place)
    for i = place, #this.children do
      this.children[i]._process.place = i
    end
  end
  child._process.place = nil
end

-- Waits for its end, and notes it. True when it has ended, false when the time is over before.
local function wait_for(self, timeout)
  local s = self._process
  if s.ended then
    return true
  end
  local ended, status = native.wait(s.child, timeout)
  if not ended then
    return false
  end
  s.ended = true
  s.code = status
  forget(self)
  return true
end

-- The process that a method was called with; raises at the method's caller. `depth`: functions
-- between the method and this one.
local function check_open(self, method, depth)
  local level = 3 + (depth or 0)
  local s = type(self) == "table" and rawget(self, "_process")
  if not s then
    error(("'%s' wants a process to its left; call it with a colon: p:%s(...)"):format(
            method, method), level)
  end
  if s.closed then
    error(('process "%s" is closed'):format(s.name), level)
  end
  return s
end

local function check_started(self, method)
  local s = check_open(self, method, 1)
  if self == this.current then
    error("a process cannot " .. method .. " itself", 3)
  elseif s.child == nil then
    error(('process "%s" is not started; call start() first'):format(s.name), 3)
  end
  return s
end

local computed = {
  name = function(s) return s.name end,
  daemon = function(s) return s.daemon end,
  pid = function(s, self)
    return self == this.current and native.getpid() or s.child and native.pid(s.child) or nil
  end,
  exitcode = function(s, self)
    if s.child and not s.ended and not s.closed and self ~= this.current then
      wait_for(self, 0)
    end
    return s.code or nil
  end,
  sentinel = function(s, self)
    return s.child and not s.closed and self ~= this.current and native.descriptor(s.child) or nil
  end,
}

local settable = {
  name = function(s, value)
    if type(value) ~= "string" then
      error("a process's name is a string, not a " .. type(value), 3)
    end
    if s.child and s ~= this.current._process then
      error("the name of a process cannot be changed once it is started", 3)
    end
    s.name = value
  end,
  daemon = function(s, value)
    if s.child and s ~= this.current._process then
      error("'daemon' has to be set before the process is started", 3)
    end
    s.daemon = not not value
  end,
}

local function next_name()
  local number = native.next_number()
  local numbers = table.move(this.identity, 1, #this.identity, 1, {})
  numbers[#numbers + 1] = number
  return numbers, "Process-" .. table.concat(numbers, ":")
end

Process = class.new("Process", {
  noun = "process", field = "_process", describe = description,
  computed = computed, settable = settable,
  begin = function()
    local numbers, name = next_name()
    return {name = name, identity = numbers, daemon = this.is_daemon and not this.is_worker}
  end,
})

-- Running -----------------------------------------------------------------------------------------

function Process:run()
  local call = self == this.current and this or self._process
  if call.target == nil then
    return
  end
  return native.call_with(call.target, call.args, call.kwargs)
end

local traceback = native.traceback

local function end_daemons(grace)
  local daemons = {}
  for _, p in ipairs(this.children) do
    if p._process.daemon then daemons[#daemons + 1] = p end
  end
  for _, p in ipairs(daemons) do
    native.signal(p._process.child, 15)
  end
  local deadline = native.monotonic() + grace
  for _, p in ipairs(daemons) do
    local left = deadline - native.monotonic()
    if not wait_for(p, left > 0 and left or 0) then
      native.signal(p._process.child, 9)
      wait_for(p)
    end
  end
end

-- A process that somebody else started.
local function other(name, child, daemon)
  return setmetatable({
    _process = {name = name, child = child, daemon = daemon, identity = {}},
  }, Process)
end

-- Children that were left by threads which have ended.
local function adopt_children()
  for child, name, daemon in native.left_child do
    local p = other(name, child, daemon)
    this.children[#this.children + 1] = p
    p._process.place = #this.children
  end
end

local function end_children()
  adopt_children()
  if not this.children[1] then return end
  end_daemons(1)
  while this.children[1] do
    wait_for(this.children[1])
  end
end

local function kill_children()
  adopt_children()
  for _, p in ipairs(this.children) do
    native.signal(p._process.child, 9)
  end
  while this.children[1] do
    local child = this.children[1]
    wait_for(child)
    native.end_orphans(child._process.child)
  end
end

-- The end of this process, once its own code has ended. Gives the exit status. `at_once`: children
-- are killed, and nothing else is run.
local function finish(status, at_once)
  if at_once then
    this.abandoned = true
    kill_children()
    native.stop_threads(1)
    kill_children() -- of the threads
    native.end_family()
    return status
  end
  if this.finishing then
    return status
  end
  this.finishing = true
  if not this.abandoned then native.join_threads() end
  end_children()
  while #this.exit_functions > 0 do
    local f = table.remove(this.exit_functions)
    local ok, message = xpcall(f, traceback)
    if not ok then
      if native.is_interrupt(message) then error(message, 0) end
      native.report(("%s: error in a function given to process.atexit:\n%s\n"):format(
                      this.current._process.name, message))
      if status == 0 then status = 1 end
    end
  end
  if not this.abandoned then native.join_threads() end -- what they started
  native.stop_threads(this.abandoned and 0 or 1)
  end_children()
  return native.ordered_status(status)
end

-- What a child is from its first moment.
local function become(self, target, args, kwargs)
  local s = self._process
  this = {
    children = {}, exit_functions = {}, identity = s.identity, current = self,
    target = target, args = args, kwargs = kwargs,
    parent_name = this.current._process.name,
    is_daemon = s.daemon, is_worker = s.worker, is_bound = s.bound,
    finishing = false, abandoned = false,
  }
end

-- What the process is to a new state: the program's own, where there is no name yet, or a thread's.
local function become_known(name, daemon, worker, bound, ...)
  if name == nil then
    name, daemon = "MainProcess", false
  end
  this.is_daemon, this.is_worker, this.is_bound = daemon, worker, bound
  this.identity = {...}
  this.current = setmetatable({
    _process = {name = name, child = native.this_process(), daemon = daemon, identity = this.identity},
  }, Process)
end

-- Sees to it that what is noted of a process that runs has its place: where there is no memory for that, it is not
-- started.
local function make_room(s)
  local n = #this.children + 1
  s.place, s.ended, s.code = false, false, false
  this.children[n] = false
  this.children[n] = nil
end

-- Starts it, and notes that: a handler of a signal that raises comes before or after both. What it runs
-- is no part of the object from then on, neither here nor in the child: it is not sent with it.
local function start(self, s)
  make_room(s)
  local target, args, kwargs = s.target, s.args, s.kwargs
  s.target, s.args, s.kwargs = nil, nil, nil
  local ok, started, why = pcall(native.start, s, s.name, s.daemon, s.worker, s.bound, function()
    become(self, target, args, kwargs)
    local ok, message = xpcall(self.run, traceback, self)
    if not ok then
      native.report(("%s:\n%s\n"):format(s.name, message))
    end
    return finish(ok and 0 or 1)
  end, this.current._process.name, table.unpack(s.identity))
  if not ok or not started then
    s.target, s.args, s.kwargs = target, args, kwargs
    if not ok then error(started, 0) end
    return false, why
  end
  this.children[#this.children + 1] = self
  s.place = #this.children
  return self
end

function Process:start()
  local s = check_open(self, "start")
  if s.child or self == this.current then
    error(('process "%s" was started already; a process can be started once'):format(s.name), 2)
  end
  if this.is_daemon and not this.is_worker then
    error("a daemon may not start processes", 2)
  end
  if s.target == nil and self.run == Process.run then
    error(('process "%s" has no target, and its class no run'):format(s.name), 2)
  end
  s.bound = s.daemon or s.worker or this.is_bound
  return native.undisturbed(start, self, s)
end

-- Methods -----------------------------------------------------------------------------------------

function Process:join(timeout)
  local s = check_started(self, "join")
  if not s.ended and native.pid(s.child) == native.getpid() then -- another object of this process, which was sent
    error("a process cannot join itself", 2)
  end
  if timeout ~= nil and type(timeout) ~= "number" then
    error("join takes a number of seconds, not a " .. type(timeout), 2)
  end
  if wait_for(self, timeout) then
    return true
  end
  return false, "timeout"
end

function Process:is_alive()
  local s = check_open(self, "is_alive")
  if self == this.current then return true end
  return s.child ~= nil and not wait_for(self, 0)
end

function Process:send_signal(signal)
  local s = check_started(self, "send_signal")
  if math.type(signal) ~= "integer" then
    error("send_signal takes the number of a signal, like signal.SIGUSR1", 2)
  end
  if not native.is_signal(signal) then
    error(("there is no signal %d"):format(signal), 2)
  end
  if not s.ended then
    native.signal(s.child, signal)
  end
end

function Process:terminate()
  local s = check_started(self, "terminate")
  if not s.ended then native.signal(s.child, 15) end
end

function Process:kill()
  local s = check_started(self, "kill")
  if not s.ended then native.signal(s.child, 9) end
end

function Process:interrupt()
  local s = check_started(self, "interrupt")
  if not s.ended then native.signal(s.child, 2) end
end

function Process:close()
  local s = type(self) == "table" and rawget(self, "_process")
  if not s then
    error("'close' wants a process to its left; call it with a colon: p:close()", 2)
  end
  if s.closed then
    return
  end
  if s.child and (self == this.current or not wait_for(self, 0)) then
    error(('process "%s" is still running; join it before it is closed'):format(s.name), 2)
  end
  if s.child then native.close(s.child) end
  s.closed = true
end

-- The module --------------------------------------------------------------------------------------

become_known(native.identity())

-- What a thread leaves behind at its end is the process's.
local function leave_children()
  for _, p in ipairs(this.children) do
    native.leave_child(p._process.child, p._process.name, p._process.daemon)
  end
  this.children = {}
end

native.set_finish(finish, leave_children)

local process = {
  Process = Process,
  cpu_count = native.cpu_count,
  getpid = native.getpid,
  getppid = native.getppid,
  sleep = native.sleep,
  time = native.time,
  monotonic = native.monotonic,
  exit = native.exit,
}

function process.spawn(f, ...)
  if type(f) ~= "function" then
    error("spawn takes a function and its arguments, not a " .. type(f), 2)
  end
  if this.is_daemon and not this.is_worker then
    error("a daemon may not start processes", 2)
  end
  local p = Process{target = f, args = select("#", ...) > 0 and table.pack(...) or nil}
  local started, why = p:start()
  if not started then
    return false, why
  end
  return p
end

function process.current_process()
  return this.current
end

function process.parent_process()
  if this.parent == nil then
    local child, name = native.parent()
    this.parent = child and other(this.parent_name or name, child)
  end
  return this.parent
end

function process.active_children()
  adopt_children()
  local alive = {}
  for _, p in ipairs(table.move(this.children, 1, #this.children, 1, {})) do
    if not wait_for(p, 0) then alive[#alive + 1] = p end
  end
  return alive
end

function process.atexit(f)
  if type(f) ~= "function" then
    error("atexit takes a function, not a " .. type(f), 2)
  end
  this.exit_functions[#this.exit_functions + 1] = f
  return f
end

-- For lua/pool.lua: a process that runs a pool's tasks.
function native.make_worker(p)
  p._process.worker = true
  p._process.daemon = true
end

return process
