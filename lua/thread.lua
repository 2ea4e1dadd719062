-- thread: the classes Thread and Timer.
--
-- A thread runs in a Lua state of its own. What it is to do is encoded here and decoded there, with
-- the codec that everything goes through; luamp objects are shared. In most cases that is a function
-- and its arguments, and the new state needs nothing of this file.
--
-- Instances of classes are known to the codec by the name of their class, which a new state has
-- never heard of. So the classes in a message are made known there first: in one parcel what they
-- are called and what they extend; in the next, before all else, what is in them. A class that is
-- found in another class's methods is one more class to be made known: start() tries until there is
-- none left.

local native, class = ...
local process = native.process

local current -- the thread that runs here
local is_daemon = false
local Thread

-- The class ---------------------------------------------------------------------------------------

local function lives(s)
  return s.handle ~= nil and (native.state(s.handle))
end

local function description(self)
  local s = self._thread
  local what
  if s.is_main then
    what = "running"
  elseif s.handle == nil then
    what = "not started"
  else
    local alive, _, _, failure = native.state(s.handle)
    what = alive and "running" or failure and "failed" or "ended"
  end
  return ('%s "%s" (%s)'):format(getmetatable(self).__name, s.name, what)
end

-- The state of the thread that a method was called with; raises at the method's caller.
local function check(self, method, depth)
  local s = type(self) == "table" and rawget(self, "_thread")
  if not s then
    error(("'%s' wants a thread to its left; call it with a colon: t:%s(...)"):format(
            method, method), 3 + (depth or 0))
  end
  return s
end

local computed = {
  name = function(s) return s.name end,
  daemon = function(s) return s.daemon end,
  ident = function(s)
    if s.is_main then return 1 end
    if s.handle then return (select(2, native.state(s.handle))) end
  end,
  native_id = function(s)
    if s.is_main then return native.getpid() end
    if s.handle then return (select(3, native.state(s.handle))) end
  end,
}

local settable = {
  name = function(s, value)
    if type(value) ~= "string" then
      error("a thread's name is a string, not a " .. type(value), 3)
    end
    if s.handle then
      error("the name of a thread cannot be changed once it is started", 3)
    end
    s.name = value
  end,
  daemon = function(s, value)
    if s.handle or s.is_main then
      error("'daemon' has to be set before the thread is started", 3)
    end
    s.daemon = not not value
  end,
}

Thread = class.new("Thread", {
  noun = "thread", field = "_thread", describe = description,
  computed = computed, settable = settable,
  begin = function()
    return {name = "Thread-" .. native.next_number(), daemon = is_daemon}
  end,
})

function Thread:run()
  local s = self._thread
  if s.target then
    return process.call_with(s.target, s.args, s.kwargs)
  end
end

-- Starting ----------------------------------------------------------------------------------------

