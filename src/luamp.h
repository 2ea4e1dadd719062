/*
 * luamp.h: processes, locks, queues and pools for a Lua 5.4 state, and for programs in C.
 *
 * A C program links with what `pkg-config --cflags --libs luamp` prints. The header has two parts:
 *
 *     For a program with Lua: it opens the modules in a state of its own, and says what they may do
 *     with the process.
 *
 *         lua_State *L = luaL_newstate();
 *         luaL_openlibs(L);
 *         luamp_openlibs(L);
 *         luaL_dostring(L, "local pool = require 'luamp.pool' ...");
 *         lua_close(L);
 *
 *     For a program without Lua, or for the C code of one with Lua: the same locks, semaphores, events,
 *     values and queues that scripts use.
 *
 *         luamp_Object *queue;
 *         luamp_new_queue("jobs", 0, &queue);
 *         luamp_put_bytes(queue, "hello", 5, LUAMP_FOREVER);
 *
 * docs/embedding.md is the manual of both, with whole programs.
 *
 * Beside a function of the first part stands, as in Lua's manual, [-o, +p, x]: the function pops o
 * values from the stack and pushes p; x is `-` when it never raises an error, `m` when it raises only
 * for lack of memory, and `e` when it may raise others. Such a function is called in the thread that
 * uses the state, and in no other at the same time.
 *
 * A function of the second part never raises. Those that can fail return an int: 0 or more is success,
 * less than 0 is one of enum luamp_Result. Beside each stands who may call it:
 *
 *     any thread      also several at the same time with the same arguments
 *     its thread      the thread that made the thing (or, in a child process, the fork of that thread)
 *     signal handler  async-signal-safe as well
 */
#ifndef LUAMP_H
#define LUAMP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" { /* Lua's headers do not say so; included once more they are empty */
#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>
}
#else
#include <lua.h>
#endif

/* The version. This is its only place: the build reads it from these three lines. */
#define LUAMP_VERSION_MAJOR 0
#define LUAMP_VERSION_MINOR 1
#define LUAMP_VERSION_RELEASE 0

/* A number to compare, e.g. `#if LUAMP_VERSION_NUM >= 10203` for version 1.2.3. */
#define LUAMP_VERSION_NUM \
    (LUAMP_VERSION_MAJOR * 10000 + LUAMP_VERSION_MINOR * 100 + LUAMP_VERSION_RELEASE)

/* The same as a string, "0.1.0". */
#define LUAMP_VERSION \
    LUAMP_TEXT_(LUAMP_VERSION_MAJOR) "." LUAMP_TEXT_(LUAMP_VERSION_MINOR) "." \
    LUAMP_TEXT_(LUAMP_VERSION_RELEASE)
#define LUAMP_TEXT_(number) LUAMP_TEXT_OF_(number)
#define LUAMP_TEXT_OF_(number) #number

#if defined(__GNUC__)
#define LUAMP_API extern __attribute__((visibility("default")))
#define LUAMP_NORETURN __attribute__((noreturn))
#else
#define LUAMP_API extern
#define LUAMP_NORETURN
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * ---------------------------------------------------------------------------------------------------
 * For a program with Lua.
 * ---------------------------------------------------------------------------------------------------
 */

/*
 * luamp_openlibs                                                                       [-0, +0, e]
 *
 *     void luamp_openlibs(lua_State *L);
 *
 * Makes luamp's modules known to `require` under their full names: luamp, luamp.process,
 * luamp.signal, luamp.sync, luamp.ipc, luamp.pool, luamp.thread. It sets no global variable. The
 * state's standard libraries must be open (luaL_openlibs). The options are those of
 * LUAMP_OPTIONS_INIT.
 */
LUAMP_API void luamp_openlibs(lua_State *L);

/* Signals for which a script may set a handler; see luamp_Options. */
enum luamp_Signals {
    LUAMP_SIGINT = 1,
    LUAMP_SIGCHLD = 2,
    LUAMP_SIGQUIT = 4,
    LUAMP_SIGNALS_OTHER = 8 /* all but these three */
};

