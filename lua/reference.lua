-- reference: reads the manual, docs/*.md, as data.
--
-- The pages are the only place where the modules' functions are described. A page whose title is the
-- name of a module is strict: what stands under a heading that begins with a code span is an entry,
-- and this file knows its form. The man pages, the definition files for editors and the standard for
-- luacheck are made from it (build-aux/reference), and so is what help() shows (lua/help.lua).
--
-- An entry:
--
--     ### `l:acquire([block[, timeout]])`            one signature or several, with commas between
--
--     ```types                                       one line for all of them, or one for each
--     block: boolean|number, timeout: number -> self, "owner died"? or nil, "timeout"
--     ```
--
--     Text, tables and examples, up to the next heading.
--
-- A types line names each argument with its type, and after the arrow the results: `nothing`, or types
-- with commas between; `or` stands between the lists that are possible. `...: any` is any number of
-- them. Types are written as LuaCATS has them; a capital letter is any type, the same in all the line.
--
--   * A result with a name, `-> l: sync.Lock`, makes sync.Lock a class, and l what the page calls its
--     objects: l:acquire, and l.name in a table of fields, belong to all classes that were called l
--     last, in this section or one before. `extends ipc.Queue` may follow.
--   * `{name: string}` among the arguments: the call also takes one table, with its arguments and these.
--   * `{process.ProcessOptions}`: it takes a table, and that one's options are these.
--
-- A table `| option | type | |` under an entry has the options of a call, and makes a type of them:
-- pool.PoolOptions under pool.Pool. `timeout` (Client) is an option of that signature only. A table
-- `| field | type | |` has the fields of objects and of the module; a[i] and #a are fields, too.
--
-- What has another form is an error that names the file, the line, and what to write.

local reference = {}

local basic = {}
for name in ([[any boolean false function integer nil number self string table thread true userdata
    unknown]]):gmatch("%a+") do
  basic[name] = true
end

local function fail(page, line, message, ...)
  error(("%s:%d: %s"):format(page.file, line, message:format(...)), 0)
end

-- Texts -------------------------------------------------------------------------------------------

local closing = {["("] = ")", ["{"] = "}", ["["] = "]"}

-- The parts of a text between the separators (plain strings) that stand in no brackets or quotes. nil
-- and what is wrong.
function reference.split(text, separator)
  local parts, from, at, open = {}, 1, 1, {}
  while at <= #text do
    local c = text:sub(at, at)
    if c == '"' then
      at = text:find('"', at + 1, true)
      if at == nil then return nil, "a quote is not closed" end
    elseif closing[c] then
      open[#open + 1] = closing[c]
    elseif c == open[#open] then
      open[#open] = nil
    elseif c:find("[%)%]}]") then
      return nil, "'" .. c .. "' closes nothing"
    elseif #open == 0 and text:sub(at, at + #separator - 1) == separator then
      parts[#parts + 1] = text:sub(from, at - 1)
      at = at + #separator - 1
      from = at + 1
    end
    at = at + 1
  end
  if #open > 0 then return nil, "'" .. open[#open] .. "' is missing" end
  parts[#parts + 1] = text:sub(from)
  for i, part in ipairs(parts) do parts[i] = part:match("^%s*(.-)%s*$") end
  return parts
end

-- Types -------------------------------------------------------------------------------------------

-- Reads a type from the place on; gives the place behind it, or nil and what is wrong. The names in it
-- are handed to `use`. `is_list`: types with commas between may follow the colon of a fun.
local read_type

local function read_members(text, at, last, use)
  while not text:find("^%s*" .. last, at) do
    local colon = text:match("^%s*%.%.%.%s*:?()", at) or text:match("^%s*[%a_][%w_]*%??%s*:()", at)
    local key, after = text:match("^%s*%[(%w+)%]%s*:()", at)
    if key then
      if not basic[key] and not key:find("^%d+$") then return nil, "[" .. key .. "] is no key" end
      colon = after
    end
    if colon == nil then return nil, "'name: type' is expected in the brackets" end
    if not text:find("^%s*[,%)]", colon) then
      local why
      at, why = read_type(text, colon, use)
      if at == nil then return nil, why end
    else
      at = colon
    end
    at = text:match("^%s*,()", at) or at
  end
  return text:match("^%s*" .. last .. "()", at)
end

local function read_plain(text, at, use, is_list)
  at = text:match("^%s*()", at)
  local after = text:match('^"[^"]*"()', at)
  if after then return after end
  local why
  after = text:match("^fun%s*%(()", at)
  if after then
    after, why = read_members(text, after, "%)", use)
    if after == nil then return nil, why end
    local result = text:match("^%s*:()", after)
    while result do
      after, why = read_type(text, result, use)
      if after == nil then return nil, why end
      result = is_list and text:match("^%s*,()", after)
    end
    return after
  end
  after = text:match("^%(()", at)
  if after then
    after, why = read_type(text, after, use, true)
    if after == nil then return nil, why end
    after = text:match("^%s*%)()", after)
    if after == nil then return nil, "')' is missing" end
    return after
  end
  after = text:match("^{()", at)
  if after then return read_members(text, after, "}", use) end
  local name
  name, after = text:match("^([%a_][%w_%.]*)()", at)
  if name == nil then return nil, "a type is expected at '" .. text:sub(at) .. "'" end
  use(name)
  return after
end

function read_type(text, at, use, is_list)
  repeat
    local why
    at, why = read_plain(text, at, use, is_list)
    if at == nil then return nil, why end
    at = text:match("^[%[%]%?]*()", at)
    local more = text:match("^%s*|()", at)
    at = more or at
  until not more
  return at
end

-- Remembers what the type uses, to be looked at when all pages are read.
local function check_type(manual, page, line, text)
  local after, why = read_type(text, 1, function(name)
    if not basic[name] and not name:find("^%u$") then
      manual.uses[#manual.uses + 1] = {name = name, page = page, line = line}
    end
  end)
  if after == nil then
    fail(page, line, "'%s' is no type: %s", text, why)
  elseif after <= #text then
    fail(page, line, "'%s' is no type: '%s' is too much", text, text:sub(after))
  end
  return text
end

-- Blocks ------------------------------------------------------------------------------------------

local function cells_of(line)
  local cells = {}
  for cell in line:gsub("\\|", "\0"):match("^|(.*)$"):gmatch("(.-)|") do
    cells[#cells + 1] = (cell:gsub("%z", "|"):match("^%s*(.-)%s*$"))
  end
  return cells
end

-- The lines of a page as blocks: headings, paragraphs, lists, tables, and fenced texts.
local function blocks_of(page)
  local blocks, number = {}, 0
  local block -- that goes on with the next line, if that is like it
  local function begin(kind, fields)
    fields.kind, fields.line = kind, number
    blocks[#blocks + 1] = fields
    block = fields
  end
  for line in (page.text .. "\n"):gsub("\n\n$", "\n"):gmatch("(.-)\n") do
    number = number + 1
    if block and block.kind == "code" and not block.is_closed then
      if line == "```" then
        block.is_closed = true
        block.text = table.concat(block.lines, "\n")
      else
        block.lines[#block.lines + 1] = line
      end
    elseif line:find("^```") then
      begin("code", {words = line:sub(4), lines = {}})
    elseif line:find("^#") then
      local marks, text = line:match("^(#+) (.+)$")
      if marks == nil then fail(page, number, "a heading is '# ', '## ' and so on, and its text") end
      begin("heading", {level = #marks, text = text})
      block = nil
    elseif line:find("^%s*$") then
      block = block and block.kind == "list" and block or nil
      if block then block.is_after_blank = true end
    elseif line:find("^|") then
      if not (block and block.kind == "table") then begin("table", {rows = {}}) end
      if not line:find("|%s*$") then fail(page, number, "a line of a table ends with '|'") end
      if not line:find("^[|%-]+$") then
        local cells = cells_of(line)
        cells.line = number
        if block.head then block.rows[#block.rows + 1] = cells else block.head = cells end
      end
    elseif line:find("^%- ") or line:find("^%d+%. ") then
      local mark, text = line:match("^(%S+) (.*)$")
      if not (block and block.kind == "list") then begin("list", {items = {}, marks = {}}) end
      block.is_after_blank = nil
      block.marks[#block.marks + 1] = mark
      block.items[#block.items + 1] = text
    elseif block and block.kind == "list" and line:find("^  ") then
      block.items[#block.items] = block.items[#block.items] .. " " .. line:match("^%s*(.*)$")
    elseif block and block.kind == "paragraph" then
      block.text = block.text .. " " .. line:match("^%s*(.*)$")
    else
      begin("paragraph", {text = line})
    end
  end
  if block and block.kind == "code" and not block.is_closed then
    fail(page, block.line, "this block is not closed: write ``` below it")
  end
  return blocks
end

-- Signatures --------------------------------------------------------------------------------------

local function rebuild(arguments)
  local text, optional = "", 0
  for i, argument in ipairs(arguments) do
    if argument.is_optional then
      text = text .. "["
      optional = optional + 1
    end
    text = text .. (i > 1 and ", " or "") .. argument.name ..
      (argument.default and "=" .. argument.default or "")
  end
  return "(" .. text .. ("]"):rep(optional) .. ")"
end

-- "l:acquire([block[, timeout]])": {owner = "l", sign = ":", name = "acquire", arguments = {...}}, or
-- in `braces` the names of the options that a call with one table takes.
local function read_signature(page, line, text)
  local owner, sign, name, rest = text:match("^([%a_][%w_%.]*)([%.:])([%a_][%w_]*)([%({].*)$")
  if owner == nil then
    fail(page, line, "'%s' is no signature: write `module.name(a[, b])`, `module.name{a=, b=}` or " ..
      "`x:name(a[, b=1])`", text)
  end
  local signature = {text = text, owner = owner, sign = sign, name = name, arguments = {}}
  if rest:find("^{") then
    signature.braces = {}
    for option in rest:gmatch("([%w_]+)=") do signature.braces[#signature.braces + 1] = option end
    local built = "{" .. table.concat(signature.braces, "=, ") .. "=}"
    if built ~= rest then fail(page, line, "'%s': write '%s'", rest, built) end
    return signature
  end
  local is_optional
  for before, argument in rest:sub(2, -2):gmatch("([%[%], ]*)([^%[%], ]+)") do
    is_optional = is_optional or before:find("[", 1, true) ~= nil
    local plain, default = argument:match("^([%a_][%w_]*)=(.+)$")
    plain = plain or argument
    if plain ~= "..." and not plain:find("^[%a_][%w_]*$") then
      fail(page, line, "'%s' in '%s' is no name of an argument", plain, text)
    end
    signature.arguments[#signature.arguments + 1] =
      {name = plain, default = default, is_optional = is_optional}
  end
  if rebuild(signature.arguments) ~= rest then
    fail(page, line, "'%s': write '%s'", rest, rebuild(signature.arguments))
  end
  return signature
end

local function read_result(manual, page, line, text)
  local name, kind = text:match("^([%a_][%w_]*):%s*(.*)$")
  if text:find("^%.%.%.:") then name, kind = "...", text:match(":%s*(.*)$") end
  kind = kind or text
  local class, super = kind:match("^(%S+) extends (%S+)$")
  if class then kind = class end
  return {name = name, type = check_type(manual, page, line, kind), extends = super}
end

-- A line of a types block.
local function read_types(manual, page, line, text)
  local types = {arguments = {}, results = {}}
  local before, after = text:match("^(.-)%s*%->%s*(.+)$")
  if before == nil then
    fail(page, line, "a line of types is 'a: type, b: type -> type, type', or '-> nothing'")
  end
  local function parts_of(list, separator)
    local parts, why = reference.split(list, separator)
    if parts == nil then fail(page, line, "'%s': %s", list, why) end
    return parts
  end
  for _, part in ipairs(before == "" and {} or parts_of(before, ",")) do
    local name, kind = part:match("^([%w_%.]+):%s*(.+)$")
    local options = part:match("^{(.*)}$")
    if name then
      types.arguments[#types.arguments + 1] =
        {name = name, type = check_type(manual, page, line, kind)}
    elseif options and options:find("^[%w_%.]+$") then
      types.options_type = check_type(manual, page, line, options)
    elseif options then
      types.options = {}
      for _, option in ipairs(parts_of(options, ",")) do
        local option_name, option_type = option:match("^([%w_]+):%s*(.+)$")
        if option_name == nil then
          fail(page, line, "'%s': write '{name: type, name: type}'", part)
        end
        types.options[#types.options + 1] =
          {name = option_name, type = check_type(manual, page, line, option_type)}
      end
    else
      fail(page, line, "'%s': an argument is 'name: type'", part)
    end
  end
  if after ~= "nothing" then
    for _, list in ipairs(parts_of(after, " or ")) do
      local results = {}
      for _, result in ipairs(parts_of(list, ",")) do
        results[#results + 1] = read_result(manual, page, line, result)
      end
      types.results[#types.results + 1] = results
    end
  end
  return types
end

-- Entries -----------------------------------------------------------------------------------------

local function add(manual, page, line, name, what)
  if manual.names[name] then
    local other = manual.names[name]
    fail(page, line, "%s is described already, in %s:%d", name, other.page.file, other.line)
  end
  manual.names[name] = what
  what.full_names = what.full_names or {}
  table.insert(what.full_names, name)
  manual.order[#manual.order + 1] = name
end

local function class_of(manual, page, name, signature, extends, line)
  local class = manual.classes[name]
  if class == nil then
    class = {name = name, module = page.name, methods = {}, fields = {}, page = page,
             extends = extends, line = line}
    manual.classes[name] = class
    page.classes[#page.classes + 1] = class
  end
  class.makers = class.makers or {}
  table.insert(class.makers, signature)
  return class
end

-- The classes that a name stands for: the module's own, or those whose objects the page calls so.
local function owners_of(manual, page, line, owner)
  if manual.classes[owner] then return {manual.classes[owner]} end
  local called = page.called[owner]
  if called == nil then
    fail(page, line, "'%s' is not known here: it is neither %s, nor what a line of types before calls " ..
      "an object ('-> %s: %s.Class')", owner, page.name, owner, page.name)
  end
  return called
end

local function call_objects(manual, page, line, signature)
  for _, results in ipairs(signature.results) do
    for _, result in ipairs(results) do
      if result.name and result.name ~= "..." then
        if not result.type:find("^" .. page.name .. "%.%u") then
          fail(page, line, "'%s: %s': a result has a name when it is an object of a class of %s",
            result.name, result.type, page.name)
        end
        local class = class_of(manual, page, result.type, signature, result.extends, line)
        class.called = class.called or result.name
        local called = page.called[result.name]
        if called == nil or called.section ~= page.section then
          called = {section = page.section}
          page.called[result.name] = called
        end
        if called[#called] ~= class then called[#called + 1] = class end
        signature.makes = signature.makes or class
      end
    end
  end
end

local function apply_types(page, line, signature, types)
  local typed = {}
  for _, argument in ipairs(types.arguments) do typed[argument.name] = argument.type end
  for _, argument in ipairs(signature.arguments) do
    argument.type = typed[argument.name]
    if argument.type == nil then
      fail(page, line, "'%s' has no type: write '%s: type' into the line for `%s`", argument.name,
        argument.name, signature.text)
    end
  end
  signature.results = types.results
  signature.options = types.options
  signature.options_type = types.options_type
end

local function read_entry(manual, page, heading, block)
  local entry = {kind = "entry", page = page, line = heading.line, signatures = {}, blocks = {},
                 heading = heading}
  for text, between in heading.text:gmatch("`([^`]+)`([^`]*)") do
    if between ~= "" and between ~= ", " then
      fail(page, heading.line, "'%s': between two signatures stands ', '", between)
    end
    entry.signatures[#entry.signatures + 1] = read_signature(page, heading.line, text)
  end
  if not (block and block.kind == "code" and block.words == "types") then
    fail(page, heading.line, "the block of types is missing: write ```types, 'a: type -> type' or " ..
      "'-> nothing', and ``` below this heading")
  end
  if #block.lines ~= 1 and #block.lines ~= #entry.signatures then
    fail(page, block.line, "%d lines of types for %d signatures: write one for all, or one for each",
      #block.lines, #entry.signatures)
  end
  local types, used = {}, {}
  for i, text in ipairs(block.lines) do types[i] = read_types(manual, page, block.line + i, text) end
  for i, signature in ipairs(entry.signatures) do
    local own = types[i] or types[1]
    local line = block.line + (types[i] and i or 1)
    apply_types(page, line, signature, own)
    signature.entry, signature.page, signature.line = entry, page, heading.line
    call_objects(manual, page, line, signature)
    for _, argument in ipairs(signature.arguments) do used[argument.name] = true end
    if signature.owner == page.name and signature.sign == "." then
      page.functions[#page.functions + 1] = signature
      add(manual, page, heading.line, page.name .. "." .. signature.name, signature)
    elseif signature.sign == ":" then
      for _, class in ipairs(owners_of(manual, page, heading.line, signature.owner)) do
        class.methods[#class.methods + 1] = signature
        add(manual, page, heading.line, class.name .. "." .. signature.name, signature)
      end
    else
      fail(page, heading.line, "`%s`: a function of this page is %s.name(...), a method x:name(...)",
        signature.text, page.name)
    end
  end
  for i, own in ipairs(types) do
    for _, argument in ipairs(own.arguments) do
      if not used[argument.name] then
        fail(page, block.line + i, "'%s' is no argument of a signature in the heading", argument.name)
      end
    end
  end
  return entry
end

-- Tables ------------------------------------------------------------------------------------------

-- A type in a table is a code span.
local function type_in(manual, page, row)
  local kind = row[2] and row[2]:match("^`([^`]+)`$")
  if kind == nil or #row ~= 3 then
    fail(page, row.line, "a row is | `name` | `type` | text |, with '\\|' where the type has a '|'")
  end
  local key, value = kind:match("^%[(.+)%]: (.+)$") -- of what stands in it, for a[i]
  if key then check_type(manual, page, row.line, key) end
  check_type(manual, page, row.line, value or kind)
  return kind, key
end

local function read_fields(manual, page, block, entry)
  if entry and not entry.signatures[1].makes then
    fail(page, block.line, "fields stand under what makes the object, or under a heading of their own")
  end
  for _, row in ipairs(block.rows) do
    local kind, key = type_in(manual, page, row)
    local text = row[1]:match("^`([^`]+)`$") or ""
    local owner, name = text:match("^([%a_][%w_]*)%.([%a_][%w_]*)$")
    local of_length, indexed = text:match("^#([%a_][%w_]*)$"), text:match("^([%a_][%w_]*)%[%a+%]$")
    local field = {kind = "field", text = text, name = name or of_length and "#" or indexed and "[]",
                   type = kind, about = row[3], page = page, line = row.line}
    if not field.name then
      fail(page, row.line, "'%s' is no field: write `x.name`, `x[i]` or `#x`", row[1])
    elseif (indexed ~= nil) ~= (key ~= nil) then
      fail(page, row.line, "the type of `x[i]`, and of nothing else, is `[type of the key]: type`")
    end
    owner = owner or of_length or indexed
    if owner == page.name then
      page.fields[#page.fields + 1] = field
      add(manual, page, row.line, owner .. "." .. name, field)
    else
      for _, class in ipairs(owners_of(manual, page, row.line, owner)) do
        class.fields[#class.fields + 1] = field
        add(manual, page, row.line, class.name .. "." .. field.name, field)
      end
    end
  end
end

local function read_options(manual, page, block, entry)
  if entry == nil then
    fail(page, block.line, "options stand under the function that takes them")
  end
  for _, signature in ipairs(entry.signatures) do
    local name = page.name .. "." .. signature.name:sub(1, 1):upper() .. signature.name:sub(2) ..
      "Options"
    local options = {name = name, signature = signature}
    local listed = {}
    for _, row in ipairs(block.rows) do
      local option, only = row[1]:match("^`([%a_][%w_]*)`%s*(.*)$")
      if option == nil or only ~= "" and not only:find("^%([%w_]+%)$") then
        fail(page, row.line, "'%s' is no option: write `name`, or `name` (Client) for one signature",
          row[1])
      end
      local kind = type_in(manual, page, row)
      if only == "" or only == "(" .. signature.name .. ")" then
        options[#options + 1] = {name = option, type = kind, about = row[3]}
        listed[option] = true
      end
    end
    if signature.braces then
      for _, option in ipairs(signature.braces) do
        if not listed[option] then
          fail(page, block.line, "the option '%s' of `%s` has no row", option, signature.text)
        end
      end
      if #signature.braces ~= #options then
        fail(page, entry.line, "`%s` has %d options, and its table %d", signature.text,
          #signature.braces, #options)
      end
      signature.options_type = name
    end
    manual.options[name] = options
    page.options[#page.options + 1] = options
  end
end

-- Pages -------------------------------------------------------------------------------------------

local function read_module(manual, page)
  page.functions, page.classes, page.fields, page.options = {}, {}, {}, {}
  page.called, page.section = {}, 0
  local entry
  for i, block in ipairs(page.blocks) do
    if block.kind == "heading" then
      if block.level <= 2 then page.section = page.section + 1 end
      entry = block.text:find("^`") and read_entry(manual, page, block, page.blocks[i + 1]) or nil
      block.entry = entry
    elseif entry and not (block.kind == "code" and block.words == "types") then
      entry.blocks[#entry.blocks + 1] = block
    end
    if block.kind == "code" and block.words == "types" and
        not (entry and page.blocks[i - 1].kind == "heading") then
      fail(page, block.line, "a block of types stands below the heading with the signatures")
    elseif block.kind == "table" then
      local head = table.concat(block.head, "|")
      if head == "field|type|" then
        read_fields(manual, page, block, entry)
      elseif head == "option|type|" then
        read_options(manual, page, block, entry)
      elseif head:find("^field") or head:find("^option") then
        fail(page, block.line, "write | %s | type | |", block.head[1])
      end
    end
  end
end

local function check_uses(manual)
  for _, use in ipairs(manual.uses) do
    if not manual.classes[use.name] and not manual.options[use.name] then
      fail(use.page, use.line, "there is no type '%s'", use.name)
    end
  end
  for _, page in ipairs(manual.modules) do
    for _, class in ipairs(page.classes) do
      if class.extends and not manual.classes[class.extends] then
        fail(page, class.line, "there is no class '%s'", class.extends)
      end
    end
    for _, signature in ipairs(page.functions) do
      if signature.braces and not signature.options_type then
        fail(page, signature.line, "`%s` has no options: write a table | option | type | | below it",
          signature.text)
      end
    end
  end
end

reference.MODULES = {"process", "signal", "sync", "ipc", "pool", "thread", "members"}

-- Reads pages, each {name = "sync", file = "docs/sync.md", text = ...}. Gives
--   pages                 all of them; each has `title` and `blocks`
--   modules               those of modules: with functions, classes, fields, options, too
--   names                 "sync.Lock.acquire" -> the signature or the field
--   order                 these names in the order of the pages
--   classes, options      by name
function reference.read(pages)
  local manual = {pages = {}, modules = {}, names = {}, order = {}, classes = {}, options = {}, uses = {}}
  local strict = {}
  for _, name in ipairs(reference.MODULES) do strict[name] = true end
  for i, given in ipairs(pages) do
    local page = {name = given.name, file = given.file, text = given.text}
    manual.pages[i] = page
    page.blocks = blocks_of(page)
    local first = page.blocks[1]
    if not first or first.kind ~= "heading" or first.level ~= 1 then
      fail(page, 1, "a page begins with its title: '# title'")
    end
    page.title = first.text
    if strict[page.name] then
      if page.title ~= page.name then
        fail(page, 1, "the page of a module has its name as title: '# %s'", page.name)
      end
      page.is_module = true
    end
    manual.pages[page.name] = page
  end
  for _, name in ipairs(reference.MODULES) do
    local page = manual.pages[name]
    if page then
      manual.modules[#manual.modules + 1] = page
      read_module(manual, page)
    end
  end
  check_uses(manual)
  return manual
end

-- The entries of a class, with those of what it extends.
function reference.members_of(manual, class, what)
  local all = {}
  while class do
    for _, member in ipairs(class[what]) do all[#all + 1] = member end
    class = class.extends and manual.classes[class.extends]
  end
  return all
end

-- A text without its links.
function reference.plain(text)
  return (text:gsub("%[([^%[%]]+)%]%([^%(%)]*%)", "%1"))
end

return reference
