-- A List made of a table with a hole had nil as an item.

local t = require "tap"

local holed = setmetatable({1}, {__len = function() return 3 end})
t.raises(function() ipc.List(holed) end, "nil cannot be an item of a List, as at index 2", "it raises")
t.done()
