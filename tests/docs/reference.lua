-- The manual is what the modules export: every name on either side is on the other, too. And what is made
-- of the manual can be read by what it is for.
--
--     LUAMP=path/of/luamp top_srcdir=. top_builddir=build luamp tests/docs/reference.lua
--
-- The examples of the pages are run by examples.lua.

local t = require "tap"

local source = os.getenv "top_srcdir" or "."
local build = os.getenv "top_builddir" or "build"
package.path = source .. "/lua/?.lua;" .. package.path
local reference = require "reference"

local function read(path)
    local f <close> = assert(io.open(path, "rb"))
    return f:read "a"
end

local function page(name)
    return {name = name, file = "docs/" .. name .. ".md", text = read(source .. "/docs/" .. name .. ".md")}
end

local pages = {page "host", page "sending-values"}
for _, name in ipairs(reference.MODULES) do
    pages[#pages + 1] = page(name)
end
local manual = reference.read(pages)
t.ok(#manual.order > 150, "the pages can be read")

-- The names of one list that are not in the other: each is a failure of its own, by its name.
local function compare(promise, exported, described)
    local wrong = {}
    for name in pairs(exported) do
        if not described[name] then
            wrong[#wrong + 1] = name .. " is exported, and the manual does not have it"
        end
    end
    for name in pairs(described) do
        if not exported[name] then
            wrong[#wrong + 1] = name .. " is in the manual, and is not exported"
        end
    end
    table.sort(wrong)
    if not t.ok(#wrong == 0, promise) then
        t.diag(table.concat(wrong, "\n"))
    end
end

-- Modules and classes ----------------------------------------------------------------------------------

local objects = {} -- one of each class

local result_pool = pool.Pool(1)
local address = "@luamp-reference-" .. process.getpid()
local memory = assert(ipc.SharedMemory{create = true, size = 1})
memory:unlink()
objects["process.Process"] = process.Process()
objects["sync.Lock"] = sync.Lock()
objects["sync.RLock"] = sync.RLock()
objects["sync.Semaphore"] = sync.Semaphore()
objects["sync.BoundedSemaphore"] = sync.BoundedSemaphore()
objects["sync.Event"] = sync.Event()
objects["sync.Condition"] = sync.Condition()
objects["sync.Barrier"] = sync.Barrier(1)
objects["ipc.Queue"] = ipc.Queue()
objects["ipc.JoinableQueue"] = ipc.JoinableQueue()
objects["ipc.SimpleQueue"] = ipc.SimpleQueue()
objects["ipc.Connection"] = ipc.Pipe()
objects["ipc.Listener"] = assert(ipc.Listener(address))
objects["ipc.Value"] = ipc.Value("i")
objects["ipc.Array"] = ipc.Array("c", "text")
objects["ipc.Dict"] = ipc.Dict()
objects["ipc.List"] = ipc.List()
objects["ipc.SharedMemory"] = memory
objects["pool.Pool"] = result_pool
objects["pool.AsyncResult"] = result_pool:apply_async(math.abs, {1})
objects["thread.Thread"] = thread.Thread()
objects["thread.Timer"] = thread.Timer(1, print)
objects["thread.Local"] = thread.Local()

for _, module in ipairs(manual.modules) do
    local exported, described = {}, {}
    for name in pairs(require("luamp." .. module.name)) do
        exported[module.name .. "." .. name] = true
    end
    for _, list in ipairs {module.functions, module.fields} do
        for _, what in ipairs(list) do
            described[module.name .. "." .. what.name] = true
        end
    end
    compare(("the module %s has what its page says"):format(module.name), exported, described)
end

local short_names = {}
for name in pairs(require "luamp") do
    short_names[name] = name ~= "_VERSION" or nil
end
for name in pairs(short_names) do
    t.ok(manual.pages[name] and manual.pages[name].is_module, ("the module %s has a page"):format(name))
end

-- The names that an object's class has as methods; what begins with two underlines is Lua's.
local function methods_of(object)
    local found = {}
    local metatable = debug.getmetatable(object)
    local function take(from)
        for name, value in next, from do
            if type(value) == "function" and name:sub(1, 2) ~= "__" then
                found[name] = true
            end
        end
    end
    if type(object) == "userdata" then
        take(rawget(metatable, "__methods"))
    end
    while type(object) == "table" and metatable do
        take(metatable)
        metatable = rawget(metatable, "super")
    end
    return found
end

local function upvalue(f, wanted)
    for i = 1, math.huge do
        local name, value = debug.getupvalue(f, i)
        if name == wanted then
            return value
        elseif name == nil then
            error("the function has no upvalue " .. wanted)
        end
    end
end

local all_fields = {} -- of objects, as the manual has them
for _, module in ipairs(manual.modules) do
    for _, class in ipairs(module.classes) do
        local object = objects[class.name]
        local described, exported = {}, {}
        for _, method in ipairs(reference.members_of(manual, class, "methods")) do
            described[class.name .. ":" .. method.name] = true
        end
        for name in pairs(object ~= nil and methods_of(object) or {}) do
            exported[class.name .. ":" .. name] = true
        end
        compare(("a %s has the methods that the manual says"):format(class.name), exported, described)
        for _, field in ipairs(reference.members_of(manual, class, "fields")) do
            all_fields[field.name] = true
            if field.name == "#" then
                t.ok(pcall(function() return #object end), ("#x can be asked of a %s"):format(class.name))
            elseif field.name == "[]" then
                t.ok(debug.getmetatable(object).__newindex, ("%s has entries"):format(class.name))
            else
                local can, value = pcall(function() return object[field.name] end)
                -- `integer?` may be nil, and so may super of a class that extends none.
                t.ok(can and (value ~= nil or field.type:find("?", 1, true)),
                    ("a %s has the field %s"):format(class.name, field.name))
            end
        end
    end
end
for name in pairs(objects) do
    t.ok(manual.classes[name], ("the class %s is in the manual"):format(name))
end

-- Of what computes fields no list can be had at run time, but for the classes in Lua.
for _, class in ipairs {"process.Process", "thread.Thread"} do
    local exported, described = {[class .. ".super"] = true}, {}
    local metatable = debug.getmetatable(objects[class])
    for name in pairs(upvalue(metatable.__index, "computed")) do
        exported[class .. "." .. name] = true
    end
    for _, field in ipairs(manual.classes[class].fields) do
        described[class .. "." .. field.name] = true
    end
    compare(("the fields of a %s are those of its page"):format(class), exported, described)
end

local bindings = {}
for _, name in ipairs {"connection", "ipc", "sharedmemory", "socket", "sync", "tables", "thread", "values"} do
    bindings[#bindings + 1] = read(source .. "/src/bind/" .. name .. ".c")
end
bindings = table.concat(bindings)
local exported, described = {}, {}
for _, pattern in ipairs {'strcmp%(field, "([%w_]+)"%)', 'is_field%(L, 2, "([%w_]+)"%)'} do
    for name in bindings:gmatch(pattern) do
        exported[name] = true
    end
end
for name in pairs(exported) do
    described[name] = all_fields[name]
end
compare("the fields that the bindings in C know are in the manual", exported, described)
t.ok(exported.n_waiting and exported.readable and exported.raw and exported.address,
    "those are found in the bindings")

-- Options ----------------------------------------------------------------------------------------------

-- The options of each function that takes a table of them, as the manual has them.
local options = {}
for _, module in ipairs(manual.modules) do
    for _, signature in ipairs(module.functions) do
        local of = {}
        if signature.options then
            for _, argument in ipairs(signature.arguments) do of[argument.name] = true end
            for _, option in ipairs(signature.options) do of[option.name] = true end
        end
        if signature.options_type then
            for _, option in ipairs(manual.options[signature.options_type]) do of[option.name] = true end
        end
        if next(of) then options[module.name .. "." .. signature.name] = of end
    end
end

local words = {}
for _, of in pairs(options) do
    for name in pairs(of) do words[name] = true end
end
for body in bindings:gmatch "static const char %*const options%[%] = (%b{})" do
    for name in body:gmatch '"([%w_]+)' do
        words[name] = true
    end
end
for name in pairs(upvalue(upvalue(process.Process.init, "check_options"), "kinds")) do
    words[name] = true
end
for name in pairs(upvalue(upvalue(upvalue(pool.Pool, "new_pool"), "check_options"), "options")) do
    words[name] = true
end
t.ok(words.maxtasksperchild and words.max_message and words.kwargs, "the options are found in the sources")

-- An option with a value of no sensible type either is unknown, or is refused for its type. The values are
-- such that nothing is made of them.
local odd = coroutine.create(print)
for name, of in pairs(options) do
    local module, short = name:match("^(%w+)%.(%w+)$")
    local call = require("luamp." .. module)[short]
    if call ~= nil then -- of one that is missing it was told above
        local known = {}
        for word in pairs(words) do
            local ok, why = pcall(call, {[word] = odd})
            if ok or not tostring(why):find("unknown option", 1, true) then
                known[name .. "{" .. word .. "}"] = true
            end
        end
        local said = {}
        for option in pairs(of) do said[name .. "{" .. option .. "}"] = true end
        compare(("%s takes the options that the manual says"):format(name), known, said)
    end
end

-- Results ----------------------------------------------------------------------------------------------

-- A reason that a text gives with a false value is one of the entry's types; one that returns nothing may
-- tell what others return.
local wrong = {}
for _, name in ipairs(manual.order) do
    local signature = manual.names[name]
    for _, block in ipairs(signature.entry and signature.entry.blocks or {}) do
        for span in (block.kind == "paragraph" and block.text or ""):gmatch("`([^`]+)`") do
            local reason = span:match('^nil, ("[^"]*")$') or span:match('^false, ("[^"]*")$')
            local has = #signature.results == 0
            for _, other in ipairs(signature.entry.signatures) do
                for _, results in ipairs(other.results) do
                    for _, result in ipairs(results) do
                        has = has or reason and result.type:find(reason, 1, true) ~= nil
                    end
                end
            end
            if reason and not has then
                wrong[#wrong + 1] = ("%s:%d: %s is not in the types"):format(signature.page.file,
                    signature.entry.line, span)
            end
        end
    end
end
t.ok(#wrong == 0, "the reasons in the texts are in the types")
for _, line in ipairs(wrong) do t.diag(line) end

-- The form of the pages --------------------------------------------------------------------------------

local function refuses(promise, text, message)
    local ok, why = pcall(reference.read, {{name = "sync", file = "sync.md", text = "# sync\n\nText.\n\n" .. text}})
    if not t.ok(not ok and tostring(why):find(message, 1, true), promise) then
        t.diag(ok and "it was read" or why)
    end
end

local function typed(types)
    return "## `sync.f(a)`\n\n```types\n" .. types .. "\n```\n\nText.\n"
end

refuses("a signature that is none", "## `f(a)`\n", "sync.md:5: 'f(a)' is no signature: write `module.name(a[, b])`")
refuses("brackets that do not fit", "## `sync.f(a, [b])`\n\n", "sync.md:5: '(a, [b])': write '(a[, b])'")
refuses("a heading without types", "## `sync.f(a)`\n\nText.\n", "sync.md:5: the block of types is missing: write")
refuses("an argument without a type", typed "-> nothing", "sync.md:8: 'a' has no type: write 'a: type'")
refuses("a type for no argument", typed "a: any, b: any -> nothing", "sync.md:8: 'b' is no argument")
refuses("types without an arrow", typed "a: any", "sync.md:8: a line of types is")
refuses("a type that there is not", typed "a: sync.Lok -> nothing", "sync.md:8: there is no type 'sync.Lok'")
refuses("a type that is none", typed "a: (any -> nothing", "sync.md:8:")
refuses("a method of nobody", "## `x:f()`\n\n```types\n-> nothing\n```\n", "sync.md:5: 'x' is not known here")
refuses("a name that is described twice", typed "a: any -> nothing" .. typed "a: any -> nothing",
    "sync.md:12: sync.f is described already, in sync.md:5")
refuses("too many lines of types", typed "a: any -> nothing\na: any -> nothing",
    "sync.md:7: 2 lines of types for 1 signatures: write one for all")
refuses("a field without a type", "| field | type | |\n|---|---|---|\n| `sync.x` | integer | text |\n",
    "sync.md:7: a row is | `name` | `type` | text |")
refuses("a table of fields without types", "| field | |\n|---|---|\n| `sync.x` | text |\n",
    "sync.md:5: write | field | type | |")
refuses("options under nothing", "| option | type | |\n|---|---|---|\n| `x` | `any` | text |\n",
    "sync.md:5: options stand under the function")
refuses("a block that is not closed", "```lua\nprint(1)\n", "sync.md:5: this block is not closed")
local ok, why = pcall(reference.read, {{name = "sync", file = "sync.md", text = "# Locks\n"}})
t.ok(not ok and why:find("sync.md:1: the page of a module has its name as title: '# sync'", 1, true),
    "a title that is not the module's name")

-- What is made of it -----------------------------------------------------------------------------------

local function quoted(s)
    return "'" .. s:gsub("'", "'\\''") .. "'"
end

local function shell(command)
    local f <close> = assert(io.popen(command .. " 2>&1"))
    local text = f:read "a"
    return text, f:close()
end

local function has(program)
    return os.execute("command -v " .. program .. " >/dev/null 2>&1") == true
end

-- A release has the made files in its source tree.
local made = build .. "/reference"
if not io.open(made .. "/luacheck.lua") then
    made = source .. "/reference"
end

local globals = dofile(made .. "/luacheck.lua").read_globals
local listed, expected = {}, {}
for name, entry in pairs(globals) do
    for field in pairs(entry.fields) do listed[name .. "." .. field] = true end
end
for _, module in ipairs(manual.modules) do
    for name in pairs(short_names[module.name] and require("luamp." .. module.name) or {}) do
        expected[module.name .. "." .. name] = true
    end
end
compare("luacheck knows what the modules have", expected, listed)

for _, module in ipairs(manual.modules) do
    local path = ("%s/library/luamp/%s.lua"):format(made, module.name)
    local chunk, why = loadfile(path)
    if t.ok(chunk, ("the definitions of %s are Lua"):format(module.name)) then
        local environment = {}
        local defined = select(2, pcall(assert(loadfile(path, "t", setmetatable(environment,
            {__index = {process = {}, thread = {Thread = {}}}})))))
        local has_them = {}
        for name in pairs(type(defined) == "table" and defined or {}) do has_them[name] = true end
        for _, field in ipairs(module.fields) do
            has_them[field.name] = read(path):find("---@field " .. field.name .. " ", 1, true) and true
        end
        local wanted = {}
        for name in pairs(require("luamp." .. module.name)) do wanted[name] = true end
        compare(("the definitions of %s define what it has"):format(module.name), wanted, has_them)
    else
        t.diag(why)
    end
end

local sync_definitions = read(made .. "/library/luamp/sync.lua")
t.ok(sync_definitions:find('---@param block? boolean|number\n---@param timeout? number\n---@return sync.Lock?\n' ..
    '---@return "owner died"|"timeout"|nil\nfunction Lock:acquire(block, timeout) end', 1, true),
    "the definitions have types, and reasons as literals")

for _, file in ipairs {"man/luamp.1", "man/luamp.3", "man/luamp-sending-values.7"} do
    t.ok(io.open(made .. "/" .. file), file .. " is made")
end
if has "groff" then
    for path in shell("ls " .. quoted(made) .. "/man/*"):gmatch("[^\n]+") do
        local said = shell("groff -man -ww -z -Tutf8 " .. quoted(path))
        if not t.ok(said == "", path:match("[^/]+$") .. " is read by groff without a warning") then
            t.diag(said)
        end
    end
else
    t.skip("groff reads the man pages without a warning", "there is no groff")
end
local manual_page = read(made .. "/man/luamp-sync.3lua")
for _, signature in ipairs(manual.pages.sync.functions) do
    t.ok(manual_page:find(signature.text, 1, true), ("luamp-sync(3lua) has %s"):format(signature.text))
end
local header_page = read(made .. "/man/luamp.3")
for name in read(source .. "/src/luamp.h"):gmatch("\nLUAMP_API [^(]-([%w_]+)%(") do
    t.ok(header_page:find(name .. "(", 1, true), ("luamp(3) has %s"):format(name))
end

for shell_name, file in pairs {bash = "luamp.bash", zsh = "_luamp", fish = "luamp.fish"} do
    if has(shell_name) then
        local said, fine = shell(("%s -n %s/completions/%s"):format(shell_name, quoted(made), file))
        if not t.ok(fine and said == "", ("%s reads its completions"):format(shell_name)) then t.diag(said) end
    else
        t.skip(("%s reads its completions"):format(shell_name), "there is no " .. shell_name)
    end
end
if has "bash" then
    local said = shell("cd /; bash -c " .. quoted(([[
        . %s/completions/luamp.bash; COMP_WORDS=(luamp --ver); COMP_CWORD=1; _luamp; echo "${COMPREPLY[@]}"
        COMP_WORDS=(luamp -e x /et); COMP_CWORD=3; _luamp; echo "${COMPREPLY[@]}"
        COMP_WORDS=(luamp -e ""); COMP_CWORD=2; _luamp; echo "[${COMPREPLY[@]}]"]]):format(quoted(made))))
    t.is(said, "--version\n/etc\n[]\n", "bash completes an option, a script, and no option's argument")
end

-- The table of options in host.md is the program's.
local told, options_said = {}, {}
for line in shell(quoted(os.getenv "LUAMP") .. " --help"):gmatch("[^\n]+") do
    local name = line:match("^  (%-%S*)")
    if name then told[name] = true end
end
for _, block in ipairs(manual.pages.host.blocks) do
    if block.kind == "table" and block.head[1] == "option" then
        for _, row in ipairs(block.rows) do
            for name in row[1]:gmatch("`(%-[^%s`]*)") do options_said[name] = true end
        end
    end
end
compare("docs/host.md has the options that the program has", told, options_said)

-- help() -----------------------------------------------------------------------------------------------

local function helps(promise, lines, ...)
    local said = shell(("printf '%%s\\n' %s | %s -i"):format(quoted(lines), quoted(os.getenv "LUAMP")))
    local has_all = true
    for _, text in ipairs {...} do
        has_all = has_all and said:find(text, 1, true) ~= nil
    end
    if not t.ok(has_all, promise) then
        t.diag(said)
    end
end

helps("help() lists the modules", "help()", "  sync      Locks, semaphores", '  help "sending-values"')
helps("help of a module that was not used yet", "help(pool)", "pool.Pool([n])", "Worker processes")
helps("help of a function that makes objects", "help(sync.Lock)", "l:acquire([block[, timeout]])")
helps("help of a class", "help(process.Process)", "p:is_alive() -> boolean", "p.exitcode: integer?")
helps("help of an object", "help(sync.Event())", "e:set()")
helps("help of an object of a script's class", "C = process.Process:extend('C') help(C())", "p:start()")
helps("help of a method", "l = sync.Lock() help(l.acquire)", 'self, "owner died"?  or  nil, "timeout"')
helps("help of a method of a class in Lua", "help(pool.Pool(1).imap)", "pool.Pool.imap\n\np:imap(")
helps("help of a result", "help(pool.Pool(1):apply_async(math.abs, {1}))", "r:get([timeout])")
helps("help of a name", 'help "sync.Lock:acquire"', "l:acquire([block[, timeout]])")
helps("help of a field", 'help "signal.SIGINT"', "signal.SIGINT: integer\n\nCtrl-C")
helps("help of what is inherited", 'help "thread.Timer.join"', "thread.Thread.join")
helps("help of a page", 'help "sending-values"', "What cannot be sent")
helps("help of a name that several have", 'help "acquire"', 'Several are called "acquire"', 'help "sync.RLock.acquire"')
helps("help of a part of a name", 'help "acquir"', "Was one of these meant?")
helps("help of a name that is none", 'help "nonsense"', 'The manual has no "nonsense"')
helps("help of what is not luamp's", "help(print)", "luamp's manual says nothing of this function")
helps("help of nil", "help(nil)", "luamp's manual says nothing of this nil")
t.is(shell(quoted(os.getenv "LUAMP") .. " -e 'print(help)'"), "nil\n", "a script has no help")
helps("a help of the script's own stays", "help = 1 print(help)", "> 1\n")

result_pool:terminate()
t.done()
