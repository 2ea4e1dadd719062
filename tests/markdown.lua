-- What the tests read of a page of Markdown: its fenced blocks, headings, tables and links.
--
--     local page = markdown.read(path)
--     page.blocks      in order: {words = "lua fails", text = ..., line = ...}
--     page.headings    in order: {level = 2, text = ..., line = ...}
--     page.rows        of tables, in order: {cells = {...}, line = ..., section = a heading's text}
--     page.links       in order: {target = ..., line = ...}
--     page.unfinished  the line of a block that does not end, if there is one

local markdown = {}

-- A `|` inside of `code` does not end a cell.
local function cells_of(row)
    local inside = false
    local marked = row:gsub("[`|]", function(c)
        if c == "`" then
            inside = not inside
        elseif not inside then
            return "\0"
        end
    end)
    local cells = {}
    for cell in marked:gmatch "%z([^%z]*)" do
        cells[#cells + 1] = cell:match "^%s*(.-)%s*$"
    end
    cells[#cells] = nil -- what follows the last bar
    return cells
end

function markdown.read(path)
    local page = {blocks = {}, headings = {}, rows = {}, links = {}}
    local open, line, section = nil, 0, ""
    for text in io.lines(path) do
        line = line + 1
        local words = text:match "^```(.*)$"
        local marks, heading = text:match "^(#+) (.*)$"
        if words and not open then
            open = {words = words, line = line, lines = {}}
        elseif words then
            open.text = table.concat(open.lines, "\n") .. "\n"
            page.blocks[#page.blocks + 1] = open
            open = nil
        elseif open then
            open.lines[#open.lines + 1] = text
        elseif marks then
            section = heading
            page.headings[#page.headings + 1] = {level = #marks, text = heading, line = line}
        else
            if text:find "^|" then
                page.rows[#page.rows + 1] = {cells = cells_of(text), line = line, section = section}
            end
            for target in text:gsub("`[^`]*`", "code"):gmatch "%]%(([^()]*)%)" do
                page.links[#page.links + 1] = {target = target, line = line}
            end
        end
    end
    page.unfinished = open and open.line
    return page
end

-- The pieces of a text that stand in backquotes.
function markdown.code(text)
    local pieces = {}
    for piece in text:gmatch "`([^`]*)`" do
        pieces[#pieces + 1] = piece
    end
    return pieces
end

return markdown
