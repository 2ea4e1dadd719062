-- The benchmarks work: each figure's programs run to their end, and the table has a row for it and a line for
-- each of its bars. What they measure is not looked at. Those beside a large heap, which need memory and time,
-- are left out.

local cli = require "host.cli"

local source = assert(os.getenv "top_srcdir", "top_srcdir must be the source tree")
local bench = source .. "/bench/run"

local figures = {}
for name in cli.shell(bench .. " --help").out:gmatch "\n  (%w+[%w_]*) " do
    if not name:find "_%d+[mg]$" then
        figures[#figures + 1] = name
    end
end
cli.ok(#figures > 30, "there are figures", #figures)

local run = cli.shell(("%s --quick --rounds 1 %s"):format(bench, table.concat(figures, " ")))
cli.ok(run.status == 0, "all programs run to their end", run.err)

local rows, bars = {}, {}
for name, luamp in run.out:gmatch "\n| ([%w_]+) +|[^|]*|[^|]*| (%S+)[^|]*|" do
    rows[name] = luamp
end
for name in run.out:gmatch "\n%- [a-z ]+: ([%w_]+): " do
    bars[name] = true
end
for _, name in ipairs(figures) do
    cli.ok(tonumber(rows[name]) ~= nil, name .. ": it is measured", rows[name])
end
for _, name in ipairs{"lock", "value_add", "queue_integers", "pool_map", "codec"} do
    cli.ok(bars[name], name .. ": its bars are told", run.out)
end

cli.expect("a plain table without Python and MCE",
    cli.shell("PYTHON= PERL= " .. bench .. " --quick --rounds 1 lock"),
    {status = 0, err = "", out = {"\n| lock [^\n]*| %-  *| %-  *|[^\n]*| %-  *| %-  *|\n"}})
cli.expect("a misspelt figure", cli.shell(bench .. " lokc"),
    {status = 1, out = "", err = "bench: there is no figure 'lokc': see --help\n"})
cli.expect("a misspelt option", cli.shell(bench .. " --round 3"),
    {status = 1, out = "", err = "bench: there is no option '--round': see --help\n"})
cli.expect("no number of rounds", cli.shell(bench .. " --rounds 0"),
    {status = 1, out = "", err = "bench: --rounds takes a number of at least 1\n"})

cli.done()
