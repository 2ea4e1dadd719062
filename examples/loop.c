/*
 * loop: a host with handlers of signals and a loop of its own. A script's processes tell it what they do
 * through a queue, whose descriptor it polls beside others.
 *
 *     cc loop.c $(pkg-config --cflags --libs luamp) && ./a.out
 */
#include <luamp.h>

#include <lauxlib.h>
#include <lualib.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int wakeup[2]; /* the handler writes into it, so that poll returns */

static const char script[] =
    "local news = ...\n"
    "local process, signal = require 'luamp.process', require 'luamp.signal'\n"
    "print((pcall(signal.signal, signal.SIGINT, signal.SIG_IGN)))\n" /* it is the host's */
    "for i = 1, 3 do\n"
    "    process.spawn(function() news:put('from child ' .. i) end)\n"
    "end\n";

static void
on_interrupt(int number)
{
    char byte = (char) number;
    if (write(wakeup[1], &byte, 1) < 0)
        return;
}

static void /* in each child: what is the host's is not for it */
in_child(lua_State *L, void *data)
{
    (void) L, (void) data;
    signal(SIGINT, SIG_DFL);
    close(wakeup[0]);
    close(wakeup[1]);
}

int
main(void)
{
    luamp_Object *news;
    luamp_Reader *reader = luamp_reader_new();
    luamp_Options options = LUAMP_OPTIONS_INIT;
    lua_State *L = luaL_newstate();
    int descriptor, got = 0;
    if (pipe(wakeup) != 0 || luamp_new_queue("news", 0, &news) != LUAMP_OK ||
        luamp_descriptor(news, &descriptor) != LUAMP_OK)
        return 1;
    signal(SIGINT, on_interrupt);
    options.in_child = in_child;
    luaL_openlibs(L);
    luamp_openlibs_with(L, &options);
    luaL_loadstring(L, script);
    luamp_push(L, news);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        return 1;
    for (;;) {
        struct pollfd polls[2] = {{descriptor, POLLIN, 0}, {wakeup[0], POLLIN, 0}};
        if (poll(polls, 2, 30000) > 0 && polls[1].revents)
            break; /* Ctrl-C */
        while (luamp_get(news, reader, LUAMP_NOW) == LUAMP_OK)
            got++;
        if (got == 3)
            raise(SIGINT); /* as if somebody had pressed it */
    }
    printf("%d messages, and an interrupt\n", got);
    lua_close(L);
    luamp_reader_free(reader);
    luamp_close(news);
    return 0;
}
