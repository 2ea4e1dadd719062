/*
 * values: ipc.Value and ipc.Array.
 *
 * A number goes from Lua to bits here, where its range is known: one that does not fit raises and
 * changes nothing.
 */
#include "ipc.h"

#include <string.h>

static const struct luampO_class value_class, array_class;

static const struct amp_type *
type_of(const struct amp_cell *cell)
{
    return &amp_types[cell->v_type];
}

/* `item` is the value's place in a list, or 0. */
static int
out_of_range(lua_State *L, const struct amp_type *type, int index, lua_Integer item)
{
    const char *what = luaL_typename(L, index);
    index = lua_absindex(L, index);
    const char *value = luaL_tolstring(L, index, NULL);
    const char *where = item > 0 ? lua_pushfstring(L, "item %I: ", (LUAI_UACINT) item) : "";
    if (type->class == AMP_CHARACTER)
        return luaL_error(L, "%sa string of one byte expected for typecode 'c', got %s", where, value);
    if (type->class == AMP_BOOLEAN)
        return luaL_error(L, "%sa boolean expected for typecode '?', got %s", where, what);
    if (lua_type(L, index) != LUA_TNUMBER)
        return luaL_error(L, "%sa number expected for typecode '%c', got %s", where, type->code, what);
    if (type->class == AMP_FLOAT)
        return luaL_error(L, "%s%s does not fit typecode '%c'", where, value, type->code);
    return luaL_error(L, "%s%s does not fit typecode '%c': an integer from %I to %I expected", where,
                      value, type->code, (LUAI_UACINT) type->least, (LUAI_UACINT) type->most);
}

/* The bits of the value at the index, which has this type in Lua. */
static inline uint64_t
to_bits(lua_State *L, const struct amp_type *type, int index, int got, lua_Integer item)
{
    switch (type->class) {
    case AMP_CHARACTER: {
        size_t length = 0;
        const char *s = got == LUA_TSTRING ? lua_tolstring(L, index, &length) : "";
        if (length != 1)
            out_of_range(L, type, index, item);
        return (unsigned char) s[0];
    }
    case AMP_BOOLEAN:
        if (got != LUA_TBOOLEAN)
            out_of_range(L, type, index, item);
        return (uint64_t) lua_toboolean(L, index);
    case AMP_FLOAT: {
        lua_Number number = lua_tonumber(L, index);
        if (got != LUA_TNUMBER || !amp_float_fits(type, number))
            out_of_range(L, type, index, item);
        return amp_bits_of_float(type, number);
    }
    default: {
        int fits;
        lua_Integer n = lua_tointegerx(L, index, &fits);
        if (got != LUA_TNUMBER || !fits || n < type->least || n > type->most)
            out_of_range(L, type, index, item);
        return (uint64_t) n;
    }
    }
}

static uint64_t
check_bits(lua_State *L, const struct amp_type *type, int index)
{
    return to_bits(L, type, index, lua_type(L, index), 0);
}

static inline void
push_bits(lua_State *L, const struct amp_type *type, uint64_t bits)
{
    switch (type->class) {
    case AMP_CHARACTER: {
        char c = (char) bits;
        lua_pushlstring(L, &c, 1);
        break;
    }
    case AMP_BOOLEAN:
        lua_pushboolean(L, bits != 0);
        break;
    case AMP_FLOAT:
        lua_pushnumber(L, amp_float_of_bits(bits));
        break;
    default:
        lua_pushinteger(L, (lua_Integer) bits);
    }
}

static const struct amp_type *
check_type(lua_State *L, int index)
{
    size_t length;
    const char *code = luaL_checklstring(L, index, &length);
    const struct amp_type *type = length == 1 ? amp_type_find(code[0]) : NULL;
    if (type == NULL)
        luaL_error(L, "unknown typecode '%s'; there are b B h H i I l L q Q f d c and ?", code);
    return type;
}

/*
 * Value.
 */

/* What an atomic operation stores instead of `old`: false to leave it. */
typedef bool (*change)(lua_State *L, const struct amp_type *type, uint64_t old, uint64_t *new);

static int
modify(lua_State *L, change compute)
{
    struct amp_cell *cell = luampO_check(L, 1, &value_class)->cell;
    const struct amp_type *type = type_of(cell);
    uint64_t old = atomic_load(&cell->v_bits), new;
    do {
        if (!compute(L, type, old, &new))
            break;
    } while (!atomic_compare_exchange_weak(&cell->v_bits, &old, new));
    push_bits(L, type, old);
    return 1;
}

static bool
sum(lua_State *L, const struct amp_type *type, uint64_t old, uint64_t *new)
{
    if (type->class != AMP_FLOAT)
        luaL_error(L, "add wants a number's typecode, not '%c'", type->code);
    double number = amp_float_of_bits(old) + luampB_check_number(L, 2);
    if (!amp_float_fits(type, number))
        luaL_error(L, "add: %f does not fit typecode '%c'; the value stays as it was",
                   (LUAI_UACNUMBER) number, type->code);
    *new = amp_bits_of_float(type, number);
    return true;
}