/*
 * luamp_Options
 *
 * What luamp may do in a process that is not its own. Always begin with LUAMP_OPTIONS_INIT, which also
 * notes the size, so that a program goes on to work with a library that knows more options:
 *
 *     luamp_Options options = LUAMP_OPTIONS_INIT;
 *     options.in_child = close_what_is_ours;
 *     luamp_openlibs_with(L, &options);
 *
 * size         sizeof(luamp_Options).
 *
 * short_names  Not 0: the modules are globals, too, as in the program luamp: process, signal, sync, ipc,
 *              pool, thread. They are loaded when they are first used. Default: 0.
 *
 * signals      For which signals scripts may set handlers in the program's own process, or ignore them:
 *              enum luamp_Signals, added. Default: LUAMP_SIGNALS_OTHER, so SIGINT, SIGCHLD and SIGQUIT
 *              stay the program's, and signal.signal raises an error for them. In the processes that a
 *              script starts the script may set all. luamp by itself sets no handler, but for one: that
 *              of SIGRTMAX - 3, when a script starts its first thread.
 *
 * in_child     A function, or NULL. It is called in each process that a script of this state, or of its
 *              threads, starts (by process, or by a pool), right after the fork and before any Lua code:
 *              there the program closes descriptors and resets handlers of signals that are its own. All
 *              signals are blocked meanwhile. L is the state that runs in the child. The function must
 *              not raise an error, must leave the stack as it was, and may call only what a child of a
 *              program with several threads may.
 *
 * data         What in_child is called with.
 */
typedef struct luamp_Options {
    size_t size;
    int short_names;
    unsigned signals;
    void (*in_child)(lua_State *L, void *data);
    void *data;
} luamp_Options;

#define LUAMP_OPTIONS_INIT {sizeof(luamp_Options), 0, LUAMP_SIGNALS_OTHER, NULL, NULL}

/*
 * luamp_openlibs_with                                                                  [-0, +0, e]
 *
 *     void luamp_openlibs_with(lua_State *L, const luamp_Options *options);
 *
 * As luamp_openlibs, with these options, which are copied. They are the state's, and those of the states
 * that threads of its scripts have; of two calls for one state the later one's hold. Raises an error when
 * size is none that the library knows and an option that it does not know is set.
 *
 * Child processes. A process that a script starts is a fork of the whole program. In it luamp calls
 * in_child and then the script's function, and ends the process by _exit: the C code behind the call
 * that started it is not reached there, and functions given to atexit are not run.
 */
LUAMP_API void luamp_openlibs_with(lua_State *L, const luamp_Options *options);

/*
 * luaopen_luamp                                                                        [-0, +1, e]
 *
 *     int luaopen_luamp(lua_State *L);
 *
 * What `require "luamp"` calls: does what luamp_openlibs does, and pushes the table of the modules. In a
 * state in which luamp_openlibs was not called, as in stock Lua, scripts may set handlers for all
 * signals.
 */
LUAMP_API int luaopen_luamp(lua_State *L);

/*
 * luamp_main
 *
 *     int luamp_main(int argc, char **argv);
 *
 * The whole of the program `luamp`: makes a state, reads the command line, runs the script, waits for
 * its processes, closes the state. Returns the status to exit with. It changes the process (the
 * handler of SIGINT, the standard descriptors where they were closed), so it is for a program that
 * does nothing but to return its result from main.
 */
LUAMP_API int luamp_main(int argc, char **argv);

/*
 * luamp_version
 *
 *     const char *luamp_version(void);
 *
 * The version of the library that runs, which may be newer than LUAMP_VERSION, the one that the
 * program was compiled with.
 */
LUAMP_API const char *luamp_version(void);

/*
 * luamp_push                                                                           [-0, +1, e]
 *
 *     void luamp_push(lua_State *L, luamp_Object *object);
 *
 * Pushes the object as a script sees it: what luamp_new_queue made is a Queue. A state has one value for
 * an object, however often it is pushed. The value keeps the object; the handle may be closed.
 */

/*
 * luamp_to                                                                             [-0, +0, -]
 *
 *     int luamp_to(lua_State *L, int index, luamp_Object **object);
 *
 * A handle of the luamp object at the index, which the caller closes. A JoinableQueue and a SimpleQueue
 * are queues as well. LUAMP_WRONG_KIND: there is none, or it is of a class that programs in C do not
 * have (a Condition, a table, a connection, the lock of a value), or it is closed. LUAMP_NO_MEMORY.
 */

