-- 消息队列, first example: what a queue says of itself.
-- Watch for two times false: with one message it is not empty, with two of three not full.

local q = ipc.Queue(3)

q:put(1)
process.sleep(0.5)
print(q:empty())
q:put(2)
print(q:full())
q:close()