/* To integers inline, which is what nearly all are. */
static int
value_add(lua_State *L)
{
    struct amp_cell *cell = luampO_check(L, 1, &value_class)->cell;
    const struct amp_type *type = type_of(cell);
    if (type->class != AMP_INTEGER)
        return modify(L, sum);
    lua_Integer n = lua_isinteger(L, 2) ? lua_tointeger(L, 2) : luampB_check_integer(L, 2);
    uint64_t old = atomic_load(&cell->v_bits);
    int64_t new;
    do {
        if (__builtin_add_overflow((int64_t) old, (int64_t) n, &new) || new < type->least ||
            new > type->most)
            luaL_error(L, "add: %I + %I does not fit typecode '%c'; the value stays as it was",
                       (LUAI_UACINT) old, (LUAI_UACINT) n, type->code);
    } while (!atomic_compare_exchange_weak(&cell->v_bits, &old, (uint64_t) new));
    lua_pushinteger(L, (lua_Integer) old);
    return 1;
}

static bool
exchanged(lua_State *L, const struct amp_type *type, uint64_t old, uint64_t *new)
{
    (void) old;
    *new = check_bits(L, type, 2);
    return true;
}

static int
value_exchange(lua_State *L)
{
    return modify(L, exchanged);
}

static bool
exchanged_if(lua_State *L, const struct amp_type *type, uint64_t old, uint64_t *new)
{
    uint64_t expected = check_bits(L, type, 2);
    *new = check_bits(L, type, 3);
    if (type->class == AMP_FLOAT) /* by value: 0.0 equals -0.0 */
        return amp_float_of_bits(old) == amp_float_of_bits(expected);
    return old == expected;
}

static int
value_compare_exchange(lua_State *L)
{
    return modify(L, exchanged_if);
}

static int
get_lock(lua_State *L, const struct luampO_class *class)
{
    luampO_check(L, 1, class);
    luampO_push_part(L, &luampB_rlock_class, 1);
    return 1;
}

static int
value_get_lock(lua_State *L)
{
    return get_lock(L, &value_class);
}

static bool
is_field(lua_State *L, int index, const char *name)
{
    const char *key = lua_tostring(L, index);
    return key && strcmp(key, name) == 0;
}

static int
value_field(lua_State *L, struct luampO_object *object)
{
    if (!is_field(L, 2, "value"))
        return 0;
    push_bits(L, type_of(object->cell),
              atomic_load_explicit(&object->cell->v_bits, memory_order_acquire));
    return 1;
}

static int
value_newindex(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &value_class);
    if (!is_field(L, 2, "value"))
        return luaL_error(L, "a Value has the field 'value' to set, not '%s'",
                          luaL_tolstring(L, 2, NULL));
    atomic_store_explicit(&object->cell->v_bits, check_bits(L, type_of(object->cell), 3),
                          memory_order_release);
    return 0;
}

static void
describe_value(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    push_bits(L, type_of(object->cell), atomic_load(&object->cell->v_bits));
    luaL_tolstring(L, -1, NULL);
    lua_remove(L, -2);
    luaL_addvalue(text);
}

int
luampB_new_value(lua_State *L)
{
    static const char *const options[] = {"typecode:string", "init", NULL};
    luampO_arguments(L, &value_class, options);
    const struct amp_type *type = check_type(L, 1);
    uint64_t bits = type->class == AMP_FLOAT ? amp_bits_of_float(type, 0) : 0;
    if (!lua_isnil(L, 2))
        bits = check_bits(L, type, 2);
    struct luampO_object *object = luampO_push_new(L, &value_class);
    struct amp_cell *cell = luampO_new_cell(L, &value_class, 3);
    cell->v_type = (uint32_t) (unsigned char) type->code;
    atomic_store_explicit(&cell->v_bits, bits, memory_order_relaxed);
    luampO_made(L, object, cell);
    return 1;
}

static const luaL_Reg value_methods[] = {
    {"add", value_add},
    {"exchange", value_exchange},
    {"compare_exchange", value_compare_exchange},
    {"get_lock", value_get_lock},
    {NULL, NULL},
};
static const luaL_Reg value_metamethods[] = {{"__newindex", value_newindex}, {NULL, NULL}};
static const struct luampO_class value_class = {
    .name = "Value",
    .module = "ipc",
    .id = LUAMPO_VALUE,
    .kind = AMP_VALUE,
    .methods = value_methods,
    .metamethods = value_metamethods,
    .field = value_field,
    .describe = describe_value,
};

/*
 * Array. Elements count from 1.
 */

