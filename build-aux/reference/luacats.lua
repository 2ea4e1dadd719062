-- luacats: what editors and luacheck read. For the Lua language server a file of definitions for each
-- module, with annotations as LuaCATS has them; for luacheck the names that there are.

local reference = require "reference"

local luacats = {}

local function comment(lines, text)
  for line in (text .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line == "" and "---" or "--- " .. line
  end
end

-- `self` is the class of the method's object.
local function join_type(text, self)
  return self and text:gsub("%f[%w_]self%f[^%w_]", self) or text
end

-- The text of an entry as Markdown, which editors show.
local function markdown(blocks)
  local texts = {}
  for _, block in ipairs(blocks) do
    if block.kind == "paragraph" then
      texts[#texts + 1] = reference.plain(block.text)
    elseif block.kind == "code" and block.words ~= "types" then
      texts[#texts + 1] = ("```%s\n%s\n```"):format(block.words:match("^%a*"), block.text)
    elseif block.kind == "list" then
      local items = {}
      for i, item in ipairs(block.items) do items[i] = block.marks[i] .. " " .. reference.plain(item) end
      texts[#texts + 1] = table.concat(items, "\n")
    elseif block.kind == "table" and block.head[1] ~= "field" and block.head[1] ~= "option" then
      local rows = {}
      for i, row in ipairs(block.rows) do rows[i] = "- " .. reference.plain(table.concat(row, ": ")) end
      texts[#texts + 1] = table.concat(rows, "\n")
    end
  end
  return table.concat(texts, "\n\n")
end

-- The types that a result at each place may have, over all lists of results that are possible.
local function results_of(signature, self)
  local places = {}
  local shortest = math.huge
  for _, results in ipairs(signature.results) do
    local n = #results
    if results[n] and results[n].name == "..." then n = n - 1 end
    shortest = math.min(shortest, n)
  end
  local rest
  for _, results in ipairs(signature.results) do
    for i, result in ipairs(results) do
      if result.name == "..." then
        rest = rest or result.type
      else
        local place = places[i] or {types = {}, seen = {}}
        places[i] = place
        local kind = join_type(result.type, self)
        if kind == "nil" then
          place.may_be_nil = true
        else
          if kind:find("%?$") and not kind:find("[|%(]") then
            kind, place.may_be_nil = kind:sub(1, -2), true
          end
          if not place.seen[kind] then
            place.seen[kind] = true
            place.types[#place.types + 1] = kind
          end
        end
      end
    end
  end
  if rest then return {rest .. " ..."} end
  local lines = {}
  for i, place in ipairs(places) do
    local kind = table.concat(place.types, "|")
    if place.may_be_nil or i > shortest then
      kind = kind == "" and "nil" or kind == "any" and "any" or
        (#place.types > 1 or kind:find("[|%(]")) and kind .. "|nil" or kind .. "?"
    end
    lines[i] = kind
  end
  return lines
end

local function generics_of(signature)
  local seen, list = {}, {}
  local function look(text)
    for letter in text:gmatch("%f[%w_%.]%u%f[^%w_%.]") do
      if not seen[letter] then
        seen[letter] = true
        list[#list + 1] = letter
      end
    end
  end
  for _, argument in ipairs(signature.arguments) do look(argument.type) end
  return list
end

-- The annotations of a call and the line that defines it.
local function define(lines, signature, name, self)
  comment(lines, markdown(signature.entry.blocks))
  local generics = generics_of(signature)
  if #generics > 0 then lines[#lines + 1] = "---@generic " .. table.concat(generics, ", ") end
  local names = {}
  for _, argument in ipairs(signature.arguments) do
    names[#names + 1] = argument.name
    lines[#lines + 1] = ("---@param %s%s %s%s"):format(argument.name,
      argument.is_optional and argument.name ~= "..." and "?" or "", argument.type,
      argument.default and " # " .. argument.default .. " by default" or "")
  end
  if signature.braces then
    names[1] = "options"
    lines[#lines + 1] = "---@param options " .. signature.options_type
  end
  local results = results_of(signature, self)
  for _, result in ipairs(results) do lines[#lines + 1] = "---@return " .. result end
  if signature.options then
    local options = {}
    for _, argument in ipairs(signature.arguments) do
      options[#options + 1] = ("%s%s: %s"):format(argument.name, argument.is_optional and "?" or "",
        argument.type)
    end
    for _, option in ipairs(signature.options) do
      options[#options + 1] = ("%s?: %s"):format(option.name, option.type)
    end
    lines[#lines + 1] = ("---@overload fun(options: {%s}): %s"):format(table.concat(options, ", "),
      table.concat(results, ", "))
  end
  lines[#lines + 1] = ("function %s(%s) end"):format(name, table.concat(names, ", "))
  lines[#lines + 1] = ""
end

-- Whether the module has the class as a table, of which others can be made: then it is called to make an
-- object. Of the others there is a function that makes them.
local function is_extensible(manual, class)
  for _, method in ipairs(reference.members_of(manual, class, "methods")) do
    if method.name == "init" then return true end
  end
  return false
end

local function add_fields(lines, fields)
  for _, field in ipairs(fields) do
    local about = reference.plain(field.about)
    if field.name == "#" then
      lines[#lines + 1] = "---@operator len: " .. field.type
    else -- of a[i] the type has the key's in it
      local name, kind = field.type:match("^(%[.+%]): (.+)$")
      lines[#lines + 1] = ("---@field %s %s # %s"):format(name or field.name, kind or field.type, about)
    end
  end
end

local function call_of(class)
  local maker, arguments = class.makers[1], {}
  for i, argument in ipairs(maker.arguments) do
    arguments[i] = ("%s%s: %s"):format(argument.name, argument.is_optional and "?" or "", argument.type)
  end
  if maker.braces then arguments[1] = "options?: " .. maker.options_type end
  return ("---@overload fun(%s): %s"):format(table.concat(arguments, ", "), class.name)
end

local function add_class(lines, context, page, class)
  local short = class.name:match("[^%.]+$")
  local variable, is_local = short, "local "
  if is_extensible(context.manual, class) then
    variable, is_local = class.name, ""
    comment(lines, markdown(class.makers[1].entry.blocks))
  end
  lines[#lines + 1] = ("---@class %s%s"):format(class.name, class.extends and ": " .. class.extends or "")
  add_fields(lines, class.fields)
  if is_local == "" then lines[#lines + 1] = call_of(class) end
  lines[#lines + 1] = is_local .. variable .. " = {}"
  lines[#lines + 1] = ""
  for _, method in ipairs(class.methods) do
    define(lines, method, variable .. ":" .. method.name, class.name)
  end
end

local function first_paragraph(page)
  return reference.plain(page.blocks[2].text)
end

function luacats.module(context, page)
  local lines = {"---@meta luamp." .. page.name, "", "-- Made by build-aux/reference from the manual.", ""}
  for _, options in ipairs(page.options) do
    lines[#lines + 1] = "--- Options of `" .. options.signature.text .. "`."
    lines[#lines + 1] = "---@class " .. options.name
    for _, option in ipairs(options) do
      lines[#lines + 1] = ("---@field %s? %s # %s"):format(option.name, option.type,
        reference.plain(option.about))
    end
    lines[#lines + 1] = ""
  end
  comment(lines, first_paragraph(page))
  lines[#lines + 1] = "---@class luamp." .. page.name
  add_fields(lines, page.fields)
  -- The modules with short names are globals of the program.
  local is_global = page.name ~= "members"
  lines[#lines + 1] = (is_global and "" or "local ") .. page.name .. " = {}"
  lines[#lines + 1] = ""
  for _, class in ipairs(page.classes) do add_class(lines, context, page, class) end
  for _, signature in ipairs(page.functions) do
    local name = page.name .. "." .. signature.name
    local class = context.manual.classes[name]
    if not (class and is_extensible(context.manual, class)) then define(lines, signature, name) end
  end
  lines[#lines + 1] = "return " .. page.name
  return table.concat(lines, "\n") .. "\n"
end

-- What `require "luamp"` gives.
function luacats.all(context)
  local lines = {"---@meta luamp", "", "-- Made by build-aux/reference from the manual.", "",
    "---@class luamp", "---@field _VERSION string"}
  for _, page in ipairs(context.manual.modules) do
    if page.name ~= "members" then
      lines[#lines + 1] = ("---@field %s luamp.%s"):format(page.name, page.name)
    end
  end
  lines[#lines + 1] = "local luamp = {}"
  lines[#lines + 1] = ""
  lines[#lines + 1] = "return luamp"
  return table.concat(lines, "\n") .. "\n"
end

-- The standard for luacheck: the globals of the program, and what is in them.
function luacats.luacheck(context)
  local lines = {
    "-- The globals of luamp, for luacheck. Made by build-aux/reference from the manual. In .luacheckrc:",
    "--", '--     stds.luamp = dofile "/usr/local/share/luamp/luacheck.lua"   -- the installed file',
    '--     std = "lua54+luamp"', "return {", "  read_globals = {",
  }
  for _, page in ipairs(context.manual.modules) do
    if page.name ~= "members" then
      lines[#lines + 1] = ("    %s = {fields = {"):format(page.name)
      local names = {}
      for _, list in ipairs {page.functions, page.fields} do
        for _, what in ipairs(list) do names[#names + 1] = what.name end
      end
      table.sort(names)
      for _, name in ipairs(names) do
        local class = context.manual.classes[page.name .. "." .. name]
        lines[#lines + 1] = ("      %s = {%s},"):format(name,
          class and is_extensible(context.manual, class) and "other_fields = true" or "")
      end
      lines[#lines + 1] = "    }},"
    end
  end
  lines[#lines + 1] = "  },"
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n") .. "\n"
end

return luacats
