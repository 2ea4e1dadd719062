/*
 * sharedmemory: ipc.SharedMemory, a named block of bytes for unrelated processes.
 *
 * It is POSIX shared memory (shm_open), so that programs in other languages can open it by its
 * name. The bytes have nothing to do with the family's arena: there is only the name, as an
 * array of characters, so that the object can be sent. Who receives it maps the block when it is
 * first used, by the name. The block goes with unlink and the last close.
 */
#include "ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_SIZE 256

static const struct luampO_class memory_class;

/* This process's mapping. */
struct memory {
    char *data; /* NULL once closed */
    size_t size;
    char name[NAME_SIZE]; /* as the user gave it, without a slash */
};

static void
system_name(const char *name, char path[NAME_SIZE + 1])
{
    path[0] = '/';
    strcpy(path + 1, name);
}

/* Pushes why something could not be done. */
static void
push_failure(lua_State *L, const char *what, const char *name, int error)
{
    if (error == EEXIST)
        lua_pushfstring(L, "cannot create SharedMemory \"%s\": one of this name exists already",
                        name);
    else if (error == ENOENT)
        lua_pushfstring(L, "cannot open SharedMemory \"%s\": there is none of this name", name);
    else
        lua_pushfstring(L, "cannot %s SharedMemory \"%s\": %s", what, name, strerror(error));
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
        /* Memory that is not there is an error now, and not a bus error later. */
        if (error == 0) {
            do
                error = posix_fallocate(descriptor, 0, (off_t) *size);
            while (error == EINTR);
        }
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

/* Opens or creates the block of this name and maps it: 0, or an errno; `what` could not be done. */
static int
map_block(struct memory *m, bool create, size_t size, const char **what)
{
    char path[NAME_SIZE + 1];
    system_name(m->name, path);
    *what = create ? "create" : "open";
    int descriptor = open_block(path, create, &size);
    if (descriptor < 0)
        return -descriptor;
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    int error = errno;
    close(descriptor);
    if (data == MAP_FAILED) {
        *what = "map";
        if (create)
            shm_unlink(path);
        return error;
    }
    m->data = data;
    m->size = size;
    return 0;
}

static void
memory_detach(struct luampO_object *object)
{
    struct memory *m = object->attached;
    if (m->data)
        munmap(m->data, m->size);
    free(m);
}

/* The mapping, made now when the object was received and not yet used. Raises. */
static struct memory *
check_memory(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &memory_class);
    if (object->attached)
        return object->attached;
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        luampB_raise(L, "open a SharedMemory", -ENOMEM);
    memcpy(m->name, amp_array_data(object->cell), object->cell->v_length);
    const char *what;
    int error = map_block(m, false, 0, &what);
    if (error != 0) {
        free(m);
        push_failure(L, what, object->cell->c_name, error);
        luaL_error(L, "%s", lua_tostring(L, -1));
    }
    object->attached = m;
    return m;
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
check_range(lua_State *L, struct memory *m, lua_Integer i, lua_Integer n)
{
    lua_Integer size = (lua_Integer) m->size;
    if (i < 1 || n < 0 || n > size || i - 1 > size - n)
        luaL_error(L, "%I bytes from byte %I on: SharedMemory \"%s\" has the bytes from 1 to %I",
                   (LUAI_UACINT) n, (LUAI_UACINT) i, m->name, (LUAI_UACINT) size);
}

/* read([i=1[, n=to the end]]) */
static int
memory_read(lua_State *L)
{
    struct memory *m = check_open(L);
    lua_Integer i = luampB_opt_integer(L, 2, 1);
    check_range(L, m, i, 0);
    lua_Integer n = luampB_opt_integer(L, 3, (lua_Integer) m->size - i + 1);
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
    lua_Integer i = luampB_check_integer(L, 2);
    const char *bytes = luaL_checklstring(L, 3, &length);
    check_range(L, m, i, (lua_Integer) length);
    memcpy(m->data + i - 1, bytes, length);
    return 0;
}

static int
memory_field(lua_State *L, struct luampO_object *object)
{
    (void) object;
    const char *field = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(field, "size") == 0)
        lua_pushinteger(L, (lua_Integer) check_memory(L)->size);
    else if (strcmp(field, "name") == 0)
        lua_pushstring(L, check_memory(L)->name);
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

static void
describe_memory(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    const struct memory *m = object->attached;
    if (m == NULL)
        luaL_addstring(text, "not yet used here");
    else if (m->data == NULL)
        luaL_addstring(text, "closed");
    else {
        lua_pushfstring(L, "%I bytes", (LUAI_UACINT) m->size);
        luaL_addvalue(text);
    }
}

static const char *
memory_stays(struct luampO_object *object)
{
    const struct memory *m = object->attached;
    return m && m->data == NULL ? "it is closed" : NULL;
}

/* Writes the name that the value at the index says, or a new one for nil. */
static void
choose_name(lua_State *L, int index, bool create, char name[NAME_SIZE])
{
    if (lua_isnil(L, index) && create) {
        random_name(name);
        return;
    }
    if (lua_isnil(L, index))
        luaL_error(L, "a SharedMemory that exists is opened by its name: SharedMemory{name = ...}; "
                   "a new one is made with create = true");
    size_t length;
    const char *chosen = lua_tolstring(L, index, &length);
    if (length == 0 || length > NAME_SIZE - 3 || strchr(chosen, '/') || strlen(chosen) != length)
        luaL_error(L, "a SharedMemory's name has 1 to 253 bytes, without '/' and zeros");
    memcpy(name, chosen, length + 1);
}

/* SharedMemory{name=, create=, size=} */
int
luampB_new_shared_memory(lua_State *L)
{
    static const char *const options[] = {"create:boolean", "size:integer", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luampO_arguments(L, &memory_class, options);
    bool create = lua_toboolean(L, 1);
    lua_Integer size = lua_type(L, 2) == LUA_TNUMBER ? lua_tointeger(L, 2) : 0;
    if (create && size < 1)
        return luaL_error(L, "a new SharedMemory needs its size, in bytes, at least 1");
    struct memory chosen = {.data = NULL};
    choose_name(L, 3, create, chosen.name);
    lua_pushstring(L, chosen.name);
    lua_replace(L, 3);
    struct luampO_object *object = luampO_push_new(L, &memory_class);
    struct memory *m = object->attached = malloc(sizeof *m); /* the collector's from here on */
    if (m == NULL)
        return luampB_raise(L, "make a SharedMemory", -ENOMEM);
    *m = chosen;
    const char *what;
    int error = map_block(m, create, (size_t) size, &what);
    if (error != 0) {
        lua_pushnil(L);
        push_failure(L, what, m->name, error);
        return 2;
    }
    struct amp_cell *cell = luampO_new_cell(L, &memory_class, 3);
    error = amp_array_init(cell, amp_type_find('c'), strlen(m->name));
    if (error != 0)
        return luampO_failed(L, &memory_class, cell, error);
    memcpy(amp_array_data(cell), m->name, strlen(m->name));
    luampO_made(L, object, cell);
    return 1;
}

static const luaL_Reg memory_methods[] = {
    {"read", memory_read}, {"write", memory_write}, {"close", memory_close},
    {"unlink", memory_unlink}, {NULL, NULL},
};
static const luaL_Reg memory_metamethods[] = {
    {"__close", memory_close}, {"__len", memory_len}, {NULL, NULL},
};
static const struct luampO_class memory_class = {
    .name = "SharedMemory",
    .module = "ipc",
    .id = LUAMPO_SHARED_MEMORY,
    .kind = AMP_ARRAY,
    .methods = memory_methods,
    .metamethods = memory_metamethods,
    .field = memory_field,
    .describe = describe_memory,
    .stays = memory_stays,
    .detach = memory_detach,
};

void
luampB_define_shared_memory(lua_State *L)
{
    luampO_define(L, &memory_class);
}
