-- Every link of README*.md, docs/*.md and scripts/README.md leads to a file that is there, and, where it
-- has a `#`, to a heading of it.

local t = require "tap"
local markdown = require "markdown"

local source = os.getenv "top_srcdir" or "."

local function pages()
    local f <close> = assert(io.popen(("cd '%s' && ls README*.md docs/*.md scripts/README.md"):format(source)))
    local list = {}
    for path in f:lines() do
        list[#list + 1] = path
    end
    return list
end

-- What a heading is called in a link: as the servers that show such pages make it.
local function anchor_of(heading)
    local text = heading:gsub("%[([^%]]*)%]%b()", "%1"):lower()
    for _, mark in ipairs{"，", "。", "：", "、", "；", "（", "）", "“", "”", "！", "？", "《", "》"} do
        text = text:gsub(mark, "")
    end
    return (text:gsub("[^%w%s_\128-\255-]", ""):gsub(" ", "-"))
end

local anchors = {} -- path -> a set

local function anchors_of(path)
    if not anchors[path] then
        local set, times = {}, {}
        for _, heading in ipairs(markdown.read(path).headings) do
            local anchor = anchor_of(heading.text)
            local n = times[anchor] or 0
            times[anchor] = n + 1
            set[n == 0 and anchor or anchor .. "-" .. n] = true
        end
        anchors[path] = set
    end
    return anchors[path]
end

local function is_there(path)
    local f = io.open(path)
    if f then
        f:close()
    end
    return f ~= nil
end

for _, page in ipairs(pages()) do
    t.test(page .. ": its links lead somewhere", function()
        local folder = page:match "^(.*/)" or ""
        for _, link in ipairs(markdown.read(source .. "/" .. page).links) do
            local path, anchor = link.target:match "^([^#]*)#?(.*)$"
            if not path:find "^%a+:" then
                local file = source .. "/" .. (path == "" and page or folder .. path)
                local where = ("%s:%d: %s"):format(page, link.line, link.target)
                if not is_there(file) then
                    t.ok(false, where .. ": the file is there")
                elseif anchor ~= "" and not anchors_of(file)[anchor] then
                    t.ok(false, where .. ": the heading is there")
                end
            end
        end
    end)
end

t.done()