/*
 * ---------------------------------------------------------------------------------------------------
 * For a program without Lua.
 *
 * Who shares. The objects lie in memory that the processes of one family have in common: the process that
 * made the first object, and all that are forked from it later, by luamp_fork, by fork, or by a script.
 * So what is to be shared is made before the fork; or it is sent in a message; or C code and a script of
 * one process pass it to each other by luamp_push and luamp_to. Programs that are no relatives share
 * nothing by this interface (a script's Listener and Client, and its SharedMemory, are for these).
 *
 * Threads. A thread that uses an object becomes a member of the family by that, and is one until it ends.
 * All functions may be called by several threads at the same time, with the same objects. But a handle, a
 * writer, a reader and a process belong to the thread that made them: it closes them, and the object
 * lives as long as some thread has a handle of it, or a message carries it. So a thread that goes on to
 * use an object when the one that made it may have ended takes a handle of its own, by luamp_dup.
 *
 * Forks. A child has copies of the handles, writers and readers of the thread that forked, and uses and
 * closes them as its own. What other threads of the parent have, it must not use. Locks that the parent
 * holds, the child does not.
 *
 * Deaths. Any process may be killed at any instruction, and no other one hangs or finds an object torn.
 * The lock of the dead goes to the next who acquires it, with LUAMP_OWNER_DIED; permits of a bounded
 * semaphore come back; a message has been put or has not, and has been taken or has not.
 * ---------------------------------------------------------------------------------------------------
 */

/* What functions return. errno says more for LUAMP_SYSTEM only. */
enum luamp_Result {
    LUAMP_OK = 0,
    LUAMP_OWNER_DIED = 1,   /* the lock is yours; its last owner died with it, and what it guards may be
                               half changed */
    LUAMP_IN_CHILD = 2,     /* luamp_fork, in the child */

    LUAMP_TIMEOUT = -1,     /* the deadline has come. With LUAMP_NOW: it would have had to wait */
    LUAMP_CLOSED = -2,      /* the queue is closed (and, for a get, empty) */
    LUAMP_INTERRUPTED = -3, /* luamp_interrupt was called in this thread; nothing has happened */
    LUAMP_DEADLOCK = -4,    /* the wait can never end: a cycle of locks; or, in the program
                               luamp, nobody is left to go on */
    LUAMP_NO_MEMORY = -5,   /* of the machine, of its control group, or of the 64 GiB of a family */
    LUAMP_TOO_LONG = -6,    /* a message has at most 4 GiB */
    LUAMP_TOO_MANY = -7,    /* members of the family (2047), locks that a thread holds (1900), processes */
    LUAMP_NOT_OWNER = -8,   /* the calling thread does not hold the lock, or a permit */
    LUAMP_OUT_OF_RANGE = -9, /* a number does not fit the value's type; more permits than there may be */
    LUAMP_WRONG_KIND = -10, /* the function is not for such an object */
    LUAMP_WRONG_TYPE = -11, /* what comes next in the message is something else; it is still to be read */
    LUAMP_MALFORMED = -12,  /* the bytes are no message */
    LUAMP_MISUSE = -13,     /* an argument, or the order of calls, is wrong */
    LUAMP_GONE = -14,       /* the object has ended; the process was waited for by somebody else */
    LUAMP_UNSUPPORTED = -15, /* this kernel does not do what luamp relies on */
    LUAMP_SYSTEM = -16      /* a system call failed: see errno */
};

/* What a result means, in a few English words. Any thread, signal handler. */
LUAMP_API const char *luamp_strerror(int result);

/* A point of time: nanoseconds on CLOCK_MONOTONIC. A call that waits takes the time up to which it does,
   so a wait that was interrupted is gone on with by the same number. */
typedef int64_t luamp_Time;
#define LUAMP_NOW ((luamp_Time) 0)           /* does not wait */
#define LUAMP_FOREVER ((luamp_Time) INT64_MAX)

/* The time so many seconds from now. 0, less and NaN: LUAMP_NOW; infinity: LUAMP_FOREVER. Any thread,
   signal handler. */
LUAMP_API luamp_Time luamp_after(double seconds);

/*
 * luamp_interrupt: any thread, signal handler
 *
 * For a handler of a signal: the wait of luamp's that the calling thread is in, or else its next one that
 * would sleep, returns LUAMP_INTERRUPTED. Without it a wait goes on when a handler of the program's has
 * run. Waits of scripts are not ended by it.
 */
