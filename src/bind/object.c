/*
 * object: see object.h.
 */
#include "object.h"

#include "process.h"
#include "thread.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct luampO_class *_Atomic luampO_classes[LUAMPO_CLASSES];

#define QUEUE_COST 4096 /* of the arena, about: what is in it comes and goes */

/* Keys of the registry: addresses of these. */
static const char interned_key; /* weak: handle and class -> userdata */
static const char names_key;    /* "source:line" -> the variables that the line assigns to */

/* What has been received and is not yet in a userdata. */
static __thread struct luampO_arrival *arrivals;

/*
 * Interning. Cells are counted in less than 24 bits, so index, class and generation fit one
 * integer.
 */

static lua_Integer
intern_key(const struct luampO_class *class, amp_handle handle)
{
    return (lua_Integer) (handle | (uint64_t) class->id << 24);
}

static void
push_interned_table(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &interned_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 8);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &interned_key);
}

/* Pushes the userdata that the state has for it; false, and nothing pushed, if it has none. */
static bool
push_interned(lua_State *L, const struct luampO_class *class, amp_handle handle)
{
    push_interned_table(L);
    if (lua_rawgeti(L, -1, intern_key(class, handle)) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return true;
    }
    lua_pop(L, 2);
    return false;
}

static bool
is_arriving(amp_handle handle)
{
    for (const struct luampO_arrival *a = arrivals; a != NULL; a = a->before) {
        for (uint32_t i = 0; i < a->n; i++) {
            if (a->cells[i] == handle)
                return true;
        }
    }
    return false;
}

void
luampO_arriving(struct luampO_arrival *arrival, const uint64_t *cells, uint32_t n)
{
    *arrival = (struct luampO_arrival) {.cells = cells, .n = n, .before = arrivals};
    arrivals = arrival;
}

void
luampO_arrived(struct luampO_arrival *arrival)
{
    arrivals = arrival->before;
    for (uint32_t i = 0; i < arrival->n; i++) {
        if (!amp_is_kept(arrival->cells[i]) && !is_arriving(arrival->cells[i]))
            amp_unhold(arrival->cells[i]);
    }
}

/*
 * Userdata.
 */

static void
let_go(struct luampO_object *object)
{
    if (object->attached) {
        object->class->detach(object);
        object->attached = NULL;
    }
    if (object->cell == NULL)
        return;
    object->cell = NULL;
    if (object->is_part)
        return;
    /* Something else may stand for the object: a value of another state, a handle of a program in C, or
       another userdata that was made for the cell since this one was found to be garbage. */
    if (amp_unkeep(object->handle) && !is_arriving(object->handle))
        amp_unhold(object->handle);
}

static int
object_gc(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object)
        let_go(object);
    return 0;
}

void
luampO_close(lua_State *L, struct luampO_object *object)
{
    let_go(object);
    push_interned_table(L);
    lua_pushnil(L);
    lua_rawseti(L, -2, intern_key(object->class, object->handle));
    lua_pop(L, 1);
}

static int
object_tostring(lua_State *L)
{
    struct luampO_object *object = luampO_peek(L, 1);
    if (object == NULL)
        return luaL_error(L, "not a luamp object");
    luampO_push_description(L, object);
    return 1;
}

/* "a" or "an", for a class or a type. */
static const char *
article(const char *name)
{
    return strchr("AEIOaei", *name) || strcmp(name, "RLock") == 0 ? "an" : "a";
}

/* What the value at the index is called in messages; it stays as long as the value. */
static const char *
type_name(lua_State *L, int index)
{
    const char *name = luaL_typename(L, index);
    if (luaL_getmetafield(L, index, "__name") != LUA_TNIL) {
        if (lua_type(L, -1) == LUA_TSTRING)
            name = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return name;
}

/* __newindex of a class that has none. */
static int
object_newindex(lua_State *L)
{
    const char *class = type_name(L, 1);
    return luaL_error(L, "%s %s has no fields to set, such as '%s'", article(class), class,
                      luaL_tolstring(L, 2, NULL));
}

/* __index of a class with fields: a method, else a field, else an error that says what there is. */
static int
object_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    const struct luampO_class *class = lua_touserdata(L, lua_upvalueindex(2));
    struct luampO_object *object = luampO_userdata(L, 1);
    if (object == NULL || object->class != class)
        return luampO_wrong(L, 1, class);
    return class->field(L, object);
}

