-- main: makes what is made from the manual, docs/*.md, and from src/luamp.h and src/host/options.c.
--
--     luamp build-aux/reference/main.lua SOURCE FOLDER FILE...
--
-- makes the files, given by their names below the folder, each of which has a maker below. SOURCE is the
-- top of the source tree. Any Lua 5.4 will do in the place of luamp, since nothing here needs it; a cross
-- build takes one of the machine that builds. It writes all files or, when something is wrong with a
-- source, none.

local source, folder = arg[1], arg[2]
package.path = source .. "/lua/?.lua;" .. source .. "/build-aux/reference/?.lua"

local reference = require "reference"
local man, luacats, completions = require "man", require "luacats", require "completions"

local function read(path)
  local f <close> = assert(io.open(source .. "/" .. path, "rb"))
  return f:read "a"
end

local function read_manual()
  local pages = {}
  for _, list in ipairs {reference.MODULES, {"sending-values", "host"}} do
    for _, name in ipairs(list) do
      local file = "docs/" .. name .. ".md"
      pages[#pages + 1] = {name = name, file = file, text = read(file)}
    end
  end
  return reference.read(pages)
end

local header = read "src/luamp.h"
local version = {}
for part, number in header:gmatch "#define LUAMP_VERSION_(%u+) (%d+)" do version[part] = number end
version = ("%s.%s.%s"):format(version.MAJOR, version.MINOR, version.RELEASE)

local manual = read_manual()
local context = {
  manual = manual, version = version, header = header,
  options = completions.read_options("src/host/options.c", read "src/host/options.c"),
}

-- The file's name -> its text.
local makers = {
  ["man/luamp.1"] = man.program,
  ["man/luamp.3"] = man.header,
  ["man/luamp-sending-values.7"] = man.sending_values,
  ["library/luamp.lua"] = luacats.all,
  ["luacheck.lua"] = luacats.luacheck,
  ["completions/luamp.bash"] = completions.bash,
  ["completions/_luamp"] = completions.zsh,
  ["completions/luamp.fish"] = completions.fish,
}
for _, page in ipairs(manual.modules) do
  makers["man/luamp-" .. page.name .. ".3lua"] = function(c) return man.module(c, page) end
  makers["library/luamp/" .. page.name .. ".lua"] = function(c) return luacats.module(c, page) end
end

local made, listed = {}, {}
for i = 3, #arg do
  local maker = makers[arg[i]]
  if maker == nil then
    error(("%s: nothing makes this file; src/sources.am lists it, and build-aux/reference/main.lua has " ..
      "no maker for it"):format(arg[i]), 0)
  end
  listed[arg[i]] = true
  made[#made + 1] = {name = arg[i], text = maker(context)}
end
for name in pairs(makers) do
  if not listed[name] then
    error(("%s is not listed in src/sources.am (REFERENCE_FILES), so it would not be installed"):format(
      name), 0)
  end
end
for _, file in ipairs(made) do
  local f <close> = assert(io.open(folder .. "/" .. file.name, "wb"))
  assert(f:write(file.text))
end
