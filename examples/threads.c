/*
 * threads: a host with four threads, each of which has a Lua state. They share a queue and a value.
 *
 *     cc threads.c $(pkg-config --cflags --libs luamp) -pthread && ./a.out
 */
#include <luamp.h>

#include <lauxlib.h>
#include <lualib.h>

#include <pthread.h>
#include <stdio.h>

static luamp_Object *numbers, *total;

static const char script[] =
    "local numbers, total = ...\n"
    "for n in numbers:iter() do\n"
    "    total:add(n)\n"
    "end\n";

static void *
run(void *unused)
{
    lua_State *L = luaL_newstate();
    (void) unused;
    luaL_openlibs(L);
    luamp_openlibs(L);
    if (luaL_loadstring(L, script) == LUA_OK) {
        luamp_push(L, numbers);
        luamp_push(L, total);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK)
            fprintf(stderr, "%s\n", lua_tostring(L, -1));
    }
    lua_close(L);
    return NULL;
}

int
main(void)
{
    pthread_t threads[4];
    int64_t sum = 0;
    luamp_Writer *writer = luamp_writer_new();
    if (luamp_new_queue("numbers", 16, &numbers) != LUAMP_OK ||
        luamp_new_value("total", 'q', &total) != LUAMP_OK)
        return 1;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, run, NULL);
    for (int n = 1; n <= 1000; n++) {
        luamp_write_integer(writer, n);
        if (luamp_put(numbers, writer, LUAMP_FOREVER) != LUAMP_OK)
            return 1;
    }
    luamp_queue_close(numbers);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    luamp_value_get(total, &sum);
    printf("%d\n", (int) sum);
    luamp_writer_free(writer);
    luamp_close(numbers);
    luamp_close(total);
    return 0;
}
