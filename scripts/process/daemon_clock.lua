-- Process进程对象属性, p.daemon: a clock that goes while the main program does.
-- Watch it stop at "main process exit".

local function tm()
    while true do
        process.sleep(2)
        print(os.date())
    end
end

local p = process.Process{target = tm}
p.daemon = true
p:start()
process.sleep(5)
print("main process exit")