static void
push_metatable(lua_State *L, const struct luampO_class *class)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, class) != LUA_TTABLE) {
        lua_pop(L, 1);
        luampO_define(L, class);
        lua_rawgetp(L, LUA_REGISTRYINDEX, class);
    }
}

void
luampO_define(lua_State *L, const struct luampO_class *class)
{
    atomic_store_explicit(&luampO_classes[class->id], class, memory_order_relaxed);
    lua_createtable(L, 0, 8);
    lua_createtable(L, 0, 16);
    luaL_setfuncs(L, class->methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__methods");
    if (class->own_index) {
        lua_pushcclosure(L, class->own_index, 1);
    } else if (class->field) {
        lua_pushlightuserdata(L, (void *) class);
        lua_pushcclosure(L, object_index, 2);
    }
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, class->name);
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, object_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, object_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, object_newindex);
    lua_setfield(L, -2, "__newindex");
    if (class->metamethods)
        luaL_setfuncs(L, class->metamethods, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, class);
}

int
luampO_wrong(lua_State *L, int index, const struct luampO_class *class)
{
    lua_Debug ar;
    const char *function = "?";
    if (lua_getstack(L, 0, &ar) && lua_getinfo(L, "n", &ar) && ar.name)
        function = ar.name;
    const char *got = type_name(L, index);
    if (index == 1) {
        const char *instead = "";
        if (!lua_isnoneornil(L, 1))
            instead = lua_pushfstring(L, ", not %s %s", article(got), got);
        return luaL_error(L, "'%s' wants %s %s to its left%s; call it with a colon: x:%s(...)",
                          function, article(class->name), class->name, instead, function);
    }
    return luaL_error(L, "bad argument #%d to '%s' (%s expected, got %s)", index - 1, function,
                      class->name, got);
}

int
luampO_closed(lua_State *L, struct luampO_object *object)
{
    return luaL_error(L, "this %s is closed", object->class->name);
}

struct luampO_object *
luampO_push_new(lua_State *L, const struct luampO_class *class)
{
    luampB_join_family(L);
    struct luampO_object *object = lua_newuserdatauv(L, sizeof *object, 1);
    memset(object, 0, sizeof *object);
    object->class = class;
    push_metatable(L, class);
    lua_setmetatable(L, -2);
    return object;
}

/*
 * To the collector every object is a few dozen bytes, so it would let many a dead one lie. What
 * they take of the arena is counted here, and the collector's clock put forward by it.
 */
void
luampO_charge(lua_State *L, size_t bytes)
{
    enum { ENOUGH = 8 << 10 }; /* for a call */
    static __thread size_t charged;
    charged += bytes;
    if (charged < ENOUGH || !lua_gc(L, LUA_GCISRUNNING))
        return;
    size_t kilobytes = charged >> 10;
    charged = 0;
    lua_gc(L, LUA_GCSTEP, kilobytes < INT_MAX ? (int) kilobytes : INT_MAX);
}

void
luampO_made(lua_State *L, struct luampO_object *object, struct amp_cell *cell)
{
    if (amp_keep_room(amp_cell_index(cell)) != 0)
        luampO_failed(L, object->class, cell, -ENOMEM);
    object->handle = amp_cell_ready(cell);
    object->cell = cell;
    amp_keep(object->handle);
    push_interned_table(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, intern_key(object->class, object->handle));
    lua_pop(L, 1);
    luampO_charge(L, object->class->kind == AMP_QUEUE ? QUEUE_COST : AMP_CELL_SIZE);
}

