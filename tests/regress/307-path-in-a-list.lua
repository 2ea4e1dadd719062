-- put_many told a wrong path to what cannot be sent: list[2][1] for the second item.

local t = require "tap"

local q = ipc.Queue()
t.raises(function() q:put_many {1, io.stdout} end, "cannot send list%[2%]: a file", "an item")
t.raises(function() q:put_many {{x = {io.stdout}}} end, "cannot send list%[1%]%.x%[1%]: a file",
    "a part of an item")
t.done()