LUAMP_API void luamp_interrupt(void);

/*
 * Members.
 */

/*
 * luamp_join: any thread
 *
 * Makes the calling thread a member of the family, by a name that reports show; NULL: "MainProcess", or
 * "Thread". Other functions do that when it is needed; a thread that is a member already keeps its name.
 * The first call of a process maps the shared memory. LUAMP_UNSUPPORTED, LUAMP_NO_MEMORY,
 * LUAMP_TOO_MANY, LUAMP_SYSTEM.
 */
LUAMP_API int luamp_join(const char *name);

/*
 * luamp_leave: any thread
 *
 * The calling thread is a member no more, and its handles are void. Done by itself at the end of a thread
 * or process, and not necessary. Locks that it holds go to the next owner, who is told, once the thread
 * has ended.
 */
LUAMP_API void luamp_leave(void);

/*
 * Processes. A program may as well call fork: the child is a member, too. luamp_fork is for who wants to
 * be told at once that there is no room for another member, and to wait with a deadline.
 */
typedef struct luamp_Process luamp_Process;

enum luamp_ForkFlags {
    LUAMP_DIES_WITH_PARENT = 1 /* the child is killed when the calling process ends */
};

/*
 * luamp_fork: any thread
 *
 * Forks. LUAMP_OK in the parent, with *process to wait for. LUAMP_IN_CHILD in the child, which has the
 * calling thread only, and goes on behind the call; it ends by luamp_exit, or by _exit. stdout and stderr
 * are flushed before. Handlers of signals, and the mask, are inherited. LUAMP_TOO_MANY,
 * LUAMP_NO_MEMORY, LUAMP_MISUSE.
 */
LUAMP_API int luamp_fork(const char *name, unsigned flags, luamp_Process **process);

/* The end of a child: flushes stdout and stderr, leaves the family, and calls _exit. Any thread. */
LUAMP_API void luamp_exit(int status) LUAMP_NORETURN;

/*
 * luamp_process_wait: its thread
 *
 * Waits for the end: LUAMP_OK, and *status (NULL: of no interest) is the exit status, or -N when signal N
 * ended it. Once it has ended, again and again. LUAMP_TIMEOUT, LUAMP_INTERRUPTED; LUAMP_GONE: somebody
 * else has waited for it, as a wait for any child does. luamp has no handler of SIGCHLD, and waits for no
 * children but its own.
 */
LUAMP_API int luamp_process_wait(luamp_Process *process, luamp_Time deadline, int *status);

/* Sends a signal, never to another process that has the same number by now: LUAMP_OK; LUAMP_GONE when it
   has ended; LUAMP_SYSTEM. Its thread. */
LUAMP_API int luamp_process_kill(luamp_Process *process, int signal);

/* Its process id. Any thread. */
LUAMP_API int luamp_process_pid(const luamp_Process *process);

/* Forgets the child, which goes on; one that was not waited for stays a zombie at its end. NULL is
   allowed. Its thread. */
LUAMP_API void luamp_process_free(luamp_Process *process);

/*
 * Objects. What each does is told in docs/sync.md and docs/ipc.md; here is what C adds.
 */
typedef struct luamp_Object luamp_Object;

enum luamp_Kind {
    LUAMP_LOCK = 1,
    LUAMP_RLOCK,
    LUAMP_SEMAPHORE,
    LUAMP_BOUNDED_SEMAPHORE,
    LUAMP_EVENT,
    LUAMP_VALUE,
    LUAMP_QUEUE
};

/*
 * luamp_new_...: any thread
 *
 * Make an object, and a handle of it in the last argument. The name is for reports, and is copied, up to
 * 47 bytes; NULL: "?". LUAMP_NO_MEMORY; LUAMP_OUT_OF_RANGE: more permits or messages than 2^30 - 1;
 * LUAMP_MISUSE: an unknown typecode; and what luamp_join returns.
 */
LUAMP_API int luamp_new_lock(const char *name, luamp_Object **lock);
LUAMP_API int luamp_new_rlock(const char *name, luamp_Object **lock);
LUAMP_API int luamp_new_event(const char *name, luamp_Object **event);
LUAMP_API int luamp_new_semaphore(const char *name, unsigned permits, luamp_Object **semaphore);
LUAMP_API int luamp_new_bounded_semaphore(const char *name, unsigned permits,
                                          luamp_Object **semaphore);