void
luampO_push(lua_State *L, const struct luampO_class *class, amp_handle handle)
{
    if (push_interned(L, class, handle))
        return;
    struct luampO_object *object = luampO_push_new(L, class);
    if (amp_keep_room(amp_handle_index(handle)) != 0)
        luampB_raise(L, "receive an object", -ENOMEM);
    push_interned_table(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, intern_key(class, handle));
    lua_pop(L, 1);
    object->handle = handle;
    object->cell = amp_cell_of(handle);
    amp_keep(handle);
}

void
luampO_push_part(lua_State *L, const struct luampO_class *class, int whole)
{
    whole = lua_absindex(L, whole);
    struct luampO_object *of = lua_touserdata(L, whole);
    amp_handle handle = of->handle;
    if (push_interned(L, class, handle))
        return;
    struct luampO_object *object = luampO_push_new(L, class);
    object->is_part = true;
    lua_pushvalue(L, whole);
    lua_setiuservalue(L, -2, 1);
    push_interned_table(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, intern_key(class, handle));
    lua_pop(L, 1);
    object->handle = handle;
    object->cell = of->cell;
}

/*
 * Arguments and names.
 */

/* Letters to change, add, drop or swap with their neighbours (the distance of optimal string
   alignment); a letter's case does not count. */
static unsigned
distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    unsigned rows[3][LONGEST + 1];
    size_t n = strlen(b);
    if (strlen(a) > LONGEST || n > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = (unsigned) j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned *row = rows[i % 3], *before = rows[(i + 2) % 3];
        row[0] = (unsigned) i;
        for (size_t j = 1; j <= n; j++) {
            int x = tolower((unsigned char) a[i - 1]), y = tolower((unsigned char) b[j - 1]);
            unsigned least = before[j - 1] + (x != y);
            if (before[j] + 1 < least)
                least = before[j] + 1;
            if (row[j - 1] + 1 < least)
                least = row[j - 1] + 1;
            if (i > 1 && j > 1 && x == tolower((unsigned char) b[j - 2]) &&
                y == tolower((unsigned char) a[i - 2]) && rows[(i + 1) % 3][j - 2] + 1 < least)
                least = rows[(i + 1) % 3][j - 2] + 1;
            row[j] = least;
        }
    }
    return rows[strlen(a) % 3][n];
}

const char *
luampO_nearer(const char *name, const char *const *names, unsigned *best)
{
    const char *nearest = NULL;
    for (; *names; names++) {
        unsigned d = distance(name, *names);
        if (d < *best) {
            *best = d;
            nearest = *names;
        }
    }
    return nearest;
}

const char *
luampO_nearest(const char *name, const char *const *names)
{
    unsigned best = LUAMPO_TOO_FAR(name);
    return luampO_nearer(name, names, &best);
}

/* The options of a class are named as in "maxsize:integer", or without a type. */
static size_t
name_length(const char *option)
{
    return strcspn(option, ":");
}

static bool
is_named(const char *option, const char *name)
{
    return strlen(name) == name_length(option) && memcmp(option, name, strlen(name)) == 0;
}

static const char *
maker_of(const struct luampO_class *class)
{
    return class->maker ? class->maker : class->name;
}

static int
unknown_option(lua_State *L, const struct luampO_class *class, const char *option,
               const char *const *options)
{
    const char *known[12] = {NULL};
    int n = 0;
    for (; options[n] && n < 10; n++)
        known[n] = lua_pushlstring(L, options[n], name_length(options[n]));
    known[n] = "name";
    const char *meant = luampO_nearest(option, known);
    if (meant)
        return luaL_error(L, "unknown option '%s' of %s.%s; did you mean '%s'?", option,
                          class->module, maker_of(class), meant);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int i = 0; i < n; i++) {
        luaL_addstring(&text, i == 0 ? "'" : ", '");
        luaL_addlstring(&text, options[i], name_length(options[i]));
        luaL_addstring(&text, "'");
    }
    luaL_pushresult(&text);
    return luaL_error(L, "unknown option '%s' of %s.%s; there %s%s%s'name'", option, class->module,
                      maker_of(class), n == 0 ? "is " : "are ", lua_tostring(L, -1),
                      n == 0 ? "" : " and ");
}

