-- Lock 锁: two processes write to one terminal.
-- Watch the twenty lines of each stand together; without the lock they would mix.

local lock = sync.Lock()

local function writer1()
    lock:acquire()
    for _ = 1, 20 do
        io.write("writer1想先向终端写入\n")
        process.sleep(0.01)     -- time enough for the other, if it were let
    end
    lock:release()
end

local function writer2()
    lock:acquire()
    for _ = 1, 20 do
        io.write("writer2想先向终端写入\n")
        process.sleep(0.01)
    end
    lock:release()
end

local w1 = process.Process{target = writer1}
local w2 = process.Process{target = writer2}
w1:start()
w2:start()
w1:join()
w2:join()
