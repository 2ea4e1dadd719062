/*
 * codec_path.c: the path to a value that cannot be sent, for the error.
 *
 * Called by the encoder when it refuses a value, never while things go well.  It reads the keys
 * that stand on the Lua stack above each open table, and calls no metamethod.
 *
 * Invariant: the text is always terminated, and a key adds no control character to it.
 */
#include "codec_path.h"

#include <stdio.h>
#include <string.h>

static void
add_text (struct path *path, const char *text, size_t length)
{
    if (length > sizeof path->text - 1 - path->length)
        length = sizeof path->text - 1 - path->length;
    memcpy(path->text + path->length, text, length);
    path->length += length;
    path->text[path->length] = '\0';
}

static void
add_string (struct path *path, const char *string)
{
    add_text(path, string, strlen(string));
}

static void
add_prefix (struct path *path, const char *prefix)
{
    struct path old = *path;

    path->length = 0;
    add_string(path, prefix);
    add_text(path, old.text, old.length);
}

static int
is_identifier (const char *string, size_t length)
{
    if (length == 0 || length > 60 || (string[0] >= '0' && string[0] <= '9'))
        return 0;
    for (size_t i = 0; i < length; i++) {
        char c = string[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || c == '_'))
            return 0;
    }
    return 1;
}

/* Control characters become '?', and a long string is cut, between two characters if in UTF-8. */
static void
add_quoted (struct path *path, const char *string, size_t length)
{
    size_t shown = length <= 40 ? length : 40;

    while (shown < length && shown > 0 && ((unsigned char) string[shown] & 0xc0) == 0x80)
        shown--;
    add_string(path, "[\"");
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char) string[i];
        if (c == '"' || c == '\\')
            add_string(path, "\\");
        if (c < ' ' || c == 0x7f)
            add_string(path, "?");
        else
            add_text(path, &string[i], 1);
    }
    add_string(path, shown < length ? "...\"]" : "\"]");
}

static void
add_string_key (struct path *path, const char *key, size_t length)
{
    if (is_identifier(key, length)) {
        add_string(path, ".");
        add_text(path, key, length);
    } else {
        add_quoted(path, key, length);
    }
}

/* Adds the key that is at the index. */
static void
add_key (struct path *path, lua_State *L, int index)
{
    char text[40];
    const char *string;
    size_t length;

    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        string = lua_tolstring(L, index, &length);
        add_string_key(path, string, length);
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            snprintf(text, sizeof text, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, index));
        else
            snprintf(text, sizeof text, "[" LUA_NUMBER_FMT "]", lua_tonumber(L, index));
        break;
    case LUA_TBOOLEAN:
        snprintf(text, sizeof text, "[%s]", lua_toboolean(L, index) ? "true" : "false");
        break;
    default:
        snprintf(text, sizeof text, "[a %s]", lua_typename(L, lua_type(L, index)));
        break;
    }
    add_string(path, text);
}

static void
add_upvalue (struct path *path, lua_State *L, const struct open *open)
{
    const char *name = lua_getupvalue(L, open->index, (int) open->items);

    if (name)
        lua_pop(L, 1);
    add_string(path, "'s upvalue '");
    add_string(path, name ? name : "?");
    add_string(path, "'");
}

void
luampC_begin_path (struct path *path, const char *root, int number)
{
    char text[24];

    path->length = 0;
    add_string(path, root);
    if (path->length >= 2 && strcmp(path->text + path->length - 2, "[]") == 0)
        path->length -= 2;
    path->text[path->length] = '\0';
    if (number > 0) {
        snprintf(text, sizeof text, "[%d]", number);
        add_string(path, text);
    }
}

void
luampC_add_steps (struct path *path, lua_State *L, const struct open *open, size_t depth)
{
    for (size_t i = 0; i < depth; i++) {
        int last = i + 1 == depth;
        if (i == 8 && depth > 12) {
            add_string(path, "...");
            i = depth - 5;
        } else if (open[i].doing == DOING_UPVALUES) {
            add_upvalue(path, L, &open[i]);
        } else if (open[i].at_key) {
            add_prefix(path, last ? "a key of " : "(a key of ");
            if (!last)
                add_string(path, ")");
        } else {
            add_key(path, L, open[i].index + 1);
        }
    }
}