static inline void *
element(const struct amp_cell *array, const struct amp_type *type, uint64_t position)
{
    return (char *) amp_array_data(array) + (position - 1) * type->size;
}

static void
push_element(lua_State *L, const struct amp_cell *array, const struct amp_type *type,
             uint64_t position)
{
    push_bits(L, type, amp_element_load(type, element(array, type, position)));
}

static const struct amp_type *
check_characters(lua_State *L, const struct amp_cell *array, const char *field)
{
    const struct amp_type *type = type_of(array);
    if (type->class != AMP_CHARACTER)
        luaL_error(L, "only an array of typecode 'c' has '%s', not one of '%c'", field, type->code);
    return type;
}

static int
array_index(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &array_class);
    const struct amp_cell *array = object->cell;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        int is_integer;
        lua_Integer i = lua_tointegerx(L, 2, &is_integer);
        if (!is_integer || i < 1)
            return luaL_error(L, "index %s of Array \"%s\": elements count from 1 to %I",
                              luaL_tolstring(L, 2, NULL), array->c_name,
                              (LUAI_UACINT) array->v_length);
        if ((uint64_t) i > array->v_length)
            return 0;
        push_element(L, array, type_of(array), (uint64_t) i);
        return 1;
    }
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    const char *bytes;
    if (is_field(L, 2, "raw")) {
        check_characters(L, array, "raw");
        bytes = amp_array_data(array);
        lua_pushlstring(L, bytes, (size_t) array->v_length);
        return 1;
    }
    if (is_field(L, 2, "value")) { /* up to the first zero, as a C string */
        check_characters(L, array, "value");
        bytes = amp_array_data(array);
        const char *end = memchr(bytes, 0, (size_t) array->v_length);
        lua_pushlstring(L, bytes, end ? (size_t) (end - bytes) : (size_t) array->v_length);
        return 1;
    }
    return 0;
}

static void
set_bytes(lua_State *L, struct amp_cell *array, const char *field)
{
    size_t length;
    check_characters(L, array, field);
    const char *bytes = luaL_checklstring(L, 3, &length);
    if (length > array->v_length)
        luaL_error(L, "a string of %I bytes does not fit an array of %I", (LUAI_UACINT) length,
                   (LUAI_UACINT) array->v_length);
    char *data = amp_array_data(array);
    memcpy(data, bytes, length);
    if (length < array->v_length)
        memset(data + length, 0, (size_t) (array->v_length - length));
}

static int
array_newindex(lua_State *L)
{
    struct luampO_object *object = luampO_check(L, 1, &array_class);
    struct amp_cell *array = object->cell;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        int is_integer;
        lua_Integer i = lua_tointegerx(L, 2, &is_integer);
        if (!is_integer || i < 1 || (uint64_t) i > array->v_length)
            return luaL_error(L, "index %s of Array \"%s\": elements count from 1 to %I",
                              luaL_tolstring(L, 2, NULL), array->c_name,
                              (LUAI_UACINT) array->v_length);
        const struct amp_type *type = type_of(array);
        amp_element_store(type, element(array, type, (uint64_t) i), check_bits(L, type, 3));
        return 0;
    }
    if (is_field(L, 2, "value") || is_field(L, 2, "raw")) {
        set_bytes(L, array, lua_tostring(L, 2));
        return 0;
    }
    return luaL_error(L, "an Array has elements to set, not '%s'", luaL_tolstring(L, 2, NULL));
}

static int
array_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer) luampO_check(L, 1, &array_class)->cell->v_length);
    return 1;
}

static int
array_get_lock(lua_State *L)
{
    return get_lock(L, &array_class);
}

/* totable([i[, j]]): a list of the elements from i to j, as string.sub counts. */
static int
array_totable(lua_State *L)
{
    struct amp_cell *array = luampO_check(L, 1, &array_class)->cell;
    lua_Integer length = (lua_Integer) array->v_length;
    lua_Integer from = luampB_opt_integer(L, 2, 1);
    lua_Integer to = luampB_opt_integer(L, 3, -1);
    if (from < 0)
        from += length + 1;
    if (to < 0)
        to += length + 1;
    if (from < 1)
        from = 1;
    if (to > length)
        to = length;
    const struct amp_type *type = type_of(array);
    lua_createtable(L, from <= to && to - from < INT32_MAX ? (int) (to - from + 1) : 0, 0);
    for (lua_Integer i = from; i <= to; i++) {
        push_element(L, array, type, (uint64_t) i);
        lua_rawseti(L, -2, i - from + 1);
    }
    return 1;
}

