-- Event 事件, first example.
-- Watch the first wait return at once, since the event is set; after clear a wait blocks, here
-- for two seconds, where without a timeout it would for ever.

io.stdout:setvbuf("line")       -- seen at once where the output is a pipe, too

local e = sync.Event()
e:set()
print(e:is_set())
e:wait(3)

e:clear()
print("clear")
print(e:wait(2))
