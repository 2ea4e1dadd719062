rockspec_format = "3.0"
package = "luamp"
version = "0.1.0-1"

-- The archive that `make dist` packs, beside this file. To publish the rock, write here where the archive
-- of the release can be fetched; see docs/releasing.md.
source = {
   url = "luamp-0.1.0.tar.gz",
   dir = "luamp-0.1.0",
}

description = {
   summary = "Processes, locks, queues and pools for Lua 5.4",
   detailed = [[
      What Python's multiprocessing and threading have, said in Lua: processes, threads, locks, queues,
      shared values and pools, in shared memory that outlives any process that dies.
   ]],
   license = "MIT",
   labels = {"multiprocessing", "threads", "concurrency", "linux"},
}

supported_platforms = {"linux"}
dependencies = {"lua >= 5.4, < 5.5"}
external_dependencies = {
   NETTLE = {header = "nettle/hmac.h"},
}

-- The module for stock Lua, and nothing else of what configure can build. A clone has no configure yet.
build = {
   type = "command",
   build_command = [[
      { test -f configure || autoreconf -i; } && mkdir -p build-rock && cd build-rock &&
      ../configure -q --disable-static CC="$(CC)" LUA_CFLAGS="-I$(LUA_INCDIR)" LUA_LIBS= &&
      make -s luamp.la
   ]],
   install_command = [[mkdir -p "$(LIBDIR)" && cp build-rock/.libs/luamp.so "$(LIBDIR)/luamp.so"]],
}
