-- A demonstration: a pool draws a Mandelbrot set, a row a task, and one of its workers is killed.
-- Watch the rows come from several workers, each with a letter and colour of its own. When a
-- third is drawn, kill -9 ends a worker in the middle of a row: another takes its place, the row
-- is drawn again, and nothing is missing. The last lines have the figures.

local WIDTH, HEIGHT, DEPTH, WORKERS = 72, 24, 1000, 4
local SHADES = " .:-=+*%#"

local taken_by = ipc.Array("i", HEIGHT)     -- the pid of the worker that draws a row
local attempts = ipc.Array("i", HEIGHT)     -- how often a row was begun

local function draw(y)
    taken_by[y] = process.getpid()
    attempts[y] = attempts[y] + 1
    local ci = (y - (HEIGHT + 1) / 2) * 2.4 / HEIGHT
    local line = {}
    for x = 1, WIDTH do
        local cr, zr, zi, n = x * 3.2 / WIDTH - 2.3, 0.0, 0.0, 0
        while zr * zr + zi * zi <= 4 and n < DEPTH do
            zr, zi, n = zr * zr - zi * zi + cr, 2 * zr * zi + ci, n + 1
        end
        local shade = n == DEPTH and #SHADES or (n - 1) % (#SHADES - 1) + 1
        line[x] = SHADES:sub(shade, shade)
    end
    process.sleep(0.3 + 0.5 * math.random())    -- slow enough to watch
    return table.concat(line), process.getpid()
end

-- On a terminal a row is drawn in its place as soon as it is there; elsewhere, in order.
local terminal = os.execute("test -t 1")

local letters, count = {}, 0
local function show(y, line, pid)
    if not letters[pid] then
        count = count + 1
        letters[pid] = count
    end
    local row = ("%2d %s %s"):format(y, string.char(64 + letters[pid]), line)
    if terminal then
        local up = HEIGHT + 1 - y
        row = ("\27[%dA\27[%dm%s\27[0m\r\27[%dB"):format(up, 31 + (letters[pid] - 1) % 6, row, up)
        io.write(row)
        io.flush()
    else
        print(row)
    end
end

local rows = {}
for y = 1, HEIGHT do
    rows[y] = y
end
if terminal then
    io.write(("\n"):rep(HEIGHT))
end

local start = process.monotonic()
local workers = pool.Pool{processes = WORKERS, retries = 1}
local results = terminal and workers.imap_unordered or workers.imap
local drawn, victim = 0, nil
for y, line, pid in results(workers, draw, rows, 1) do
    show(y, line, pid)
    drawn = drawn + 1
    if drawn == HEIGHT // 3 then
        local last = HEIGHT             -- the row begun last: its worker is in the middle of it
        while taken_by[last] == 0 do
            last = last - 1
        end
        victim = taken_by[last]
        os.execute("kill -9 " .. victim)
    end
end
workers:close()
workers:join()

local again = {}
for y = 1, HEIGHT do
    if attempts[y] > 1 then
        again[#again + 1] = y
    end
end
print(("%d rows by %d workers in %.1f s"):format(drawn, count, process.monotonic() - start))
print(("worker %d was killed, row %s drawn again"):format(victim, table.concat(again, ", ")))
