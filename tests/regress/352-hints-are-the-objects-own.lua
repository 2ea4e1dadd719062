-- A hint named the nearest method of any class: a list that has no push was told that ipc.Queue has 'put'. Now it is the
-- object's own, and what others call it is known, too.

local cli = require "host.cli"

local function hints(text, hint)
    local result = cli.run("-e '" .. text .. "'")
    local got = result.err:match "^[^\n]*\nhint: ([^\n]*)\n"
    cli.ok(result.status == 1 and got == hint, text, ("%s\nin place of %s"):format(got, hint))
end

hints("ipc.List{1}:push(2)", "ipc.List has 'append'")
hints("ipc.Queue():push(2)", "ipc.Queue has 'put'")
hints("local q = ipc.Queue() q:gett(nil, sync.Lock())", "ipc.Queue has 'get'")
hints("process.Process{}:wait()", "process.Process has 'join'")
hints("local p <close> = pool.Pool(1) p:submit(print)", "pool.Pool has 'apply_async'")
hints("pool.Pool(1):apply_async(print):result()", "a pool's result has 'get'")
hints("local d = ipc.Dict() for k in d:keys() do end", "pairs(d) goes over its keys and values")
hints("local l = sync.Lock() return l:aquire()", "sync.Lock has 'acquire'")
hints("local l = sync.Lock() l.aquire(l)", "sync.Lock has 'acquire'")
hints("thread.spawn(print)",
    "process.spawn(f, ...) starts a process, thread.Thread{target = f}:start() a thread")
hints("thread.sleep(1)", "process has 'sleep'")
hints("sync.Lok()", "sync has 'Lock'")
hints("error(select(2, pcall(function() sync.Lock():aquire() end)), 0)", "sync.Lock has 'acquire'")
hints("pool.Pool(1):apply(function() local l = sync.Lock() l:aquire() end)", "sync.Lock has 'acquire'")
hints("local q = ipc.Queue() q:frobnicate()", nil)
hints("sync.Event():push()", nil)
hints("local t = {} t:aquire()", nil)
hints("local t = {} t.putt()", nil)
hints("local item = {} print(item.price * 2)", nil)
hints("(\"x\"):aquire()", nil)

cli.done()