/* Raises for the argument behind the n options; where it may be the name, says where that goes. */
static int
too_many(lua_State *L, const struct luampO_class *class, const char *const *options, int n)
{
    int given = lua_gettop(L), type = lua_type(L, n + 1);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    if (type == LUA_TSTRING || type == LUA_TTABLE) {
        luaL_addstring(&text, n ? "; a name goes into one table with them: " : "; a name goes into a table: ");
        lua_pushfstring(L, "%s.%s{", class->module, maker_of(class));
        luaL_addvalue(&text);
        for (int i = 0; i < n; i++) {
            luaL_addlstring(&text, options[i], name_length(options[i]));
            luaL_addstring(&text, " = ..., ");
        }
        luaL_addstring(&text, "name = ...}");
    }
    luaL_pushresult(&text);
    return luaL_error(L, "%s.%s takes at most %d argument%s, not %d%s", class->module, maker_of(class), n,
                      n == 1 ? "" : "s", given, lua_tostring(L, -1));
}

/* Raises unless the value on top is nil, or of the option's type. */
static void
check_option(lua_State *L, const struct luampO_class *class, const char *option)
{
    const char *type = option + name_length(option);
    if (*type == '\0' || lua_isnil(L, -1))
        return;
    type++;
    bool is_integer = strcmp(type, "integer") == 0;
    bool is_whole = is_integer && luampB_is_integer(L, -1, LUA_MININTEGER, LUA_MAXINTEGER);
    const char *got = type_name(L, -1);
    if (!is_whole && strcmp(type, luaL_typename(L, -1)) != 0)
        luaL_error(L, "option '%s' of %s.%s: %s %s expected, got %s",
                   lua_pushlstring(L, option, name_length(option)), class->module, maker_of(class),
                   article(type), type, got);
}

void
luampO_arguments(lua_State *L, const struct luampO_class *class, const char *const *options)
{
    int n = 0;
    while (options[n])
        n++;
    bool by_name = lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TTABLE;
    if (!by_name) {
        if (lua_gettop(L) > n)
            too_many(L, class, options, n);
        lua_settop(L, n + 1);
        return;
    }
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TNUMBER && lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 &&
            lua_tointeger(L, -2) <= n)
            continue;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "an option of %s.%s has a name, not a %s", class->module, maker_of(class),
                       luaL_typename(L, -2));
        const char *option = lua_tostring(L, -2);
        bool known = strcmp(option, "name") == 0;
        for (int i = 0; i < n && !known; i++)
            known = is_named(options[i], option);
        if (!known)
            unknown_option(L, class, option, options);
    }
    for (int i = 0; i < n; i++) {
        lua_pushlstring(L, options[i], name_length(options[i]));
        if (lua_gettable(L, 1) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_geti(L, 1, i + 1);
        }
        check_option(L, class, options[i]);
    }
    int type = lua_getfield(L, 1, "name");
    if (type != LUA_TNIL && type != LUA_TSTRING)
        luaL_error(L, "option 'name' of %s.%s: a string expected, got %s", class->module,
                   maker_of(class), lua_typename(L, type));
    lua_remove(L, 1);
}

/*
 * Names of variables. A line names what it makes when nothing but one assignment, or one field of a table,
 * stands in it. What is made inside of an expression, and what may be that of another statement, has no
 * name: a wrong one would be worse.
 */

enum calls {
    UNSURE, /* there is more than expressions */
    ONE_CALL,
    MORE_CALLS
};

static bool
is_letter(char c)
{
    return isalnum((unsigned char) c) || c == '_';
}

static const char *
skip_spaces(const char *at)
{
    while (isspace((unsigned char) *at))
        at++;
    return at;
}

