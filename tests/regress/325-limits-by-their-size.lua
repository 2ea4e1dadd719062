-- Where the shared memory was limited, what did not fit was told to have used up 64 GiB. And what a function of luamp's
-- ran out of in a part of it that is written in Lua was told at that part's line.

local t = require "tap"
local cli = require "host.cli"

cli.file("full.lua", [[
    local q, ok, e = ipc.Queue()
    repeat ok, e = pcall(function() q:put(("x"):rep(1 << 20)) end) until not ok or q:qsize() > 1000
    print(ok and "no limit" or e)
]])
local result = cli.run("full.lua", nil, "ulimit -f 65536;")
if result.out == "no limit\n" then
    t.skip("the limit", "this system does not limit shared memory by ulimit -f")
else
    t.ok(result.out:find "^full.lua:2: cannot put: out of shared memory: .* the family's %d+ MiB or 4095 objects are used up",
        "the size that there is: " .. result.out)
end

cli.file("files.lua", [[
    local p, files = process.spawn(function() end), {}
    repeat
        local file = io.open("/dev/null")
        files[#files + 1] = file
    until not file
    print(pcall(function() return p.sentinel end))
    p:join()
]])
cli.expect("the script's own line", cli.run("files.lua", nil, "ulimit -n 40;"),
    {out = "false\tfiles.lua:6: cannot open a descriptor for a process: " ..
        "too many open files: the process's limit is 40 (ulimit -n)\n"})
t.done()
