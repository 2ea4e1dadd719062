/*
 * codec.h: Lua values to bytes and back.
 *
 * The only encoder of luamp.  Queues, pipes, shared dicts, pools and threads all send what
 * luampC_encode() writes and read it with luampC_decode().  What a message can hold, and how its
 * bytes are laid out, is told in codec_format.h.
 *
 * A message that is one nil, boolean, number or string can also be written by
 * luampC_write_scalar() straight into memory that the caller has reserved: its size is known
 * before, and writing it cannot raise.
 */
#ifndef LUAMP_CODEC_H
#define LUAMP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

/*
 * An encoded message.  bytes and cells belong to the Lua state and are valid until the next
 * luampC_encode() on that state; any Lua code (a finalizer, a signal handler) may make that next
 * call.  A caller that lets Lua code run before it has copied the bytes calls luampC_keep().
 */
struct luampC_message {
    const unsigned char *bytes;
    size_t length;
    const uint64_t *cells;      /* the handles of all luamp objects inside, for their holders */
    uint32_t ncells;
};

/*
 * Encodes the `count` values at the stack indexes first, first + 1, ... as one message; a table,
 * function or object that is met twice is written once and arrives as one.  Calls no Lua function
 * and no metamethod.  Leaves the stack as it was.
 *
 * What cannot be sent raises `cannot send PATH: WHY`.  root begins the path: "args" names the
 * values args[1], args[2], ... when there are several, and is itself the path of a single one;
 * "args[]" numbers also a single one.
 */
void luampC_encode (lua_State *L, int first, int count, const char *root,
                    struct luampC_message *out);

/*
 * What is told of a value that cannot be sent: `cannot send PATH: WHY; REST`.
 */
struct luampC_told {
    const char *root;
    void (*push_rest) (lua_State *L, int index); /* pushes the rest, a string; NULL: there is none */
    int index;                          /* of a value that it is about */
};

/*
 * The same for a receiver that decodes with these flags: what it does not accept cannot be sent.
 */
void luampC_encode_for (lua_State *L, int first, int count, const struct luampC_told *told,
                        unsigned flags, struct luampC_message *out);

/*
 * Pushes one value, the owner of the bytes of the message that luampC_encode() made last; later
 * encodes then use other memory.  The message is valid for as long as that value is on the stack.
 */
void luampC_keep (lua_State *L);

/*
 * Pushes a list of the names of the classes in the message that luampC_encode() made last, for who
 * has to make them known to the receiver before.  Of a message of one plain value it is of no use.
 */
void luampC_push_classes_met (lua_State *L);

/* Pushes the metatable that is known by this name in the state, or nil. */
void luampC_push_class (lua_State *L, const char *name);

/*
 * Decodes a message: pushes its values and returns how many.  What is no message raises
 * `malformed message: WHY`; what is one but names something that is not to be had here (a class,
 * a module, an object that is gone) raises `cannot receive WHAT: WHY`.  Whatever the bytes are,
 * memory stays in proportion to length.  The caller has at least one free stack slot.
 *
 * Creating Lua values may run finalizers, and LUAMPC_FUNCTIONS may require a module, so Lua code
 * may run before the last byte is read: bytes must be the caller's alone until this returns. Of a
 * plain value (nil, a boolean, a number or a string) all bytes are read before that.
 */
int luampC_decode (lua_State *L, const void *bytes, size_t length, unsigned flags);
int luampC_is_plain (const void *bytes, size_t length);

/* True when the message is one boolean or number: then to decode it cannot fail. */
bool luampC_is_number (const void *bytes, size_t length);

/* Accept bytecode, and require the modules that a message names.  Never for a stranger's. */
#define LUAMPC_FUNCTIONS 1u
/* Accept luamp objects. */
#define LUAMPC_OBJECTS 2u
/* The bytes may be those of a send_bytes: what is no message says so. */
#define LUAMPC_RECEIVED 4u

/*
 * The size of the message that consists of the one value at index; 0 when that value is not a
 * nil, boolean, number or string.  Does not raise.
 */
size_t luampC_scalar_size (lua_State *L, int index);

/*
 * Writes that message: exactly luampC_scalar_size() bytes.  Returns where it ends.  Does not
 * raise, and leaves the value and the stack alone.
 */
unsigned char *luampC_write_scalar (lua_State *L, int index, unsigned char *at);

/*
 * Scalars one after the other, with nothing between them: no message, but what several of them
 * together would be.
 *
 * luampC_put_scalar() writes the one at index if there is room for it, and returns how many bytes
 * it took or would take: at most as many as there is room for when it was written.  0: it is no
 * scalar.  Does not raise.
 *
 * luampC_get_scalar() pushes the one that begins at *at and moves *at behind it.  Raises for what
 * is none, and for lack of memory.  Runs no Lua code but finalizers, after the bytes were read.
 */
size_t luampC_put_scalar (lua_State *L, int index, unsigned char *at, size_t room);
void luampC_get_scalar (lua_State *L, const unsigned char **at, const unsigned char *end);

/*
 * Makes the metatable at index known as `name`: tables that have it can be sent, and arrive with
 * the metatable that is known by this name in the receiver.  Raises when the name belongs to
 * another metatable, or the metatable has another name.
 */
void luampC_register_class (lua_State *L, const char *name, int metatable);

/*
 * Pushes the table {encode =, decode =, register_class =}, for tests and debugging:
 * encode(...) -> string, decode(string[, allow_functions]) -> ...
 */
int luampC_open (lua_State *L);

#endif
