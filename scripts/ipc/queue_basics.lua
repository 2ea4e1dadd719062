-- 3. 进程之间的通信 IPC, Queue: 先进先出.
-- Watch for the reasons that the calls which do not wait give: a full queue and an empty one
-- are results here, not errors.

local q = ipc.Queue(5)
q:put(1)
print(q:get())

for i = 1, 5 do
    q:put(i)
end
local put, reason = q:put_nowait(6)     -- 当队列为满时
if not put then
    print(reason)
end

for _ = 1, 5 do
    q:get()
end
local value, why = q:get_nowait()       -- 当队列为空时
if not value then
    print(why)
end
