-- man: the man pages. Those of the modules and of the program are made from the manual's pages, that of
-- the library from the comments of src/luamp.h.
--
-- They use the macros of man(7) and no others. Every text goes through inline or literal, which see to it
-- that nothing in it is taken for a request.

local reference = require "reference"

local man = {}

local function escaped(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("'", "\\(aq"):gsub("`", "\\(ga")
    :gsub("%^", "\\(ha"):gsub("~", "\\(ti"))
end

-- A line that begins with a dot is text, too.
local function protected(line)
  return line:find("^[%.']") and "\\&" .. line or line
end

-- Code spans are bold, links are their texts. One sentence a line, as roff wants it.
local function inline(text)
  local out, at = {}, 1
  text = reference.plain(text)
  while at <= #text do
    local from, to, code = text:find("`([^`]+)`", at)
    out[#out + 1] = escaped(text:sub(at, (from or 0) - 1))
    if from then out[#out + 1] = "\\fB" .. escaped(code) .. "\\fR" end
    at = (to or #text) + 1
  end
  local lines = {}
  for line in (table.concat(out):gsub("(%l[%.:;]) (%u)", "%1\n%2") .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = protected(line)
  end
  return table.concat(lines, "\n")
end

local function literal(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do lines[#lines + 1] = protected(escaped(line)) end
  return ".PP\n.RS 4\n.nf\n" .. table.concat(lines, "\n") .. "\n.fi\n.RE"
end

local function macro_argument(text)
  return '"' .. escaped(text:gsub("`", "")):gsub('"', "\\(dq") .. '"'
end

local render = {}

function render.paragraph(block) return ".PP\n" .. inline(block.text) end
function render.code(block) return literal(block.text) end

function render.list(block)
  local items = {}
  for i, item in ipairs(block.items) do
    local mark = block.marks[i] == "-" and "\\(bu" or block.marks[i]
    items[i] = (".IP %s 4\n%s"):format(mark, inline(item))
  end
  return table.concat(items, "\n")
end

function render.table(block)
  local rows = {}
  for i, row in ipairs(block.rows) do
    local before = {}
    for j = 1, #row - 1 do before[j] = inline(row[j]) end
    rows[i] = (".TP\n%s\n%s"):format(table.concat(before, "  "), inline(row[#row]))
  end
  return table.concat(rows, "\n")
end

-- The blocks from one number to another; headings of the top level, whichever it is, are sections.
local function rendered(blocks, from, to, top)
  local out = {}
  for i = from, to do
    local block = blocks[i]
    if block.kind ~= "heading" then
      out[#out + 1] = render[block.kind](block)
    elseif block.level <= top then
      out[#out + 1] = ".SH " .. macro_argument(block.entry and block.text or block.text:upper())
    else
      out[#out + 1] = ".SS " .. macro_argument(block.text)
    end
  end
  return table.concat(out, "\n")
end

local function page_of(context, name, section, about, parts)
  local text = ('.\\" Made by build\\-aux/reference from the manual.\n' ..
    '.TH %s %s "" "luamp %s" "luamp"\n.SH NAME\n%s \\- %s\n%s\n'):format(
    name:upper():gsub("%-", "\\-"), section, context.version, escaped(name), escaped(about),
    table.concat(parts, "\n"))
  return (text:gsub("(\n%.S[HS] [^\n]*\n)%.PP\n", "%1"))
end

local function see_also(context, but)
  local names = {}
  local function add(name, section)
    if name ~= but then names[#names + 1] = ("\\fB%s\\fR(%s)"):format(escaped(name), section) end
  end
  add("luamp", "1")
  if but == "luamp" then names = {} end
  for _, page in ipairs(context.manual.modules) do add("luamp-" .. page.name, "3lua") end
  add("luamp-sending-values", "7")
  return ".SH SEE ALSO\n" .. table.concat(names, ",\n")
end

-- What the first paragraph says first, as the NAME section has it.
local function about(page)
  local sentence = reference.plain(page.blocks[2].text):match("^(.-)%.%f[%s%z]")
  if sentence == nil then
    error(("%s:%d: the page's first paragraph must begin with a sentence that says what it is about"):format(
      page.file, page.blocks[2].line), 0)
  end
  return sentence:sub(1, 1):lower() .. sentence:sub(2):gsub("`", "")
end

function man.module(context, page)
  local first = 2
  while page.blocks[first] and page.blocks[first].kind ~= "heading" do first = first + 1 end
  local name = "luamp-" .. page.name
  return page_of(context, name, "3lua", about(page), {
    ".SH SYNOPSIS\n.nf\n" .. escaped(('local %s = require "luamp.%s"'):format(page.name, page.name)) ..
      "\n.fi",
    ".SH DESCRIPTION", rendered(page.blocks, 2, first - 1, 2),
    rendered(page.blocks, first, #page.blocks, 2), see_also(context, name),
  })
end

function man.sending_values(context)
  local page = context.manual.pages["sending-values"]
  return page_of(context, "luamp-sending-values", "7", "what can be put into a queue, and how", {
    ".SH DESCRIPTION", rendered(page.blocks, 2, #page.blocks, 2),
    see_also(context, "luamp-sending-values"),
  })
end

-- The program: the section luamp(1) of docs/host.md, whose first block is the synopsis.
function man.program(context)
  local page = context.manual.pages.host
  local blocks, first, last = page.blocks, nil, nil
  for i, block in ipairs(blocks) do
    if block.kind == "heading" and block.text == "luamp(1)" then
      first = i + 1
    elseif first and not last and block.kind == "heading" and block.level <= 2 then
      last = i - 1
    end
  end
  if not (first and last and blocks[first].kind == "code") then
    error(page.file .. ": there must be a section '## luamp(1)', which begins with a block of its synopsis", 0)
  end
  return page_of(context, "luamp", "1", "runs Lua scripts that use processes and threads", {
    ".SH SYNOPSIS\n.nf\n" .. escaped(blocks[first].text) .. "\n.fi", ".SH DESCRIPTION",
    rendered(blocks, first + 1, last, 3), see_also(context, "luamp"),
  })
end

-- The header ----------------------------------------------------------------------------------------
--
-- A comment that begins a line is a text: paragraphs, and what is indented further is shown as it is.
-- One that is about a function begins with a line of its name, and at the end of that line what the
-- function does to the stack, or after a colon which threads may call it. A comment between lines of
-- dashes begins a section: its title, and what holds for all of it. Other comments of one block go with
-- what follows them, up to an empty line.

local function comments_of(header)
  local found = {}
  local at = 1
  while true do
    local from, to = header:find("/%*.-%*/", at)
    if from == nil then return found end
    at = to + 1
    if from == 1 or header:sub(from - 1, from - 1) == "\n" then
      local lines = {}
      for line in (header:sub(from + 2, to - 2) .. "\n"):gmatch("(.-)\n") do
        line = line:gsub("^ %* ?", ""):gsub("%s+$", "")
        lines[#lines + 1] = #lines == 0 and line:gsub("^ ", "") or line:gsub("^   ?(%S)", "%1")
      end
      local code = header:sub(to + 1):match("^\n(.-)\n\n") or ""
      code = code:gsub("\n#define [%w_]+_%b()[^\n]*", "") -- a macro's own helpers end with _
      found[#found + 1] = {lines = lines, code = code}
    end
  end
end

local function comment_text(lines)
  local out, paragraph, code, is_item = {}, {}, {}, false
  local function flush()
    if #paragraph > 0 then
      out[#out + 1] = (is_item and "" or ".PP\n") .. inline(table.concat(paragraph, " "))
    end
    while code[#code] == "" do code[#code] = nil end
    if #code > 0 then out[#out + 1] = literal(table.concat(code, "\n")) end
    paragraph, code, is_item = {}, {}, false
  end
  for _, line in ipairs(lines) do
    local indented = line:match("^    (.*)$")
    -- a word and, two blanks from it, what it means
    local word, meaning = line:match("^(%S+)  +(%S.*)$")
    if indented and #paragraph == 0 then
      code[#code + 1] = indented
    elseif line == "" then
      if #code > 0 then code[#code + 1] = "" else flush() end
    else
      if #code > 0 then flush() end
      if word and (#paragraph == 0 or is_item) then
        flush()
        out[#out + 1] = (".TP\n\\fB%s\\fR"):format(escaped(word))
        paragraph[1], is_item = meaning, true
      else
        paragraph[#paragraph + 1] = line:match("^%s*(.*)$")
      end
    end
  end
  flush()
  return table.concat(out, "\n")
end

function man.header(context)
  local parts = {}
  for i, comment in ipairs(comments_of(context.header)) do
    local lines = comment.lines
    while lines[1] == "" do table.remove(lines, 1) end
    while lines[#lines] == "" do lines[#lines] = nil end
    if i == 1 then
      table.remove(lines, 1) -- "luamp.h: what it is"
      parts[#parts + 1] = ".SH SYNOPSIS\n.nf\n#include <luamp.h>\n.fi\n.SH DESCRIPTION"
      parts[#parts + 1] = comment_text(lines)
    elseif lines[1] and lines[1]:find("^%-%-%-%-") then
      local title = lines[2]:gsub("%.$", "")
      parts[#parts + 1] = ".SH " .. macro_argument(title:upper())
      local text = comment_text(table.move(lines, 3, #lines - 1, 1, {}))
      if text ~= "" then parts[#parts + 1] = text end
    elseif lines[1] then
      local name, effect = lines[1]:match("^([%a_][%w_]*)%s*(%[[^%]]*%])$")
      name = name or lines[1]:match("^([%a_][%w_]*)$")
      if not name and lines[2] == "" then -- who may call it stands behind the name
        name, effect = lines[1]:match("^(luamp_[%w_.]*): (.*)$")
      end
      if name then
        parts[#parts + 1] = ".SS " .. macro_argument(name .. (effect and "  " .. effect or ""))
        table.remove(lines, 1)
        while lines[1] == "" do table.remove(lines, 1) end
      end
      -- A declaration that the comment does not show itself is shown from below it.
      local shown = name and (lines[1] or ""):find("^    ")
      if not shown and comment.code ~= "" and not comment.code:find("^#[ie]") then
        parts[#parts + 1] = literal((comment.code:gsub("LUAMP_API ", "")))
      end
      if #lines > 0 then parts[#parts + 1] = comment_text(lines) end
    end
  end
  local pkg_config = ".SH SEE ALSO\n\\fBluamp\\fR(1),\n\\fBpkg\\-config\\fR(1)"
  parts[#parts + 1] = pkg_config
  return page_of(context, "luamp", "3", "the C library of luamp", parts)
end

return man
