-- An array of 1,000 numbers in shared memory. The second argument is what is measured: `read` and
-- `write`, of one element after the other; `bulk`, all of them written from a list and read into
-- one. Nanoseconds for each element.

local n, what = tonumber(arg[1]), arg[2]
local SIZE = 1000
local array, list = ipc.Array("q", SIZE), {}
for i = 1, SIZE do
    list[i] = i
end
array:set(1, list)
local rounds = math.max(n // SIZE, 1)

local measured = {}

function measured.read()
    local x
    for i = 1, SIZE do
        x = array[i]
    end
    assert(x == SIZE)
end

function measured.write()
    for i = 1, SIZE do
        array[i] = i
    end
end

function measured.bulk()
    array:set(1, list)
    assert(#array:totable() == SIZE)
end

local run = measured[what]
local from = process.monotonic()
for _ = 1, rounds do
    run()
end
print((process.monotonic() - from) / (rounds * SIZE) * 1e9)
