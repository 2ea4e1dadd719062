-- 信号量: a ktv with room for four.
-- Watch four go in; each of the others goes in only when somebody has come out.

local function ktv(person, sem)
    sem:acquire()
    print(person .. "走进ktv")
    process.sleep(5)
    print(person .. "走出ktv")
    sem:release()
end

local sem = sync.Semaphore(4)

for i = 0, 9 do
    process.Process{target = ktv, args = {"person" .. i, sem}}:start()
end