static const char *
skip_letters(const char *at)
{
    while (is_letter(*at))
        at++;
    return at;
}

static const char *
skip_string(const char *at)
{
    char quote = *at++;
    while (*at && *at != quote)
        at += *at == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

static bool
is_word(const char *from, const char *to, const char *const *words)
{
    size_t length = (size_t) (to - from);
    while (*words && (strlen(*words) != length || memcmp(*words, from, length) != 0))
        words++;
    return *words != NULL;
}

static const char *const operators[] = {"and", "not", "or", NULL};
static const char *const keywords[] = {
    "break", "do",  "else", "elseif", "end",    "for",    "function", "goto",  "if",
    "in",    "local", "repeat", "return", "then", "until", "while",   NULL,
};

/* Is there nothing behind an expression but the end of the line? */
static bool
is_over(const char *at)
{
    at += strspn(at, ",;)} \t\r\n");
    return *at == '\0' || strncmp(at, "--", 2) == 0;
}

/* How many calls there are in the expressions on the rest of a line. One in brackets counts twice: then not
   every call's result is the line's. */
static enum calls
count_calls(const char *at)
{
    int depth = 0, calls = 0;
    bool follows_value = false; /* a bracket or a string is a call then */
    if (strstr(at, "--[")) /* a comment that may end on the line */
        return UNSURE;
    while (depth > 0 ? *(at = skip_spaces(at)) && strncmp(at, "--", 2) != 0 : !is_over(at)) {
        at = skip_spaces(at);
        bool followed = follows_value;
        follows_value = false;
        if (is_letter(*at)) {
            const char *word = at;
            at = skip_letters(at);
            bool is_operator = is_word(word, at, operators);
            if (is_word(word, at, keywords) || (followed && !is_operator))
                return UNSURE;
            follows_value = !is_operator;
        } else if (*at == '"' || *at == '\'') {
            at = skip_string(at);
            calls += followed ? 1 + (depth > 0) : 0;
            follows_value = true;
        } else if (strchr("([{", *at)) {
            if (*at == '[' && (at[1] == '[' || at[1] == '='))
                return UNSURE;
            calls += followed && *at != '[' ? 1 + (depth > 0) : 0;
            depth++, at++;
        } else if (strchr(")]}", *at)) {
            if (--depth < 0)
                return UNSURE;
            follows_value = true, at++;
        } else if (strchr("<>~=", *at) && at[1] == '=') {
            at += 2;
        } else if (*at == ';' || (*at == '=' && depth == 0)) {
            return UNSURE;
        } else {
            calls += *at == ',' && depth == 0 ? 2 : 0;
            at++;
        }
    }
    return calls > 1 ? MORE_CALLS : ONE_CALL;
}

/* The variables that a line of source assigns to, each with a comma behind it: "=a,b," of
   `local a <const>, b = ...`. Of `x.a` it is a, and no others follow. They begin with "=" when the line has one
   call, and else with "+". "": none. */
static void
find_variables(const char *line, char *names, size_t size)
{
    char *at = names + 1;
    line = skip_spaces(line);
    if (strncmp(line, "local", 5) == 0 && isspace((unsigned char) line[5]))
        line += 5;
    for (;;) {
        line = skip_spaces(line);
        const char *word = line;
        line = skip_letters(line);
        while (at == names + 1 && *line == '.') {
            word = line + 1;
            line = skip_letters(word);
        }
        size_t length = (size_t) (line - word);
        if (length == 0 || isdigit((unsigned char) *word) || is_word(word, line, keywords) ||
            length + 2 > size - (size_t) (at - names))
            break;
        memcpy(at, word, length);
        at += length;
        *at++ = ',';
        line = skip_spaces(line);
        if (*line == '<' && strchr(line, '>'))
            line = skip_spaces(strchr(line, '>') + 1);
        if (*line == '=' && line[1] != '=') {
            enum calls calls = count_calls(line + 1);
            if (calls == UNSURE)
                break;
            names[0] = calls == ONE_CALL ? '=' : '+';
            *at = '\0';
            return;
        }
        if (*line++ != ',')
            break;
    }
    names[0] = '\0';
}

/* How many values the line has computed before this call: the place of the call in a list of
   expressions. -1: it stands inside of one of them, and that is not an assert, which gives what it gets. */
static int
place_in_list(lua_State *L, const lua_Debug *ar)
{
    int place = 0;
    const char *name;
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushliteral(L, "assert");
    lua_rawget(L, -2);
    for (int i = 1; place >= 0 && (name = lua_getlocal(L, ar, i)) != NULL; i++) {
        bool is_function = lua_isfunction(L, -1); /* that is to be called, as a table is yet to be filled */
        if (strcmp(name, "(temporary)") == 0 && !(is_function && lua_rawequal(L, -1, -2)))
            place = is_function || lua_istable(L, -1) ? -1 : place + 1;
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return place;
}

static bool
read_line(const char *file, int number, char *line, size_t size)
{
    FILE *f = fopen(file, "re");
    if (f == NULL)
        return false;
    bool found = false;
    for (int n = 1; fgets(line, (int) size, f); n++) {
        bool is_whole = strchr(line, '\n') || feof(f);
        if (n == number) {
            found = is_whole;
            break;
        }
        if (!is_whole) { /* a longer line than ours: skip its rest */
            int c;
            while ((c = getc(f)) != EOF && c != '\n')
                ;
        }
    }
    fclose(f);
    return found;
}

/* Pushes the variables that the line assigns to, as find_variables tells them. */
static void
push_variables(lua_State *L, const lua_Debug *ar)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
    }
    lua_pushfstring(L, "%s:%d", ar->source, ar->currentline);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) != LUA_TSTRING) {
        char line[512], names[256] = "";
        lua_pop(L, 1);
        if (ar->source[0] == '@' && read_line(ar->source + 1, ar->currentline, line, sizeof line))
            find_variables(line, names, sizeof names);
        lua_pushstring(L, names);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* Of the variables on top the one at this place, from 0 on; false: there is none. */
static bool
push_variable(lua_State *L, int place)
{
    const char *name = lua_tostring(L, -1) + 1, *end = strchr(name, ',');
    for (; end != NULL && place > 0; place--) {
        name = end + 1;
        end = strchr(name, ',');
    }
    if (end == NULL || place < 0 || (size_t) (end - name) >= AMP_CELL_NAME)
        return false;
    lua_pushlstring(L, name, (size_t) (end - name));
    return true;
}

/* Pushes file:line, of which the end is what must not be cut. */
static void
push_place(lua_State *L, const lua_Debug *ar)
{
    size_t length;
    const char *place = lua_pushfstring(L, "%s:%d", ar->short_src, ar->currentline);
    lua_tolstring(L, -1, &length);
    if (length < AMP_CELL_NAME)
        return;
    lua_pushfstring(L, "...%s", place + length - (AMP_CELL_NAME - 1 - 3));
    lua_remove(L, -2);
}

void
luampO_push_name(lua_State *L, int result)
{
    lua_Debug ar;
    int level = 1;
    bool is_sure = true; /* it is the script's line that calls, and not pcall or the like */
    for (; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "=luamp", 6) != 0)
            break;
        is_sure = is_sure && *ar.what != 'C';
    }
    if (!lua_getstack(L, level, &ar)) {
        lua_pushliteral(L, "?");
        return;
    }
    lua_getinfo(L, "Sl", &ar);
    push_variables(L, &ar);
    const char *names = lua_tostring(L, -1);
    int place = *names == '+' ? place_in_list(L, &ar) : 0;
    if (!is_sure || *names == '\0' || place < 0 || !push_variable(L, place + result))
        push_place(L, &ar);
    lua_remove(L, -2);
}

