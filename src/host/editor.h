/*
 * editor: lines typed at a terminal, with editing, a history and completion.
 *
 * The work is libedit's, which is loaded when the interactive mode starts on a terminal. Where it is
 * not installed, or the terminal can do nothing ("dumb"), lines are read as from a pipe.
 */
#ifndef LUAMP_HOST_EDITOR_H
#define LUAMP_HOST_EDITOR_H

#include <lua.h>

#include <stdbool.h>

/* Gets ready, and reads the history: true, or false where there is nothing to edit with. Names are
   completed by `complete`, a function at that index of L's stack: text -> list of what the text's last
   word can become. It stays there as long as lines are read. */
bool editor_open(lua_State *L, int complete);

/* Writes the history. */
void editor_close(void);

/* Reads a line: 1, and *line is the caller's to free; 0 at the end; -1 when a signal came, and
   what was typed is still there for the next call, unless editor_drop() is called. */
int editor_read(const char *prompt, char **line);
void editor_drop(void);

/* What was typed as a whole, perhaps several lines, for the history. */
void editor_remember(const char *text);

#endif
