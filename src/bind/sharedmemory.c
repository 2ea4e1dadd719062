/*
 * sharedmemory: ipc.SharedMemory, a named block of bytes for unrelated processes.
 *
 * It is POSIX shared memory (shm_open), so that programs in other languages can open it by its name; it
 * has nothing to do with the family's arena. The memory is there from the first close on as long as the
 * name is: it goes with unlink and the last close.
 */
#include "ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLASS_NAME "SharedMemory"
#define NAME_SIZE 256

struct memory {
    char *data; /* NULL once closed */
    size_t size;
    char name[NAME_SIZE]; /* as the user gave it, without a slash */
};

static struct memory *
check_memory(lua_State *L)
{
    return luaL_checkudata(L, 1, CLASS_NAME);
}

static struct memory *
check_open(lua_State *L)
{
    struct memory *m = check_memory(L);
    if (m->data == NULL)
        luaL_error(L, "this SharedMemory is closed");
    return m;
}

static int
memory_close(lua_State *L)
{
    struct memory *m = check_memory(L);
    if (m->data)
        munmap(m->data, m->size);
    m->data = NULL;
    return 0;
}

static void
system_name(const char *name, char path[NAME_SIZE + 1])
{
    path[0] = '/';
    strcpy(path + 1, name);
}

static int
memory_unlink(lua_State *L)
{
    char path[NAME_SIZE + 1];
    system_name(check_memory(L)->name, path);
    if (shm_unlink(path) != 0)
        return luampB_refuse(L, strerror(errno));
    lua_pushboolean(L, 1);
    return 1;
}

static void
out_of_range(lua_State *L, struct memory *m, lua_Integer i, lua_Integer n)
{
    luaL_error(L, "%I bytes from byte %I on: SharedMemory \"%s\" has the bytes from 1 to %I", n, i,
               m->name, (lua_Integer) m->size);
}

static void
check_range(lua_State *L, struct memory *m, lua_Integer i, lua_Integer n)
{
    if (i < 1 || n < 0 || n > (lua_Integer) m->size || i - 1 > (lua_Integer) m->size - n)
        out_of_range(L, m, i, n);
}

/* read([i=1[, n=to the end]]) */
static int
memory_read(lua_State *L)
{
    struct memory *m = check_open(L);
    lua_Integer i = luaL_optinteger(L, 2, 1);
    lua_Integer n = luaL_optinteger(L, 3, (lua_Integer) m->size - i + 1);
    check_range(L, m, i, n);
    lua_pushlstring(L, m->data + i - 1, (size_t) n);
    return 1;
}

/* write(i, s) */
static int
memory_write(lua_State *L)
{
    struct memory *m = check_open(L);
    size_t length;
    lua_Integer i = luaL_checkinteger(L, 2);
    const char *bytes = luaL_checklstring(L, 3, &length);
    check_range(L, m, i, (lua_Integer) length);
    memcpy(m->data + i - 1, bytes, length);
    return 0;
}

static int
memory_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    struct memory *m = check_memory(L);
    const char *field = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(field, "size") == 0)
        lua_pushinteger(L, (lua_Integer) m->size);
    else if (strcmp(field, "name") == 0)
        lua_pushstring(L, m->name);
    else
        return 0;
    return 1;
}

static int
memory_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer) check_memory(L)->size);
    return 1;
}

static int
memory_tostring(lua_State *L)
{
    struct memory *m = check_memory(L);
    if (m->data)
        lua_pushfstring(L, CLASS_NAME " \"%s\" (%I bytes)", m->name, (lua_Integer) m->size);
    else
        lua_pushfstring(L, CLASS_NAME " \"%s\" (closed)", m->name);
    return 1;
}

static int
failed(lua_State *L, const char *what, const char *name, int error)
{
    lua_pushnil(L);
    if (error == EEXIST)
        lua_pushfstring(L, "cannot create SharedMemory \"%s\": one of this name exists already", name);
    else if (error == ENOENT)
        lua_pushfstring(L, "cannot open SharedMemory \"%s\": there is none of this name", name);
    else
        lua_pushfstring(L, "cannot %s SharedMemory \"%s\": %s", what, name, strerror(error));
    return 2;
}

