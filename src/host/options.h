/*
 * options: what the command line says.
 *
 * The options of lua, and luamp's own. They are read twice: options_parse looks at the whole line
 * and refuses what is wrong before anything has run, and the host then goes through those that
 * have an effect in their order (-e, -l, -W) with options_next.
 */
#ifndef LUAMP_HOST_OPTIONS_H
#define LUAMP_HOST_OPTIONS_H

#include <stdbool.h>

struct options {
    char **argv;
    int argc;
    /* Index in argv of the script's name, or of the argument that names the module; argc where
     * there is neither. What comes after it is the script's. */
    int script;
    const char *module;      /* after -m; otherwise NULL */
    bool interactive;        /* -i */
    bool show_version;       /* -v, -i and --version */
    bool version_only;       /* --version */
    bool help;               /* --help */
    bool executes;           /* at least one -e */
    bool ignore_environment; /* -E */
    bool short_names;        /* false with --no-short-names */
    bool stdin_named;        /* the script is - : standard input, though it may be a terminal */
};

/* An option with an effect of its own in the order of the line. */
struct option_effect {
    char letter;          /* 'e', 'l' or 'W' */
    const char *argument; /* NULL for 'W' */
};

/*
 * Reads the line. Returns true, or false where it is wrong; then it has said so, with the usage, on
 * standard error.
 */
bool options_parse(struct options *options, int argc, char **argv);

/* Steps *index, which begins at 1, to the next option with an effect; false after the last. */
bool options_next(const struct options *options, int *index, struct option_effect *effect);

/* Prints the help on standard output. */
void options_help(void);

#endif