/* typecode: one of b B h H i I l L q Q f d c ?, as ipc.Value; it is 0 at first. */
LUAMP_API int luamp_new_value(const char *name, char typecode, luamp_Object **value);
/* most: how many messages may be in it; 0: any number. */
LUAMP_API int luamp_new_queue(const char *name, unsigned most, luamp_Object **queue);

/* A further handle of the same object: of the calling thread, whoever had the first. LUAMP_GONE,
   LUAMP_NO_MEMORY. Any thread, while the handle is open. */
LUAMP_API int luamp_dup(luamp_Object *object, luamp_Object **another);

/* Closes the handle; NULL is allowed. The last one of all threads and processes ends the object. A lock
   that is held stays held. Its thread, and when no other uses the handle any more. */
LUAMP_API void luamp_close(luamp_Object *object);

/* What it is: enum luamp_Kind. Any thread. */
LUAMP_API int luamp_kind(const luamp_Object *object);

/* What it is called. Any thread; valid while the handle is open. */
LUAMP_API const char *luamp_name(const luamp_Object *object);

/*
 * luamp_acquire: any thread
 *
 * Of a lock: LUAMP_OK or LUAMP_OWNER_DIED, and the calling thread holds it. It is the thread that does; an
 * RLock may be acquired again by it, and is released as often. A value has an RLock of its own, that of
 * value:get_lock() in a script. Of a semaphore: LUAMP_OK, and there is a permit less. LUAMP_TIMEOUT,
 * LUAMP_INTERRUPTED; LUAMP_DEADLOCK, for locks with LUAMP_FOREVER only; LUAMP_TOO_MANY.
 */
LUAMP_API int luamp_acquire(luamp_Object *object, luamp_Time deadline);

/*
 * luamp_release: any thread
 *
 * LUAMP_NOT_OWNER: another thread holds the lock, or nobody does, or the calling thread has no permit of
 * the bounded semaphore. LUAMP_OUT_OF_RANGE: the semaphore has all its permits.
 */
LUAMP_API int luamp_release(luamp_Object *object);

/* Events. Any thread. wait: LUAMP_OK once it is set, or was set meanwhile; LUAMP_TIMEOUT,
   LUAMP_INTERRUPTED. is_set: 1 or 0. */
LUAMP_API int luamp_event_set(luamp_Object *event);
LUAMP_API int luamp_event_clear(luamp_Object *event);
LUAMP_API int luamp_event_is_set(luamp_Object *event);
LUAMP_API int luamp_event_wait(luamp_Object *event, luamp_Time deadline);

/*
 * Values. Any thread. Each operation is atomic. The first five are for integers, characters (0 to 255) and
 * booleans (0 and 1), the others for floats; LUAMP_WRONG_KIND: for the others' type. *old is what the value
 * was before; NULL: of no interest. LUAMP_OUT_OF_RANGE: it does not fit the type, and the value stays as it
 * was. compare_exchange: 1 when the value was `expected` and is `wanted` now, else 0.
 */
LUAMP_API int luamp_value_get(luamp_Object *value, int64_t *n);
LUAMP_API int luamp_value_set(luamp_Object *value, int64_t n);
LUAMP_API int luamp_value_add(luamp_Object *value, int64_t n, int64_t *old);
LUAMP_API int luamp_value_exchange(luamp_Object *value, int64_t n, int64_t *old);
LUAMP_API int luamp_value_compare_exchange(luamp_Object *value, int64_t expected, int64_t wanted);
LUAMP_API int luamp_value_get_number(luamp_Object *value, double *number);
LUAMP_API int luamp_value_set_number(luamp_Object *value, double number);
LUAMP_API int luamp_value_add_number(luamp_Object *value, double number, double *old);

/*
 * Queues.
 */
typedef struct luamp_Writer luamp_Writer;
typedef struct luamp_Reader luamp_Reader;

/*
 * luamp_put_bytes: any thread
 *
 * Puts a message that is one string of any bytes. When it returns LUAMP_OK the message is in shared memory,
 * and arrives whatever becomes of this process. LUAMP_TIMEOUT (full), LUAMP_CLOSED, LUAMP_INTERRUPTED,
 * LUAMP_TOO_LONG, LUAMP_NO_MEMORY.
 */
