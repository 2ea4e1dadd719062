/*
 * producer: C code feeds workers in Lua through a queue, and reads what they make of it.
 *
 *     cc producer.c $(pkg-config --cflags --libs luamp) && ./a.out
 */
#include <luamp.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char script[] =
    "local jobs, results = ...\n"
    "local process = require 'luamp.process'\n"
    "for _ = 1, 3 do\n"
    "    process.spawn(function()\n"
    "        for job in jobs:iter() do\n"
    "            results:put {id = job.id, text = job.text:upper()}\n"
    "        end\n"
    "    end)\n"
    "end\n";

static void
check(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, luamp_strerror(result));
        exit(1);
    }
}

int
main(void)
{
    static const char *const words[] = {"locks", "queues", "pools", "threads"};
    enum { N = sizeof words / sizeof *words };
    luamp_Object *jobs, *results;
    luamp_Writer *writer = luamp_writer_new();
    luamp_Reader *reader = luamp_reader_new();
    lua_State *L = luaL_newstate();
    check(luamp_new_queue("jobs", 0, &jobs), "a queue");
    check(luamp_new_queue("results", 0, &results), "a queue");
    luaL_openlibs(L);
    luamp_openlibs(L);
    luaL_loadstring(L, script);
    luamp_push(L, jobs);
    luamp_push(L, results);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    for (int i = 0; i < N; i++) {
        luamp_write_table(writer);
        luamp_write_text(writer, "id");
        luamp_write_integer(writer, i);
        luamp_write_text(writer, "text");
        luamp_write_text(writer, words[i]);
        luamp_write_end(writer);
        check(luamp_put(jobs, writer, LUAMP_FOREVER), "put");
    }
    luamp_queue_close(jobs); /* the workers end when it is empty */
    for (int i = 0; i < N; i++) {
        luamp_Item key, value;
        check(luamp_get(results, reader, luamp_after(30)), "get");
        check(luamp_read_table(reader, NULL), "a table");
        while (luamp_read(reader, &key) == LUAMP_OK && key.type == LUAMP_TSTRING) {
            check(luamp_read(reader, &value), "a field");
            if (value.type == LUAMP_TSTRING)
                printf("%.*s\n", (int) value.as.string.length, value.as.string.bytes);
        }
    }
    lua_close(L); /* waits for the workers */
    luamp_reader_free(reader);
    luamp_writer_free(writer);
    luamp_close(jobs);
    luamp_close(results);
    return 0;
}
