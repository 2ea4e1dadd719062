-- Standard streams that are full, closed or shared: a failure to write is told, and messages are
-- whole.

local cli = require "host.cli"

-- print writes each line out by itself, and drops the reason of a failure.
local failure = {"^luamp: cannot write to standard output[^\n]*\n$"}
local full = "luamp: cannot write to standard output: No space left on device\n"
local closed = "luamp: cannot write to standard output: Bad file descriptor\n"

cli.expect("output that meets a full disk fails", cli.run "-e 'print(1)' >/dev/full",
    {status = 1, err = failure})
cli.expect("os.exit does not hide it", cli.run "-e 'io.write(1) os.exit(0)' >/dev/full",
    {status = 1, err = full})
cli.expect("os.exit with close does not hide it",
    cli.run "-e 'print(1) os.exit(0, true)' >/dev/full",
    {status = 1, err = failure})
cli.expect("much output fails too", cli.run "-e 'print((\"x\"):rep(1e6))' >/dev/full",
    {status = 1, err = failure})
cli.expect("--help fails", cli.run "--help >/dev/full", {status = 1, err = full})
cli.expect("a script that prints nothing does not fail", cli.run "-e 'x = 1' >/dev/full",
    {status = 0, err = ""})

cli.expect("output to a closed stdout fails", cli.run "-e 'io.write(1)' >&-",
    {status = 1, err = closed})
cli.expect("a script that prints nothing needs no stdout", cli.run "-e 'x = 1' >&-",
    {status = 0, err = ""})
cli.expect("a file is never taken for a closed stdout",
    cli.run "-e 'local f = io.open(\"kept\", \"w\") print(1) f:write(2) f:close()' >&-",
    {status = 1, err = failure})
cli.ok(cli.text "kept" == "2", "and what was printed is not in the file")
cli.file("stderr.lua", [[
local f = io.open("kept", "w")
io.stderr:write(1)
f:write(2)
f:close()
error "x"
]])
cli.expect("nor for a closed stderr", cli.run "stderr.lua 2>&-",
    {status = 1, err = ""})
cli.ok(cli.text "kept" == "2", "and the messages are not in the file")
cli.same("reading a closed stdin gives what it gives in lua", "-e 'print(io.read())' <&-")
cli.same("with no script and a closed stdin", "<&-")

cli.expect("what was printed before an error stands before it",
    cli.run "-e 'print(1) error(2, 0)' 2>&1",
    {status = 1, out = {"^1\nluamp: 2\nstack traceback:"}})

-- Many fail at once into one file that they append to; each message is long, and must be whole.
cli.file("fail.lua", "error((...):rep(20000), 0)")
cli.shell("for c in a b c d e f g h; do " .. cli.luamp .. " fail.lua $c 2>>messages & done; wait")
local whole = true
local lines = 0
for line in cli.text "messages":gmatch "luamp: (%l+)\nstack traceback:\n" do
    lines = lines + 1
    whole = whole and line == line:sub(1, 1):rep(20000)
end
cli.ok(whole and lines == 8, "a message is written in one piece", lines .. " whole messages")

cli.done()