struct amp_cell *
luampO_new_part(lua_State *L, enum amp_kind kind, const char *name)
{
    struct amp_cell *cell;
    int failure = amp_cell_make(kind, name, &cell);
    if (failure != 0)
        luampB_raise(L, "make an object", failure);
    return cell;
}

struct amp_cell *
luampO_new_cell(lua_State *L, const struct luampO_class *class, int name)
{
    name = lua_absindex(L, name);
    if (lua_type(L, name) != LUA_TSTRING) {
        luampO_push_name(L, 0);
        lua_replace(L, name);
    }
    return luampO_new_part(L, class->kind, lua_tostring(L, name));
}

int
luampO_failed(lua_State *L, const struct luampO_class *class, struct amp_cell *cell, int failure)
{
    amp_cell_abandon(cell);
    lua_pushfstring(L, "make a %s", class->name);
    return luampB_raise(L, lua_tostring(L, -1), failure);
}

/*
 * Sending.
 */

int
luampO_to_wire(lua_State *L, int index, struct luampO_wire *out, const char **why)
{
    struct luampO_object *object = luampO_peek(L, index);
    if (object == NULL)
        return luampB_child_to_wire(L, index, out) || luampB_thread_to_wire(L, index, out);
    *why = object->cell == NULL ? "it is closed" : NULL;
    if (*why == NULL && object->class->stays)
        *why = object->class->stays(object);
    if (*why != NULL)
        return -1;
    *out = (struct luampO_wire) {
        .kind = (uint32_t) object->class->id,
        .ncells = 1,
        .cell = {object->handle},
        .extra = object->is_part,
    };
    return 1;
}