-- Adds a class, and those that it extends, to what the thread is to know.
local function introduce(name, headers, fields, known)
  if known[name] then return end
  known[name] = true
  local metatable = native.class(name)
  local own = class.own_fields(metatable)
  local header = {name = name}
  if own == nil then
    own = {}
    for key, value in next, metatable do own[key] = value end
  elseif metatable.super then
    header.super = class.name_of(metatable.super)
    if header.super == nil then
      error(("class '%s' extends a class '%s' whose name another had before; rename one"):format(
              metatable.__name, metatable.super.__name), 3)
    end
    header.short = metatable.__name
    introduce(header.super, headers, fields, known)
  else
    return -- Process or Thread, which are there
  end
  headers[#headers + 1] = header
  fields[#fields + 1] = own
end

-- In the new state: the classes that it does not have already, empty as yet.
local met
function native.meet_classes(headers)
  met = {}
  for i, header in ipairs(headers) do
    if native.class(header.name) then
      met[i] = false
    elseif header.super then
      met[i] = class.extend(native.class(header.super), header.short, header.name)
    else
      met[i] = {}
      class.register(header.name, met[i])
    end
  end
end

-- And then: what is in them, and what is to be done.
function native.run(fields, what, args, kwargs)
  for i, own in ipairs(fields) do
    if met[i] then
      for key, value in next, own do rawset(met[i], key, value) end
    end
  end
  met = nil
  if type(what) == "table" then
    what._thread.handle = native.this()
    current = what
    what:run()
  else
    process.call_with(what, args, kwargs)
  end
end

-- What cannot be sent is told by the name that the user gave it. With `headers`, the first place is
-- that of the classes' contents.
local places = {"target", "args", "kwargs"}
local timer_places = {[3] = "f", [4] = "args"}
local function tell(message, s, is_self, headers)
  if type(message) ~= "string" then return message end
  message = message:gsub("^luamp/thread%.lua:%d+: ", "") -- attempt() is nobody's line
  message = message:gsub("^cannot send start%[(%d)%]", function(i)
    i = tonumber(i) - (headers and 1 or 0)
    return "cannot send " .. (i == 1 and is_self and "self" or places[i] or "class")
  end)
  if headers then
    message = message:gsub("^cannot send class%[(%d+)%]", function(i)
      local header = headers[tonumber(i)]
      return "cannot send " .. (header.short or header.name)
    end)
  end
  if s.is_timer then
    message = message:gsub("^cannot send args%[(%d)%]", function(i)
      return "cannot send " .. timer_places[tonumber(i)]
    end)
  end
  return message
end

-- Starts it, and notes that: a handler of a signal that raises comes before or after both. Where there is no
-- memory to note it, it is not started.
local function attempt(s, ...)
  s.handle = false
  s.handle = nil
  local handle, why = native.start(s.name, s.daemon, ...)
  if handle then s.handle = handle end
  return handle, why
end

function Thread:start()
  local s = check(self, "start")
  if s.handle or s.is_main then
    error(('thread "%s" was started already; a thread can be started once'):format(s.name), 2)
  end
  local what, args, kwargs = s.target, s.args or {}, s.kwargs
  local headers, fields, known
  if self.run ~= Thread.run then
    what, args, kwargs = self, nil, nil
    headers, fields, known = {}, {}, {}
  elseif what == nil then
    error(('thread "%s" has no target, and its class no run'):format(s.name), 2)
  end
  while true do
    local ok, handle, why
    if headers then
      ok, handle, why = pcall(process.undisturbed, attempt, s, headers, known, fields, what, args,
                              kwargs)
    else
      ok, handle, why = pcall(process.undisturbed, attempt, s, nil, nil, what, args, kwargs)
    end
    if not ok and s.handle then
      error(handle, 0) -- of a handler of a signal, once it was started
    elseif not ok then
      error(tell(handle, s, what == self, headers), 2)
    elseif handle == false then
      return false, why
    elseif handle then
      return self
    end
    headers, fields, known = headers or {}, fields or {}, known or {}
    for _, name in ipairs(why) do introduce(name, headers, fields, known) end
  end
end

-- Methods -----------------------------------------------------------------------------------------

-- true once it has ended, and what it failed by if it did; false, "timeout".
function Thread:join(timeout)
  local s = check(self, "join")
  if s.is_main or self == current then
    error("a thread cannot join itself, nor the main thread", 2)
  elseif s.handle == nil then
    error(('thread "%s" is not started; call start() first'):format(s.name), 2)
  elseif timeout ~= nil and type(timeout) ~= "number" then
    error("join takes a number of seconds, not a " .. type(timeout), 2)
  end
  if not native.join(s.handle, timeout) then
    return false, "timeout"
  end
  local _, _, _, failure = native.state(s.handle)
  if failure then return true, failure end
  return true
end

function Thread:is_alive()
  local s = check(self, "is_alive")
  return s.is_main or lives(s)
end

-- Timer -------------------------------------------------------------------------------------------

local Timer = class.extend(Thread, "Timer", "luamp.Timer")

local function wait_and_call(cancelled, seconds, f, args)
  if not cancelled:wait(seconds) then
    return f(table.unpack(args, 1, args.n or #args))
  end
end

function Timer:init(seconds, f, args)
  if type(seconds) ~= "number" then
    error("thread.Timer takes a number of seconds, a function and a list of arguments", 3)
  elseif type(f) ~= "function" then
    error("thread.Timer takes a function as its second argument, not a " .. type(f), 3)
  elseif args ~= nil and type(args) ~= "table" then
    error("thread.Timer takes a list of arguments as its third, not a " .. type(args), 3)
  end
  local cancelled = require "luamp.sync".Event{name = "timer"}
  Timer.super.init(self, {target = wait_and_call, args = {cancelled, seconds, f, args or {}}})
  self._thread.is_timer = true
end

function Timer:cancel()
  check(self, "cancel").args[1]:set()
end

-- The module --------------------------------------------------------------------------------------

local thread = {
  Thread = Thread,
  Timer = Timer,
  Local = native.Local,
  active_count = native.count,
}

local main_thread = setmetatable({
  _thread = {name = "MainThread", daemon = false, is_main = true},
}, Thread)

function thread.current_thread()
  local handle, name, daemon = native.this()
  if handle == nil then
    return main_thread -- also of a child that a thread has forked
  end
  if current == nil then
    current = setmetatable({_thread = {name = name, daemon = daemon, handle = handle}}, Thread)
  end
  return current
end

do
  local _, _, daemon = native.this()
  is_daemon = daemon or false
end

return thread
