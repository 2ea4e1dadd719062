-- 共享内存, Value: one puts money into an account, another takes money out of it.
-- Watch the second balance, made with v:add, be what it should be. Of the first nobody knows:
-- between reading money.value and writing it the other may have written.

local money = ipc.Value("i", 2000)

local function deposite()
    for _ = 1, 100 do
        process.sleep(0.05)
        money.value = money.value + math.random(1, 200)
    end
end

local function withdraw()
    for _ = 1, 100 do
        process.sleep(0.04)
        money.value = money.value - math.random(1, 180)
    end
end

local d = process.spawn(deposite)
local w = process.spawn(withdraw)
d:join()
w:join()
print("余额: " .. money.value)

-- The atomic form. Each keeps the sum of what it did in a value that only it writes.
local account = ipc.Value("i", 2000)

local function change(sum, seconds, sign, most)
    for _ = 1, 100 do
        process.sleep(seconds)
        local amount = sign * math.random(1, most)
        account:add(amount)
        sum.value = sum.value + amount
    end
end

local deposited = ipc.Value("i", 0)
local withdrawn = ipc.Value("i", 0)
d = process.spawn(change, deposited, 0.05, 1, 200)
w = process.spawn(change, withdrawn, 0.04, -1, 180)
d:join()
w:join()
print("余额: " .. account.value)
print("应为: " .. 2000 + deposited.value + withdrawn.value)