const struct luampO_class *
luampO_known_class(lua_State *L, uint32_t id)
{
    static const char *const modules[] = {"luamp.sync", "luamp.ipc", "luamp.thread"};
    for (size_t i = 0; i < sizeof modules / sizeof *modules && luampO_class_of(id) == NULL; i++) {
        lua_getglobal(L, "require");
        lua_pushstring(L, modules[i]);
        lua_call(L, 1, 0);
    }
    return luampO_class_of(id);
}

int
luampO_from_wire(lua_State *L, const struct luampO_wire *wire)
{
    if (wire->kind == LUAMPB_CHILD_WIRE)
        return luampB_child_from_wire(L, wire);
    if (wire->kind == LUAMPB_THREAD_WIRE)
        return luampB_thread_from_wire(L, wire);
    if (wire->kind == 0 || wire->kind >= LUAMPO_CLASSES || wire->ncells != 1)
        return 0;
    luampB_join_family(L);
    const struct luampO_class *class = luampO_known_class(L, wire->kind);
    if (class == NULL)
        return 0;
    struct amp_cell *cell = amp_cell_of(wire->cell[0]);
    /* Only what the message says that it carries. */
    if (cell == NULL || !is_arriving(wire->cell[0]))
        return 0;
    if (!wire->extra) {
        if (class->arrives ? !class->arrives(L, cell) : amp_cell_kind(cell) != class->kind)
            return 0;
        luampO_push(L, class, wire->cell[0]);
        return 1;
    }
    for (int i = 1; i < LUAMPO_CLASSES; i++) { /* the lock of a value or an array */
        const struct luampO_class *whole = luampO_class_of(i);
        if (whole && whole->kind == amp_cell_kind(cell) &&
            (whole->id == LUAMPO_VALUE || whole->id == LUAMPO_ARRAY) && class->kind == AMP_RLOCK) {
            luampO_push(L, whole, wire->cell[0]);
            luampO_push_part(L, class, -1);
            lua_remove(L, -2);
            return 1;
        }
    }
    return 0;
}

/*
 * Descriptions.
 */

void
luampO_push_description(lua_State *L, struct luampO_object *object)
{
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, object->class->name);
    if (object->cell == NULL) {
        luaL_addstring(&text, " (closed)");
    } else {
        luaL_addstring(&text, " \"");
        luaL_addstring(&text, object->cell->c_name);
        luaL_addstring(&text, "\"");
        if (object->class->describe) {
            luaL_addstring(&text, " (");
            object->class->describe(L, object, &text);
            luaL_addstring(&text, ")");
        }
    }
    luaL_pushresult(&text);
}