/* A descriptor of the block, its size known; or a negative errno. */
static int
open_block(const char *path, bool create, size_t *size)
{
    int descriptor = shm_open(path, create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    if (descriptor < 0)
        return -errno;
    struct stat status;
    int error = 0;
    if (create) {
        if (ftruncate(descriptor, (off_t) *size) != 0)
            error = errno;
        else /* memory that is not there is an error now, and not a bus error later */
            error = posix_fallocate(descriptor, 0, (off_t) *size);
    } else if (fstat(descriptor, &status) != 0) {
        error = errno;
    } else {
        *size = (size_t) status.st_size;
        if (*size == 0)
            error = EINVAL;
    }
    if (error == 0)
        return descriptor;
    close(descriptor);
    if (create)
        shm_unlink(path);
    return -error;
}

static void
random_name(char name[NAME_SIZE])
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        number = (uint64_t) amp_now();
    snprintf(name, NAME_SIZE, "luamp-%016llx", (unsigned long long) number);
}

/* SharedMemory{name=, create=, size=} */
int
luampB_new_shared_memory(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        static const char *const known[] = {"name", "create", "size", NULL};
        const char *option = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        bool is_known = false;
        for (int i = 0; known[i]; i++)
            is_known = is_known || strcmp(option, known[i]) == 0;
        if (!is_known) {
            const char *meant = luampO_nearest(option, known);
            return luaL_error(L, "unknown option '%s' of ipc.SharedMemory%s%s%s", option,
                              meant ? "; did you mean '" : "", meant ? meant : "", meant ? "'?" : "");
        }
    }
    lua_getfield(L, 1, "create");
    bool create = lua_toboolean(L, -1);
    lua_getfield(L, 1, "size");
    size_t size = 0;
    if (create) {
        lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (n < 1)
            return luaL_error(L, "a new SharedMemory needs its size, in bytes, at least 1");
        size = (size_t) n;
    }
    lua_getfield(L, 1, "name");
    struct memory *m = lua_newuserdatauv(L, sizeof *m, 0);
    memset(m, 0, sizeof *m);
    luaL_setmetatable(L, CLASS_NAME);
    if (lua_isnil(L, -2) && create) {
        random_name(m->name);
    } else {
        size_t length;
        if (lua_type(L, -2) != LUA_TSTRING)
            return luaL_error(L, "option 'name' of ipc.SharedMemory: a string expected, got %s",
                              luaL_typename(L, -2));
        const char *name = lua_tolstring(L, -2, &length);
        if (length == 0 || length > NAME_SIZE - 3 || strchr(name, '/') || strlen(name) != length)
            return luaL_error(L, "a SharedMemory's name has 1 to 253 bytes, without '/' and zeros");
        memcpy(m->name, name, length + 1);
    }
    char path[NAME_SIZE + 1];
    system_name(m->name, path);
    int descriptor = open_block(path, create, &size);
    if (descriptor < 0)
        return failed(L, create ? "create" : "open", m->name, -descriptor);
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    int error = errno;
    close(descriptor);
    if (data == MAP_FAILED) {
        if (create)
            shm_unlink(path);
        return failed(L, "map", m->name, error);
    }
    m->data = data;
    m->size = size;
    return 1;
}

static const luaL_Reg methods[] = {
    {"read", memory_read}, {"write", memory_write}, {"close", memory_close},
    {"unlink", memory_unlink}, {NULL, NULL},
};
static const luaL_Reg metamethods[] = {
    {"__gc", memory_close}, {"__close", memory_close}, {"__len", memory_len},
    {"__tostring", memory_tostring}, {NULL, NULL},
};

void
luampB_define_shared_memory(lua_State *L)
{
    if (luaL_newmetatable(L, CLASS_NAME)) {
        luaL_setfuncs(L, metamethods, 0);
        luaL_newlib(L, methods);
        lua_pushcclosure(L, memory_index, 1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