/* The bits of a list's elements after place `from`. */
static void
read_list(lua_State *L, const struct amp_type *type, int list, lua_Integer from, lua_Integer n,
          uint64_t *bits)
{
    bool is_plain = !lua_getmetatable(L, list); /* its elements are what rawgeti says */
    for (lua_Integer k = 1; k <= n; k++) {
        int got = is_plain ? lua_rawgeti(L, list, from + k) : lua_geti(L, list, from + k);
        bits[k - 1] = to_bits(L, type, -1, got, from + k);
        lua_pop(L, 1);
    }
    lua_pop(L, is_plain ? 0 : 1);
}

/* Writes a list's elements from a position on. First all are looked at: nothing is written if
   one does not fit. */
static void
write_list(lua_State *L, struct amp_cell *array, int list, lua_Integer from, lua_Integer n)
{
    enum { AT_ONCE = 1024 };
    uint64_t bits[AT_ONCE];
    const struct amp_type *type = type_of(array);
    for (int pass = n > AT_ONCE ? 0 : 1; pass < 2; pass++) {
        for (lua_Integer k = 0; k < n; k += AT_ONCE) {
            lua_Integer some = n - k < AT_ONCE ? n - k : AT_ONCE;
            read_list(L, type, list, k, some, bits);
            for (lua_Integer i = 0; pass == 1 && i < some; i++)
                amp_element_store(type, element(array, type, (uint64_t) (from + k + i)), bits[i]);
        }
    }
}

/* set(i, list): writes the list's elements from i on. */
static int
array_set(lua_State *L)
{
    struct amp_cell *array = luampO_check(L, 1, &array_class)->cell;
    lua_Integer from = luampB_check_integer(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_Integer n = luaL_len(L, 3);
    lua_Integer length = (lua_Integer) array->v_length;
    if (from < 1 || n > length || from - 1 > length - n)
        return luaL_error(L, "%I elements from index %I on do not fit Array \"%s\", which has %I",
                          (LUAI_UACINT) n, (LUAI_UACINT) from, array->c_name, (LUAI_UACINT) length);
    write_list(L, array, 3, from, n);
    return 0;
}

static int
array_fill(lua_State *L)
{
    struct amp_cell *array = luampO_check(L, 1, &array_class)->cell;
    const struct amp_type *type = type_of(array);
    uint64_t bits = check_bits(L, type, 2);
    for (uint64_t i = 1; i <= array->v_length; i++)
        amp_element_store(type, element(array, type, i), bits);
    return 0;
}

static void
describe_array(lua_State *L, struct luampO_object *object, luaL_Buffer *text)
{
    lua_pushfstring(L, "%I of '%c'", (LUAI_UACINT) object->cell->v_length,
                    (int) object->cell->v_type);
    luaL_addvalue(text);
}

/* Array(typecode, size or list or string) */
int
luampB_new_array(lua_State *L)
{
    static const char *const options[] = {"typecode:string", "init", NULL};
    luampO_arguments(L, &array_class, options);
    const struct amp_type *type = check_type(L, 1);
    size_t n = 0;
    const char *bytes = NULL;
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer size = luampB_check_integer(L, 2);
        luaL_argcheck(L, size >= 0, 2, "a size that is not negative expected");
        n = (size_t) size;
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        if (type->class != AMP_CHARACTER)
            return luaL_error(L, "a string fills an array of typecode 'c', not of '%c'",
                              type->code);
        bytes = lua_tolstring(L, 2, &n);
    } else if (lua_type(L, 2) == LUA_TTABLE) {
        n = (size_t) luaL_len(L, 2);
    } else {
        return luaL_error(L, "bad argument #2 to 'Array' (size, list or string expected, got %s)",
                          luaL_typename(L, 2));
    }
    struct luampO_object *object = luampO_push_new(L, &array_class);
    struct amp_cell *cell = luampO_new_cell(L, &array_class, 3);
    int failure = amp_array_init(cell, type, n);
    if (failure != 0)
        return luampO_failed(L, &array_class, cell, failure);
    luampO_made(L, object, cell);
    if (bytes)
        memcpy(amp_array_data(cell), bytes, n);
    else if (lua_type(L, 2) == LUA_TTABLE)
        write_list(L, cell, 2, 1, (lua_Integer) n);
    luampO_charge(L, n * type->size);
    return 1;
}

static const luaL_Reg array_methods[] = {
    {"get_lock", array_get_lock}, {"totable", array_totable}, {"set", array_set},
    {"fill", array_fill},         {NULL, NULL},
};
static const luaL_Reg array_metamethods[] = {
    {"__newindex", array_newindex}, {"__len", array_len}, {NULL, NULL},
};
static const struct luampO_class array_class = {
    .name = "Array",
    .module = "ipc",
    .id = LUAMPO_ARRAY,
    .kind = AMP_ARRAY,
    .methods = array_methods,
    .metamethods = array_metamethods,
    .own_index = array_index,
    .describe = describe_array,
};

void
luampB_define_values(lua_State *L)
{
    luampO_define(L, &value_class);
    luampO_define(L, &array_class);
}