const char *
luampO_holder(const struct amp_lock *lock, char buffer[AMP_NAME_SIZE])
{
    uint32_t tid = amp_lock_owner(lock);
    if (tid == 0)
        return NULL;
    uint32_t member = amp_member_of_thread(tid);
    if (member == AMP_NOBODY)
        snprintf(buffer, AMP_NAME_SIZE, "thread %u", tid);
    else
        amp_member_name(member, buffer);
    return buffer;
}

const char *
luampO_kind_name(uint32_t kind)
{
    for (int id = 1; id < LUAMPO_CLASSES; id++) {
        const struct luampO_class *class = luampO_class_of(id);
        if (class && class->kind == kind)
            return class->name;
    }
    return "an object";
}

void
luampO_push_awaited(lua_State *L, const struct amp_what *what)
{
    char name[AMP_NAME_SIZE], object[AMP_CELL_NAME];
    switch (what->kind) {
    case AMP_JOINING:
        amp_member_name(what->cell, name);
        lua_pushfstring(L, "the end of %s", name);
        return;
    case AMP_SELECTING:
        lua_pushliteral(L, "several");
        return;
    }
    if (what->cell == 0) {
        lua_pushstring(L, luampO_kind_name(what->kind));
        return;
    }
    amp_cell_name(what->cell, object);
    lua_pushfstring(L, "%s \"%s\"", luampO_kind_name(what->kind), object);
}

#define EDGES_TOLD 8

/* Adds to the text who waits for what. */
static void
add_edge(lua_State *L, luaL_Buffer *text, const struct amp_edge *edge)
{
    char name[AMP_NAME_SIZE];
    amp_member_name(edge->member, name);
    luaL_addstring(text, name);
    luaL_addstring(text, " waits for ");
    if (edge->what.lock != 0) {
        char object[AMP_CELL_NAME];
        amp_cell_name(edge->what.cell, object);
        lua_pushfstring(L, "the lock \"%s\"", object);
    } else {
        luampO_push_awaited(L, &edge->what);
    }
    luaL_addvalue(text);
    if (edge->holder == AMP_NOBODY)
        return;
    if (edge->holder == edge->member) {
        luaL_addstring(text, ", which it holds itself");
        return;
    }
    amp_member_name(edge->holder, name);
    luaL_addstring(text, ", held by ");
    luaL_addstring(text, name);
}

void
luampO_push_deadlock(lua_State *L)
{
    const struct amp_deadlock *deadlock = amp_roster_last_deadlock();
    unsigned told = deadlock->length;
    if (deadlock->members > 0 && told > EDGES_TOLD)
        told = EDGES_TOLD;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luampB_push_where(L);
    luaL_addvalue(&text);
    luaL_addstring(&text, "deadlock: ");
    for (unsigned i = 0; i < told; i++) {
        if (i > 0)
            luaL_addstring(&text, "; ");
        add_edge(L, &text, &deadlock->edges[i]);
    }
    if (deadlock->members == 1 && deadlock->edges[0].holder == AMP_NOBODY) {
        luaL_addstring(&text, ", and there is no other process or thread");
    } else if (deadlock->members > 1) {
        if (deadlock->members > told) {
            lua_pushfstring(L, "; and %d more wait", (int) (deadlock->members - told));
            luaL_addvalue(&text);
        }
        luaL_addstring(&text, "; nobody is left to go on");
    } else if (deadlock->length == 1) {
        luaL_addstring(&text, "; release it first, or use sync.RLock");
    } else {
        luaL_addstring(&text, "; take locks in one order everywhere, or with a timeout");
    }
    luaL_pushresult(&text);
}

int
luampO_raise_deadlock(lua_State *L)
{
    luampO_push_deadlock(L);
    return lua_error(L);
}