LUAMP_API int luamp_put_bytes(luamp_Object *queue, const void *bytes, size_t length,
                              luamp_Time deadline);

/*
 * luamp_put: the writer's thread
 *
 * Puts what the writer holds; it must be one whole value, and not nil (LUAMP_MISUSE). The first failure of
 * the writer is a failure of this call. After LUAMP_OK the writer is empty; otherwise it is as before, so
 * the put can be tried again. Else as luamp_put_bytes.
 */
LUAMP_API int luamp_put(luamp_Object *queue, luamp_Writer *writer, luamp_Time deadline);

/*
 * luamp_get: the reader's thread
 *
 * Takes the oldest message into the reader, which drops what it held. LUAMP_TIMEOUT (empty), LUAMP_CLOSED
 * (empty and closed), LUAMP_INTERRUPTED, LUAMP_NO_MEMORY: the message is still in the queue. What the
 * message holds shows when it is read.
 */
LUAMP_API int luamp_get(luamp_Object *queue, luamp_Reader *reader, luamp_Time deadline);

/* No more can be put; what is in it can be got. Any thread. */
LUAMP_API int luamp_queue_close(luamp_Object *queue);

/* How many messages are in it: 0 or more. Any thread. */
LUAMP_API int64_t luamp_queue_size(luamp_Object *queue);

/*
 * luamp_descriptor: its thread
 *
 * A descriptor for the program's own loop: poll says that it is readable when a message is in the queue, or
 * it is closed; or when the event is set. The program then calls luamp_get (luamp_event_wait) with
 * LUAMP_NOW, and does nothing else with the descriptor. It stays readable until such a call returns
 * LUAMP_TIMEOUT: so get until then, or as much as one likes, and poll again. It may be readable although
 * another process has taken the message meanwhile.
 *
 * There is one for a handle, closed with it. A thread of luamp's, with all signals blocked, watches the
 * object for it. A child of a fork asks for one of its own. LUAMP_WRONG_KIND, LUAMP_NO_MEMORY,
 * LUAMP_SYSTEM (no descriptors or threads are to be had).
 */
LUAMP_API int luamp_descriptor(luamp_Object *object, int *descriptor);

/*
 * Writers: a value for a queue, piece by piece. A table begins with luamp_write_list or
 * luamp_write_table and ends with luamp_write_end:
 *
 *     luamp_write_table(w);                            {
 *     luamp_write_text(w, "name");                        name =
 *     luamp_write_text(w, "Ann");                            "Ann",
 *     luamp_write_text(w, "scores");                      scores =
 *     luamp_write_list(w);                                   {
 *     luamp_write_integer(w, 3);                                3,
 *     luamp_write_nil(w);                                       nil,
 *     luamp_write_number(w, 0.5);                               0.5
 *     luamp_write_end(w);                                    },
 *     luamp_write_end(w);                              }
 *
 * A failure stays: further calls return it as well, and so does luamp_put, until luamp_writer_clear. So it is
 * enough to look at what luamp_put returns. LUAMP_NO_MEMORY; LUAMP_MISUSE: a second value, an end without a
 * beginning, a key without a value, a key that is nil or NaN. All: the writer's thread.
 */
LUAMP_API luamp_Writer *luamp_writer_new(void); /* NULL: no memory */
LUAMP_API void luamp_writer_free(luamp_Writer *writer); /* NULL is allowed */
LUAMP_API void luamp_writer_clear(luamp_Writer *writer);
LUAMP_API int luamp_write_nil(luamp_Writer *writer);
LUAMP_API int luamp_write_boolean(luamp_Writer *writer, int boolean);
LUAMP_API int luamp_write_integer(luamp_Writer *writer, int64_t n);
LUAMP_API int luamp_write_number(luamp_Writer *writer, double number);
LUAMP_API int luamp_write_string(luamp_Writer *writer, const void *bytes, size_t length);
LUAMP_API int luamp_write_text(luamp_Writer *writer, const char *text); /* up to its zero */
LUAMP_API int luamp_write_object(luamp_Writer *writer, luamp_Object *object);
LUAMP_API int luamp_write_list(luamp_Writer *writer);  /* items follow, 1, 2, ... */
LUAMP_API int luamp_write_table(luamp_Writer *writer); /* keys and values follow, in turn */
LUAMP_API int luamp_write_end(luamp_Writer *writer);

