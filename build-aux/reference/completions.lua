-- completions: of the program's command line, for bash, zsh and fish. The options are read from the table
-- in src/host/options.c, whose rows are {"-e", "stat", "text"}, one a line.

local completions = {}

function completions.read_options(file, text)
  local options, number, is_inside = {}, 0, false
  for line in (text .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    if line:find("known_options[] = {", 1, true) then
      is_inside = true
    elseif is_inside and line == "};" then
      break
    elseif is_inside then
      local name, argument, about = line:match('^    {"(%-[%w%-]*)", ([%w"=]+), "([^"]+)"},$')
      if name == nil then
        error(('%s:%d: write {"-x", NULL, "text"}, or {"-x", "argument", "text"}, in one line'):format(
          file, number), 0)
      end
      options[#options + 1] = {name = name, argument = argument:match('^"(.*)"$'), about = about}
    end
  end
  if #options == 0 then error(file .. ": no table known_options[] is found", 0) end
  return options
end

-- Each option once: -l has two rows.
local function each(context)
  local list, seen = {}, {}
  for _, option in ipairs(context.options) do
    if not seen[option.name] and option.name ~= "-" then
      seen[option.name] = true
      list[#list + 1] = option
    end
  end
  return ipairs(list)
end

function completions.bash(context)
  local names, with = {}, {}
  for _, option in each(context) do
    names[#names + 1] = option.name
    if option.argument then with[#with + 1] = option.name end
  end
  return ([[
# bash completion for luamp. Made by build-aux/reference from the program's options.
_luamp()
{
    local word=${COMP_WORDS[COMP_CWORD]} i=1
    COMPREPLY=()
    # Behind the script's name, what follows is the script's: its files.
    while [ "$i" -lt "$COMP_CWORD" ]; do
        case ${COMP_WORDS[i]} in
            -m) [ "$((i + 1))" -lt "$COMP_CWORD" ] && break
                return ;;
            @WITH@) i=$((i + 1)) ;;
            -?*) ;;
            *) break ;;
        esac
        i=$((i + 1))
    done
    if [ "$i" -gt "$COMP_CWORD" ]; then
        return # the argument of an option
    elif [ "$i" -eq "$COMP_CWORD" ] && [ "${word#-}" != "$word" ]; then
        mapfile -t COMPREPLY < <(compgen -W '@NAMES@' -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _luamp luamp
]]):gsub("@(%u+)@", {NAMES = table.concat(names, " "), WITH = table.concat(with, "|")})
end

local function quoted(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

function completions.zsh(context)
  local lines = {"#compdef luamp", "# Made by build-aux/reference from the program's options.", "",
    "_arguments -S -A '-*' \\"}
  for _, option in each(context) do
    if option.name ~= "--" then
      local about = option.about:gsub("[%[%]:]", "\\%0")
      local spec = (option.name:find("^%-[elm]$") and "*" or "") .. option.name ..
        (option.argument and "+" or "") .. "[" .. about .. "]"
      if option.argument then spec = spec .. ":" .. option.argument .. ":" end
      lines[#lines + 1] = "  " .. quoted(spec) .. " \\"
    end
  end
  lines[#lines + 1] = "  '1:script:_files' \\"
  lines[#lines + 1] = "  '*:argument:_files'"
  return table.concat(lines, "\n") .. "\n"
end

function completions.fish(context)
  local lines = {"# fish completion for luamp. Made by build-aux/reference from the program's options."}
  for _, option in each(context) do
    local long, short = option.name:match("^%-%-(.+)$"), option.name:match("^%-(%w)$")
    if long or short then
      lines[#lines + 1] = ("complete -c luamp %s%s -d %s"):format(
        long and "-l " .. long or "-s " .. short, option.argument and " -x" or "", quoted(option.about))
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

return completions
