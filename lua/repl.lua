-- repl: what the interactive mode does in Lua: it shows values, and completes names.

local repl = {}

-- Showing -----------------------------------------------------------------------------------------

local WIDTH = 76   -- a table that fits into so many columns is shown in one line
local DEPTH = 8    -- tables that are deeper inside are shown as print does
local ENTRIES = 200 -- of one table
local TOTAL = 2000 -- of a value and all tables in it: tables that share others would have no end

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
    return then true until while]]):gmatch("%a+") do
  keywords[word] = true
end

local function is_name(key)
  return type(key) == "string" and key:find("^[%a_][%w_]*$") and not keywords[key]
end

local function quoted(text)
  return (("%q"):format(text):gsub("\\\n", "\\n"):gsub("\r", "\\r"))
end

-- A table is shown as its contents unless it has a say in how it is printed.
local function is_plain(value)
  if type(value) ~= "table" then return false end
  local metatable = debug.getmetatable(value)
  return not (metatable and (rawget(metatable, "__tostring") or rawget(metatable, "__name")))
end

local ranks = {number = 1, string = 2, boolean = 3}

local function comes_before(a, b)
  local rank_a, rank_b = ranks[type(a)] or 4, ranks[type(b)] or 4
  if rank_a ~= rank_b then return rank_a < rank_b end
  if rank_a <= 2 then return a < b end
  return tostring(a) < tostring(b)
end

local shown

-- What is between a table's braces: a list of texts.
local function entries_of(value, indent, outer)
  local entries, keys, n = {}, {}, 0
  local function add(key, field)
    n = n + 1
    if #entries >= ENTRIES or outer.left <= 0 then return end
    outer.left = outer.left - 1
    local name = key == nil and "" or is_name(key) and key .. " = "
      or "[" .. shown(key, indent, outer) .. "] = "
    entries[#entries + 1] = name .. shown(field, indent, outer)
  end
  local listed = 0
  while rawget(value, listed + 1) ~= nil do
    listed = listed + 1
    add(nil, rawget(value, listed))
  end
  for key in next, value do
    if not (math.type(key) == "integer" and key >= 1 and key <= listed) then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, comes_before)
  for _, key in ipairs(keys) do
    add(key, rawget(value, key))
  end
  if n > #entries then
    entries[#entries + 1] = ("... %d more"):format(n - #entries)
  end
  return entries
end

-- A value in a table, `indent` columns from the left; `outer` are the tables that it is in.
function shown(value, indent, outer)
  if type(value) == "string" then return quoted(value) end
  if not is_plain(value) or outer[value] or outer.depth >= DEPTH then return tostring(value) end
  outer[value], outer.depth = true, outer.depth + 1
  local entries = entries_of(value, indent + 2, outer)
  outer[value], outer.depth = nil, outer.depth - 1
  local line = "{" .. table.concat(entries, ", ") .. "}"
  if indent + utf8.len(line, 1, -1, true) <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  local space = "\n" .. (" "):rep(indent + 2)
  return "{" .. space .. table.concat(entries, "," .. space) .. "\n" .. (" "):rep(indent) .. "}"
end

-- What is printed in the place of a result: a text for a table without a say in it, else the result.
function repl.show(value)
  if is_plain(value) then return shown(value, 0, {depth = 0, left = TOTAL}) end
  return value
end

-- Completing --------------------------------------------------------------------------------------

local INHERITED = 16 -- how far classes are followed

-- Adds to `found` the names that can follow a value: with a colon, its methods.
local function collect(value, found, methods_only)
  local function add_all(t)
    for key, field in next, t do
      if is_name(key) and key:sub(1, 2) ~= "__" and
          (not methods_only or type(field) == "function") then
        found[key] = true
      end
    end
  end
  for _ = 1, INHERITED do
    if type(value) == "table" then add_all(value) end
    local metatable = debug.getmetatable(value)
    if metatable == nil then return end
    local index, methods = rawget(metatable, "__index"), rawget(metatable, "__methods")
    if type(methods) == "table" then add_all(methods) end -- one of luamp's objects
    if type(index) == "table" then
      value = index
    elseif type(metatable.super) == "table" or type(index) == "function" then
      value = metatable -- an object of a class
    else
      return
    end
  end
end

-- The value of a.b.c, or nil.
local function value_of(path)
  local value = _G
  for name in path:gmatch("[%w_]+") do
    if value == nil then return nil end
    value = value[name]
  end
  return value
end

-- For a text that ends in a.b.c or a.b:c: what its last name may become, with what stands before it.
function repl.complete(text)
  local path = text:match("[%w_%.:]*$")
  local before, sign, beginning = path:match("^(.*)([%.:])([%w_]*)$")
  local found = {}
  if before then
    local known, value = pcall(value_of, before)
    if not known or value == nil then return {} end
    if type(value) == "table" then pcall(function() return value[beginning] end) end -- loads a module
    collect(value, found, sign == ":")
  else
    before, sign, beginning = "", "", path
    collect(_G, found)
    for word in pairs(keywords) do found[word] = true end
  end
  local completions = {}
  for name in pairs(found) do
    if name:sub(1, #beginning) == beginning then
      completions[#completions + 1] = before .. sign .. name
    end
  end
  table.sort(completions)
  return completions
end

return repl
