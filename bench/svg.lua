--[[
svg.lua: a plot with two logarithmic axes, as the text of an SVG file. Returns one function:

    plot{title =, x = AXIS, y = AXIS, series = {{name =, points = {{x, y}, ...}}, ...}}

where an AXIS is {label =, steps =, show =}: `steps` is the ratio of two neighbouring marks, `show`
says what is written at a mark. All numbers are greater than 0.

There is no background, and text and lines have tones that can be read on white and on black. The
series differ in colour, in dashes and in the shape of their points.
]]

local WIDTH, HEIGHT = 720, 440
local LEFT, RIGHT, TOP, BOTTOM = 90, 36, 72, 58 -- margins

local GREY = "#7d858e"
local styles = {
    {colour = "#2b7de9", dashes = "none", shape = "circle"},
    {colour = "#d2691e", dashes = "8 4", shape = "square"},
    {colour = "#1f9d61", dashes = "2 3", shape = "triangle"},
    {colour = "#b15bd4", dashes = "10 3 2 3", shape = "diamond"},
}

local shapes = {}

function shapes.circle(x, y)
    return ('<circle cx="%.1f" cy="%.1f" r="4"'):format(x, y)
end

function shapes.square(x, y)
    return ('<rect x="%.1f" y="%.1f" width="7" height="7"'):format(x - 3.5, y - 3.5)
end

function shapes.triangle(x, y)
    return ('<path d="M%.1f %.1fl4.5 8h-9z"'):format(x, y - 5)
end

function shapes.diamond(x, y)
    return ('<path d="M%.1f %.1fl5 5l-5 5l-5 -5z"'):format(x, y - 5)
end

local function escape(text)
    return (text:gsub("[&<>]", {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;"}))
end

local function text(x, y, anchor, words, more)
    return ('<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s"%s>%s</text>')
        :format(x, y, anchor, GREY, more or "", escape(words))
end

local function line(x1, y1, x2, y2, more)
    return ('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>')
        :format(x1, y1, x2, y2, GREY, more or "")
end

-- Where an axis begins and ends, as powers of its steps: whole ones, with all points in between.
local function range(axis, plot, coordinate)
    local low, high = math.huge, -math.huge
    for _, series in ipairs(plot.series) do
        for _, point in ipairs(series.points) do
            local power = math.log(point[coordinate], axis.steps)
            low, high = math.min(low, power), math.max(high, power)
        end
    end
    low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    return low, math.max(high, low + 1)
end

-- A function from a number to its place on the axis, whose ends are at the places `from` and `to`.
local function scale(axis, low, high, from, to)
    return function(number)
        return from + (math.log(number, axis.steps) - low) / (high - low) * (to - from)
    end
end

local function add_axes(out, plot, x_range, y_range, x_at, y_at)
    local bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for power = x_range[1], x_range[2] do
        local mark = plot.x.steps ^ power
        table.insert(out, line(x_at(mark), TOP, x_at(mark), bottom, ' stroke-opacity="0.25"'))
        table.insert(out, text(x_at(mark), bottom + 18, "middle", plot.x.show(mark)))
    end
    for power = y_range[1], y_range[2] do
        local mark = plot.y.steps ^ power
        table.insert(out, line(LEFT, y_at(mark), right, y_at(mark), ' stroke-opacity="0.25"'))
        table.insert(out, text(LEFT - 8, y_at(mark) + 4, "end", plot.y.show(mark)))
    end
    table.insert(out, line(LEFT, bottom, right, bottom))
    table.insert(out, line(LEFT, TOP, LEFT, bottom))
    local middle = (TOP + bottom) / 2
    table.insert(out, text((LEFT + right) / 2, HEIGHT - 14, "middle", plot.x.label))
    table.insert(out, text(18, middle, "middle", plot.y.label,
        (' transform="rotate(-90 18 %.1f)"'):format(middle)))
end

local function add_series(out, plot, series, style, x_at, y_at)
    local places = {}
    for i, point in ipairs(series.points) do
        places[i] = ("%.1f,%.1f"):format(x_at(point[1]), y_at(point[2]))
    end
    table.insert(out, ('<polyline points="%s" fill="none" stroke="%s" stroke-width="2" ' ..
        'stroke-dasharray="%s"/>'):format(table.concat(places, " "), style.colour, style.dashes))
    for _, point in ipairs(series.points) do
        table.insert(out, ('%s fill="%s"><title>%s: %s, %s</title></%s>'):format(
            shapes[style.shape](x_at(point[1]), y_at(point[2])), style.colour,
            escape(series.name), escape(plot.x.show(point[1])), escape(plot.y.show(point[2])),
            shapes[style.shape](0, 0):match "^<(%a+)"))
    end
end

-- The names of the series, one beside the other under the title.
local function add_legend(out, plot)
    local x, y = LEFT, TOP - 18
    for i, series in ipairs(plot.series) do
        local style = styles[i]
        table.insert(out, ('<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="2" ' ..
            'stroke-dasharray="%s"/>'):format(x, y, x + 32, y, style.colour, style.dashes))
        table.insert(out, ('%s fill="%s"/>'):format(shapes[style.shape](x + 16, y), style.colour))
        table.insert(out, text(x + 38, y + 4, "start", series.name))
        x = x + 60 + 7 * utf8.len(series.name)
    end
end

local function plot_svg(plot)
    local x_range, y_range = {range(plot.x, plot, 1)}, {range(plot.y, plot, 2)}
    local x_at = scale(plot.x, x_range[1], x_range[2], LEFT, WIDTH - RIGHT)
    local y_at = scale(plot.y, y_range[1], y_range[2], HEIGHT - BOTTOM, TOP)
    local out = {
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" ' ..
            'font-family="sans-serif" font-size="12">'):format(WIDTH, HEIGHT, WIDTH, HEIGHT),
        ("<title>%s</title>"):format(escape(plot.title)),
        text(LEFT, 28, "start", plot.title, ' font-size="16"'),
    }
    add_axes(out, plot, x_range, y_range, x_at, y_at)
    for i, series in ipairs(plot.series) do
        add_series(out, plot, series, styles[i], x_at, y_at)
    end
    add_legend(out, plot)
    table.insert(out, "</svg>\n")
    return table.concat(out, "\n")
end

return plot_svg