/* The bytes of the whole value, valid until the writer is used again: for a program that keeps or sends
   them in its own way. The failure of the writer, or LUAMP_MISUSE when the value is not whole. */
LUAMP_API int luamp_writer_bytes(luamp_Writer *writer, const void **bytes, size_t *length);

/*
 * Readers: a message, piece by piece. Of a table comes first a LUAMP_TTABLE, which says how many items
 * stand in it as in a list; then these items; then keys and values in turn; then a LUAMP_TEND. Nothing is
 * trusted: whatever the bytes are, no call reads past them, takes memory out of proportion, or goes on for
 * ever. LUAMP_MALFORMED and LUAMP_NO_MEMORY stay, until another message is got. All: the reader's thread.
 */
enum luamp_Type {
    LUAMP_TNONE,     /* the message has ended */
    LUAMP_TNIL,
    LUAMP_TBOOLEAN,
    LUAMP_TINTEGER,
    LUAMP_TNUMBER,   /* a float */
    LUAMP_TSTRING,
    LUAMP_TTABLE,    /* its parts follow */
    LUAMP_TEND,      /* of the table */
    LUAMP_TSAME,     /* the table that began at as.table.id, once more: values can be shared and circular */
    LUAMP_TOBJECT,   /* of luamp's; see luamp_read_object */
    LUAMP_TOTHER     /* what only Lua can have: a function, a class, a module */
};

typedef struct luamp_Item {
    int type; /* enum luamp_Type */
    union {
        int boolean;
        int64_t integer;
        double number;
        struct {
            const char *bytes; /* in the message: valid until the reader gets another. No zero behind it */
            size_t length;
        } string;
        struct {
            size_t items; /* so many stand in it as in a list; never more than the message has bytes */
            size_t id;    /* where in the message it begins */
            const char *name; /* of its class, or NULL */
            size_t name_length;
        } table;
    } as;
} luamp_Item;

/* A reader, which holds no message yet; NULL: no memory. And its end; NULL is allowed. */
LUAMP_API luamp_Reader *luamp_reader_new(void);
LUAMP_API void luamp_reader_free(luamp_Reader *reader);

/* Reads the message that these bytes are, which are copied: as luamp_writer_bytes gave them, or any. An
   object in it is LUAMP_TOTHER. LUAMP_NO_MEMORY. */
LUAMP_API int luamp_reader_load(luamp_Reader *reader, const void *bytes, size_t length);

/* What comes next. luamp_read goes past it, luamp_peek does not. LUAMP_MALFORMED, LUAMP_NO_MEMORY. */
LUAMP_API int luamp_read(luamp_Reader *reader, luamp_Item *item);
LUAMP_API int luamp_peek(luamp_Reader *reader, luamp_Item *item);

/* What comes next, if it is of this type. LUAMP_WRONG_TYPE: it is not, and is still to be read. A number
   may be an integer, too. */
LUAMP_API int luamp_read_boolean(luamp_Reader *reader, int *boolean);
LUAMP_API int luamp_read_integer(luamp_Reader *reader, int64_t *n);
LUAMP_API int luamp_read_number(luamp_Reader *reader, double *number);
LUAMP_API int luamp_read_string(luamp_Reader *reader, const char **bytes, size_t *length);
LUAMP_API int luamp_read_table(luamp_Reader *reader, size_t *items);
LUAMP_API int luamp_read_end(luamp_Reader *reader);

/* A handle of the object that comes next, for the caller to close. LUAMP_WRONG_KIND: it is of a class that
   programs in C do not have, and is still to be read. LUAMP_GONE, LUAMP_NO_MEMORY. */
LUAMP_API int luamp_read_object(luamp_Reader *reader, luamp_Object **object);

/* Goes past what comes next: a whole table, where that begins one. LUAMP_WRONG_TYPE: an end comes next,
   that of a table or of the message. */
LUAMP_API int luamp_skip(luamp_Reader *reader);

/* The two that are told above. */
LUAMP_API void luamp_push(lua_State *L, luamp_Object *object);
LUAMP_API int luamp_to(lua_State *L, int index, luamp_Object **object);

#ifdef __cplusplus
}
#endif

#endif
