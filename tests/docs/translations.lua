-- A page in Chinese, X.zh-CN.md, says what X.md says: it has the same programs, but for comments and
-- strings, the same headings by their levels, the same code in its tables, and the same links.

local t = require "tap"
local markdown = require "markdown"

local source = os.getenv "top_srcdir" or "."
local SUFFIX = ".zh-CN.md"

local function read(page)
    return markdown.read(source .. "/" .. page)
end

local function translated_pages()
    local f <close> = assert(io.popen(("cd '%s' && ls *%s docs/*%s"):format(source, SUFFIX, SUFFIX)))
    local list = {}
    for path in f:lines() do
        list[#list + 1] = path
    end
    return list
end

local function original_of(page)
    return (page:gsub(SUFFIX:gsub("%p", "%%%0") .. "$", ".md"))
end

-- Programs ---------------------------------------------------------------------------------------------

-- Patterns of what begins at a place, by language; the first that fits counts.
local languages = {
    lua = {
        {"comment", "^%-%-%[%[.-%]%]"}, {"comment", "^%-%-[^\n]*"}, {"string", "^%[%[.-%]%]"},
        {"string", '^""'}, {"string", '^".-[^\\]"'}, {"string", "^''"}, {"string", "^'.-[^\\]'"},
    },
    c = {
        {"comment", "^/%*.-%*/"}, {"comment", "^//[^\n]*"},
        {"string", '^""'}, {"string", '^".-[^\\]"'}, {"string", "^'.-[^\\]'"},
    },
    sh = {
        {"comment", "^#[^\n]*"},
        {"string", '^""'}, {"string", '^".-[^\\]"'}, {"string", "^'[^']*'"},
    },
}

-- The pieces of a program without its comments: words, signs and {string = ...}.
local function pieces_of(text, language)
    local pieces, at = {}, 1
    while at <= #text do
        local kind, stop
        for _, one in ipairs(languages[language]) do
            local _, last = text:find(one[2], at)
            if last then
                kind, stop = one[1], last
                break
            end
        end
        if not kind then
            local _, last = text:find("^[%w_\128-\255]+", at)
            if not last then
                _, last = text:find("^%s+", at)
                kind = last and "blank"
            end
            stop = last or at
        end
        if kind == "string" then
            pieces[#pieces + 1] = {string = text:sub(at, stop)}
        elseif not kind then
            pieces[#pieces + 1] = text:sub(at, stop)
        end
        at = stop + 1
    end
    return pieces
end

-- A string is the same, or it is in Chinese; all else is the same.
local function correspond(original, translated)
    if type(original) == "table" and type(translated) == "table" then
        return original.string == translated.string or translated.string:find "[\128-\255]" ~= nil
    end
    return original == translated
end

local function shown(piece)
    return type(piece) == "table" and piece.string or tostring(piece)
end

local function lines_of(text)
    return select(2, text:gsub("\n", ""))
end

local function promises_of(text)
    return select(2, text:gsub("%-%->", ""))
end

-- Of blocks that are no programs, such as lists of files: what stands at the left of a line is the same,
-- and what is explained at the right may be in Chinese.
local function difference_of_lists(original, translated)
    local line_of, line = original:gmatch "([^\n]*)\n", 0
    for other in translated:gmatch "([^\n]*)\n" do
        line = line + 1
        local own = line_of()
        local is_explained = own and other:find "[\128-\255]"
        if is_explained then
            own, other = own:match "^%g+", other:match "^%g+"
        end
        if own ~= other then
            return ("line %d: %s, and there %s"):format(line, other, own)
        end
    end
    if line_of() then
        return "lines are missing"
    end
end

-- Nil, or what differs.
local function difference(original, translated)
    if original.words ~= translated.words then
        return ("the block is `%s`, and there `%s`"):format(translated.words, original.words)
    end
    local language = original.words:match "^%a*"
    if language == "output" then
        if lines_of(original.text) ~= lines_of(translated.text) then
            return "the output has another number of lines"
        end
    elseif languages[language] then
        local a = pieces_of(original.text, language)
        local b = pieces_of(translated.text, language)
        for i = 1, math.max(#a, #b) do
            if not correspond(a[i], b[i]) then
                return ("%s, and there %s"):format(shown(b[i]), shown(a[i]))
            end
        end
        if promises_of(original.text) ~= promises_of(translated.text) then
            return "another number of --> in the comments"
        end
    else
        return difference_of_lists(original.text, translated.text)
    end
end

-- Tables and links --------------------------------------------------------------------------------------

-- The code in the first two cells of each row, a line for each.
local function code_of_tables(page)
    local lines = {}
    for i, row in ipairs(page.rows) do
        local code = markdown.code((row.cells[1] or "") .. " " .. (row.cells[2] or ""))
        table.sort(code)
        lines[i] = table.concat(code, " ")
    end
    return lines
end

-- The targets in order of the alphabet; a page and its translation are one.
local function targets_of(page)
    local targets = {}
    for i, link in ipairs(page.links) do
        targets[i] = original_of((link.target:gsub("(" .. SUFFIX:gsub("%p", "%%%0") .. ")#.*$", "%1")))
    end
    table.sort(targets)
    return targets
end

-- The original's links to pages that are translated lose their headings, whose names differ there.
local function without_headings(targets, is_translated)
    for i, target in ipairs(targets) do
        local path = target:match "^([^#]+)#"
        if path and is_translated[path:match "[^/]*$"] then
            targets[i] = path
        end
    end
    table.sort(targets)
    return targets
end

local pages = translated_pages()
local is_translated = {}
for _, page in ipairs(pages) do
    is_translated[original_of(page):match "[^/]*$"] = true
end

t.ok(#pages > 0, "there are pages in Chinese")

for _, page in ipairs(pages) do
    local translated, original = read(page), read(original_of(page))

    t.test(page .. ": the same programs", function()
        t.is(#translated.blocks, #original.blocks, "as many blocks")
        for i, block in ipairs(translated.blocks) do
            local what = original.blocks[i] and difference(original.blocks[i], block)
            if what then
                t.ok(false, ("%s:%d is %s:%d: %s"):format(page, block.line, original_of(page),
                    original.blocks[i].line, what))
            end
        end
    end)

    t.test(page .. ": the same headings, by their levels", function()
        local function levels(list)
            local result = {}
            for i, heading in ipairs(list) do
                result[i] = heading.level
            end
            return result
        end
        t.is(levels(translated.headings), levels(original.headings), "their levels")
    end)

    t.test(page .. ": the same code in the tables", function()
        t.is(code_of_tables(translated), code_of_tables(original), "row by row")
    end)

    t.test(page .. ": the same links", function()
        t.is(without_headings(targets_of(translated), is_translated),
            without_headings(targets_of(original), is_translated), "their targets")
    end)
end

-- The comparison itself -----------------------------------------------------------------------------------

t.test("a translation may differ in comments and Chinese strings, and in nothing else", function()
    local function differ(a, b, words)
        words = words or "lua"
        return difference({words = words, text = a}, {words = words, text = b}) ~= nil
    end
    t.ok(not differ('print("yes")   -- a comment\n', 'print("是")  -- 注释\n'), "strings and comments")
    t.ok(not differ('f("a", "b\\"c")\n', 'f("a", "乙")\n'), "an escaped quote")
    t.ok(not differ("x = 1 --> 1\n", "x = 1 -- 一\n--> 1\n") , "a promise may be elsewhere")
    t.ok(differ("x = 1 --> 1\n", "x = 1\n"), "a promise that is missing")
    t.ok(differ('ipc.Value("i")\n', 'ipc.Value("d")\n'), "a string that is not Chinese")
    t.ok(differ("lock:acquire(0.5)\n", "lock:acquire(0.1)\n"), "a number")
    t.ok(differ("lock:acquire()\n", "lock:release()\n"), "a name")
    t.ok(differ("f()\n", "f()\ng()\n"), "a line more")
    t.ok(differ("#define A 1 /* one */\n", "#define A 2 /* 一 */\n", "c"), "a number in C")
    t.ok(not differ("ls   # all\n", "ls # 全部\n", "sh"), "a comment of a shell")
    t.ok(differ("one\ntwo\n", "一\n", "output"), "a line less of output")
    t.ok(not differ("src/  sources\n", "src/  源码\n", ""), "what a list of files explains")
    t.ok(differ("src/  sources\n", "lib/  源码\n", ""), "another file")
    t.ok(differ("make\nmake check\n", "make\n", ""), "a command less")
end)

t.done()
