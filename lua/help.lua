-- help: help(x) of the interactive mode: what the manual says of a module, a class, a function, an
-- object, or a name.
--
-- The pages are in the program as they are, and are read when help is called first (reference.lua).

local reference, pages = ...

local manual = reference.read(pages)
local WIDTH = 76

-- Texts -------------------------------------------------------------------------------------------

local function wrapped(text, first, rest)
  local lines, line = {}, first
  local is_empty = true
  for word in reference.plain(text):gmatch("%S+") do
    if not is_empty and utf8.len(line, 1, -1, true) + 1 + utf8.len(word, 1, -1, true) > WIDTH then
      lines[#lines + 1] = line
      line, is_empty = rest, true
    end
    line = line .. (is_empty and "" or " ") .. word
    is_empty = false
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

local render = {}

function render.heading(block) return reference.plain(block.text) end
function render.paragraph(block) return wrapped(block.text, "", "") end
function render.code(block) return "    " .. block.text:gsub("\n", "\n    "):gsub("\n +\n", "\n\n") end

function render.list(block)
  local items = {}
  for i, item in ipairs(block.items) do
    local mark = block.marks[i]
    items[i] = wrapped(item, "  " .. mark .. " ", (" "):rep(#mark + 3))
  end
  return table.concat(items, "\n")
end

-- The last column is text; the others stand before it.
function render.table(block)
  local rows = {}
  for i, row in ipairs(block.rows) do
    local before = table.concat(row, "  ", 1, #row - 1):gsub("`", "")
    rows[i] = "  " .. before .. "\n" .. wrapped(row[#row], "      ", "      ")
  end
  return table.concat(rows, "\n")
end

local function texts_of(blocks, from, to)
  local texts = {}
  for i = from or 1, to or #blocks do
    local block = blocks[i]
    if not (block.kind == "code" and block.words == "types") then
      texts[#texts + 1] = render[block.kind](block)
    end
  end
  return table.concat(texts, "\n\n")
end

-- Signatures --------------------------------------------------------------------------------------

local function results_of(signature)
  if #signature.results == 0 then return "nothing" end
  local lists = {}
  for i, results in ipairs(signature.results) do
    local types = {}
    for j, result in ipairs(results) do
      types[j] = (result.name == "..." and "...: " or "") .. result.type
    end
    lists[i] = table.concat(types, ", ")
  end
  return table.concat(lists, "  or  ")
end

local function signature_text(signature)
  local lines = {signature.text}
  for _, argument in ipairs(signature.arguments) do
    lines[#lines + 1] = ("    %s: %s"):format(argument.name, argument.type)
  end
  if signature.options then
    local options = {}
    for i, argument in ipairs(signature.arguments) do options[i] = argument.name end
    for _, option in ipairs(signature.options) do options[#options + 1] = option.name end
    lines[#lines + 1] = "    or a table of options: " .. table.concat(options, ", ")
  end
  lines[#lines + 1] = "    -> " .. results_of(signature)
  return table.concat(lines, "\n")
end

-- The signatures and fields, a line each.
local function listed(signatures, fields)
  local lines = {}
  for _, signature in ipairs(signatures) do
    lines[#lines + 1] = "  " .. signature.text .. " -> " .. results_of(signature)
  end
  for _, field in ipairs(fields) do
    lines[#lines + 1] = "  " .. field.text .. ": " .. field.type
  end
  return table.concat(lines, "\n")
end

local function class_text(class)
  local called = class.called
  local text = ("The objects, here called %s, have:\n\n%s"):format(called,
    listed(reference.members_of(manual, class, "methods"), reference.members_of(manual, class, "fields")))
  if class.extends then text = text .. "\n\n" .. class.name .. " extends " .. class.extends .. "." end
  return text
end

-- What the manual has under a name.
local function named_text(name)
  local what, class = manual.names[name], manual.classes[name]
  if what and what.kind == "field" then
    return name .. ": " .. what.type .. "\n\n" .. wrapped(what.about, "", "")
  end
  local signature = what or class.makers[1]
  local parts = {name, signature_text(signature), texts_of(signature.entry.blocks)}
  if class then parts[#parts + 1] = class_text(class) end
  if parts[3] == "" then table.remove(parts, 3) end
  return table.concat(parts, "\n\n")
end

local function module_text(page)
  local first = 2
  while page.blocks[first] and page.blocks[first].kind ~= "heading" do first = first + 1 end
  return page.title .. "\n\n" .. texts_of(page.blocks, 2, first - 1) .. "\n\nIt has:\n\n" ..
    listed(page.functions, page.fields) .. '\n\nhelp "' .. page.name .. ".NAME\" tells of one of these."
end

local function overview()
  local lines = {"help(x) tells what the manual says of a module, a class, a function or an object, and " ..
    "help \"sync.Lock.acquire\" of a name.", "", "The modules:", ""}
  for _, page in ipairs(manual.modules) do
    local about = reference.plain(page.blocks[2].text):match("^.-%.%f[%s%z]") or page.blocks[2].text
    lines[#lines + 1] = wrapped(about, ("  %-10s"):format(page.name), (" "):rep(12))
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "And these pages:"
  lines[#lines + 1] = ""
  for _, page in ipairs(manual.pages) do
    if not page.is_module then lines[#lines + 1] = ("  help %q"):format(page.name) end
  end
  lines[1] = wrapped(lines[1], "", "")
  return table.concat(lines, "\n")
end

-- Values ------------------------------------------------------------------------------------------

-- "Lock" as the name of a class in the manual; more than one module could have it.
local function class_called(short)
  for _, page in ipairs(manual.modules) do
    local class = type(short) == "string" and manual.classes[page.name .. "." .. short]
    if class then return class.name end
  end
end

-- Which names stand for which values, of the modules that are loaded; and of classes, their methods.
local function known_values()
  local known, seen = {}, {}
  local function note(value, name)
    if value ~= nil and not known[value] then known[value] = name end
  end
  local function note_class(methods, name)
    for _, signature in ipairs(reference.members_of(manual, manual.classes[name], "methods")) do
      note(rawget(methods, signature.name), name .. "." .. signature.name)
    end
  end
  -- Classes of the Lua halves that nothing leads to but the functions that use them.
  local function search(f)
    if seen[f] or not debug.getinfo(f, "S").source:find("^=luamp/") then return end
    seen[f] = true
    for i = 1, math.huge do
      local name, value = debug.getupvalue(f, i)
      if name == nil then return end
      if type(value) == "function" then
        search(value)
      elseif type(value) == "table" and not seen[value] and class_called(rawget(value, "__name")) then
        seen[value] = true
        note_class(value, class_called(value.__name))
        for _, method in next, value do
          if type(method) == "function" then search(method) end
        end
      end
    end
  end
  for _, page in ipairs(manual.modules) do
    local module = package.loaded["luamp." .. page.name]
    if type(module) == "table" then
      note(module, page.name)
      for _, signature in ipairs(page.functions) do
        note(rawget(module, signature.name), page.name .. "." .. signature.name)
      end
    end
  end
  for _, page in ipairs(manual.modules) do
    local module = package.loaded["luamp." .. page.name]
    for _, class in ipairs(type(module) == "table" and page.classes or {}) do
      local value = rawget(module, class.name:match("[^%.]+$"))
      if type(value) == "table" then note_class(value, class.name) end
    end
    for _, value in next, type(module) == "table" and module or {} do
      if type(value) == "function" then search(value) end
    end
  end
  for _, metatable in next, debug.getregistry() do
    local methods = type(metatable) == "table" and rawget(metatable, "__methods")
    local class = methods and class_called(rawget(metatable, "__name"))
    if class then note_class(methods, class) end
  end
  return known
end

local function name_of(value)
  for _, page in ipairs(manual.modules) do -- one that is not loaded yet is known by its global only
    if rawequal(value, rawget(_G, page.name)) then return page.name end
  end
  local known = known_values()
  if known[value] then return known[value] end
  local metatable = debug.getmetatable(value)
  while type(metatable) == "table" do -- an object's class, or one that it extends
    local class = known[metatable] or class_called(rawget(metatable, "__name"))
    if class then return class end
    metatable = rawget(metatable, "super")
  end
  if type(value) == "table" then -- a class of the script
    local super = rawget(value, "super")
    while type(super) == "table" do
      if known[super] then return known[super] end
      super = rawget(super, "super")
    end
  end
end

-- Names -------------------------------------------------------------------------------------------

-- "sync.Lock:acquire", "luamp.sync", "Lock.acquire", "acquire": the names of the manual that are meant.
local function meant_by(text)
  local name = text:gsub(":", "."):gsub("^luamp%.", "")
  if manual.names[name] or manual.classes[name] or manual.pages[name] then return {name} end
  -- what a class has of one that it extends
  local class, member = name:match("^(.*)%.([^%.]+)$")
  class = manual.classes[class]
  while class do
    if manual.names[class.name .. "." .. member] then return {class.name .. "." .. member} end
    class = class.extends and manual.classes[class.extends]
  end
  local found = {}
  for _, full in ipairs(manual.order) do
    if ("." .. full):sub(-#name - 1) == "." .. name then found[#found + 1] = full end
  end
  if #found > 0 then return found end
  for _, full in ipairs(manual.order) do
    if full:lower():find(name:lower(), 1, true) then found[#found + 1] = full end
  end
  return found, true
end

local function text_of_name(name)
  local page = manual.pages[name]
  if page and page.is_module then return module_text(page) end
  if page then return texts_of(page.blocks) end
  return named_text(name)
end

local function text_of_string(text)
  local found, is_like = meant_by(text)
  if #found == 1 and not is_like then return text_of_name(found[1]) end
  -- Several names of one entry: it is shown once.
  local what = manual.names[found[1]]
  local is_one = not is_like and what ~= nil
  for _, name in ipairs(found) do is_one = is_one and manual.names[name] == what end
  if is_one then return text_of_name(found[1]) end
  if #found == 0 or text == "" then
    return ("The manual has no %q; help() lists what there is."):format(text)
  end
  local lines = {is_like and ("The manual has no %q. Was one of these meant?\n"):format(text)
    or ("Several are called %q:\n"):format(text)}
  for i = 1, math.min(#found, 40) do lines[#lines + 1] = ("  help %q"):format(found[i]) end
  if #found > 40 then lines[#lines + 1] = ("  and %d more"):format(#found - 40) end
  return table.concat(lines, "\n")
end

return function(...)
  local value = ...
  if select("#", ...) == 0 then
    print(overview())
  elseif type(value) == "string" then
    print(text_of_string(value))
  else
    local name = value ~= nil and name_of(value)
    if name then
      print(text_of_name(name))
    else
      print(("luamp's manual says nothing of this %s; help() lists what there is, and a name can be " ..
             "given as a string.\nLua's own manual is at https://www.lua.org/manual/5.4/."):format(
              type(value)))
    end
  end
end
