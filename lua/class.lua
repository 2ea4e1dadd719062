-- class: objects with a state of luamp's own that a script can extend: processes and threads.
--
-- An object is a table. What luamp knows of it is in one field of it, the family's (`_process`,
-- `_thread`), and never in the object itself, so a script's own fields are its own. Of that state
-- some fields can be read through the object (computed), some can be set (settable).
--
-- A class is a table, too: the metatable of its objects, with the methods in it. Its `super` is the
-- class that it extends. Classes are known to the codec by name, so objects can be sent.

local register_class, nearest = ...

local class = {}
local families = setmetatable({}, {__mode = "k"}) -- class -> family
local names = setmetatable({}, {__mode = "k"}) -- class -> the name by which the codec knows it

local function register(name, made)
  register_class(name, made)
  names[made] = name
end

local function construct(self, ...)
  local object = setmetatable({[families[self].field] = families[self].begin()}, self)
  self.init(object, ...)
  return object
end

local function class_tostring(self)
  return "class " .. self.__name
end

local function make(name, family, super)
  local field, computed, settable = family.field, family.computed, family.settable
  local made = {super = super, __name = name, __tostring = family.describe}
  function made.__index(self, key)
    local compute = computed[key]
    if compute then
      local state = rawget(self, field)
      if state then return compute(state, self) end
    end
    return made[key]
  end
  function made.__newindex(self, key, value)
    local set = settable[key]
    if set and rawget(self, field) then
      set(self[field], value)
    elseif computed[key] then
      error(("'%s' of a %s cannot be set"):format(key, family.noun), 2)
    else
      rawset(self, key, value)
    end
  end
  families[made] = family
  return setmetatable(made, {__index = super, __call = construct, __tostring = class_tostring})
end

-- A class that extends another, known to the codec by this name.
function class.extend(self, sub, name)
  local extended = make(sub, families[self], self)
  pcall(register, name, extended) -- of two with one name, the first
  return extended
end

local kinds = {target = "function", args = "table", kwargs = "table", name = "string",
               daemon = "boolean"}

local function check_options(given, what)
  if type(given) ~= "table" then
    error(("%s takes one table of options, not a %s"):format(what, type(given)), 4)
  end
  for option, value in pairs(given) do
    local kind = kinds[option]
    if kind == nil then
      local meant = type(option) == "string" and nearest(option, kinds)
      local hint = meant and "; did you mean '" .. meant .. "'?"
        or type(option) == "number" and "; options have names: {target = f}" or ""
      error(("unknown option '%s' of %s%s"):format(tostring(option), what, hint), 4)
    end
    if type(value) ~= kind then
      error(("option '%s' of %s: a %s expected, got %s"):format(option, what, kind, type(value)), 4)
    end
  end
end

-- The first class of a family: {noun =, field =, computed =, settable =, describe =, begin =}.
-- begin() gives the state of a new object.
function class.new(name, family)
  local made = make(name, family)
  function made.init(self, given)
    local state = type(self) == "table" and rawget(self, family.field)
    if not state then
      error(("init wants a %s as its first argument: C.super.init(self, {...})"):format(
              family.noun), 2)
    end
    if given ~= nil then
      check_options(given, family.noun .. "." .. name)
      state.target, state.args, state.kwargs = given.target, given.args, given.kwargs
      if given.name then state.name = given.name end
      if given.daemon ~= nil then state.daemon = given.daemon end
    end
  end
  function made.extend(self, sub)
    if type(sub) ~= "string" then
      error("extend takes the name of the new class", 2)
    end
    return class.extend(self, sub, family.noun .. "." .. sub)
  end
  register(family.noun .. "." .. name, made)
  return made
end

-- What of a class is the script's: what it says of it in another state. nil for a table that is no
-- class of this kind.
local made_here = {super = true, __name = true, __tostring = true, __index = true, __newindex = true}

function class.own_fields(self)
  if not families[self] then return nil end
  local own = {}
  for key, value in next, self do
    if not made_here[key] or (key == "__tostring" and value ~= families[self].describe) then
      own[key] = value
    end
  end
  return own
end

function class.name_of(self)
  return names[self]
end

class.register = register_class

return class
