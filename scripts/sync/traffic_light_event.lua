-- 事件, 红灯停, 绿灯行: the light is an event, set while it is green.
-- Watch the cars that come at red wait, and pass together as soon as it turns green.

local function traffic_light(e)
    print("\27[31m红灯亮\27[0m")
    while true do
        process.sleep(2)
        if e:is_set() then
            e:clear()
            print("\27[31m红灯亮\27[0m")
        else
            print("\27[32m绿灯亮\27[0m")     -- before set(): a waiting car passes at once
            e:set()
        end
    end
end

local function car(e, i)
    if not e:is_set() then
        print(("car %d 在等待"):format(i))
        e:wait()
    end
    print(("car %d 通过了"):format(i))
end

local e = sync.Event()

local p1 = process.Process{target = traffic_light, args = {e}}
p1.daemon = true
p1:start()

local p_lst = {}
for i = 0, 19 do
    process.sleep(1)
    local p2 = process.Process{target = car, args = {e, i}}
    p2:start()
    p_lst[#p_lst + 1] = p2
end
for _, p in ipairs(p_lst) do
    p:join()
end
