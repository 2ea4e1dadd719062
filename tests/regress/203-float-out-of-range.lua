-- A number too large for typecode 'f' became infinity.

local t = require "tap"

local v = ipc.Value("f", 1)
t.raises(function() v.value = 1e300 end, "does not fit typecode 'f'", "stored")
t.raises(function() v:add(1e300) end, "does not fit typecode 'f'", "added")
t.raises(function() ipc.Array("f", {1e300}) end, "does not fit typecode 'f'", "in an array")
t.is(v.value, 1.0, "it stays as it was")
t.done()
