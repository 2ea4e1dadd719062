/*
 * options: what the command line says.
 *
 * One table has the options: with what they take, and what the help says of them. The completions for
 * shells are made from it, too (build-aux/reference reads the rows, one a line). A new option is a row
 * there, a field in struct options, and a case in note_letter or note_long.
 */
#include "options.h"

#include "report.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct known_option {
    const char *name;
    const char *argument; /* as the help calls it; NULL: it takes none */
    const char *help;
} known_options[] = {
    {"-e", "stat", "execute string 'stat'"},
    {"-i", NULL, "enter interactive mode after executing 'script'"},
    {"-l", "mod", "require library 'mod' into global 'mod'"},
    {"-l", "g=mod", "require library 'mod' into global 'g'"},
    {"-m", "mod", "run library module 'mod' as the script"},
    {"-v", NULL, "show version information"},
    {"-E", NULL, "ignore environment variables"},
    {"-W", NULL, "turn warnings on"},
    {"--", NULL, "stop handling options"},
    {"-", NULL, "stop handling options and execute stdin"},
    {"--help", NULL, "show this help"},
    {"--version", NULL, "show version information and exit"},
    {"--no-short-names", NULL, "leave luamp's modules under their full names only"},
};

#define KNOWN_OPTIONS (sizeof known_options / sizeof *known_options)
#define USAGE_SIZE 2048

enum option_kind {
    OPTION_NONE,   /* not an option: the script's name, or the line's end */
    OPTION_STOP,   /* "--" */
    OPTION_LETTER, /* -x */
    OPTION_LONG,   /* --x */
    OPTION_UNKNOWN,
    OPTION_NEEDS_ARGUMENT
};

struct option {
    enum option_kind kind;
    char letter;          /* of OPTION_LETTER */
    const char *argument; /* of -e, -l and -m */
    int width;            /* arguments that it takes on the line, itself included */
};

static bool
is_long(const struct known_option *known)
{
    return strncmp(known->name, "--", 2) == 0 && known->name[2] != '\0';
}

/* The row of a long option, by all of its name, or of a short one, by its letter; or NULL. */
static const struct known_option *
find_option(const char *text)
{
    size_t length = text[1] == '-' ? strlen(text) : 2;

    for (size_t i = 0; i < KNOWN_OPTIONS; i++) {
        const char *name = known_options[i].name;

        if (strlen(name) == length && memcmp(name, text, length) == 0)
            return &known_options[i];
    }
    return NULL;
}

/* What --help prints, without the last line's end. */
static const char *
usage(char text[USAGE_SIZE])
{
    int length = snprintf(text, USAGE_SIZE,
                          "usage: luamp [options] [script [args]]\nAvailable options are:");

    for (size_t i = 0; i < KNOWN_OPTIONS; i++) {
        const struct known_option *known = &known_options[i];
        char left[32];

        snprintf(left, sizeof left, "%s%s%s", known->name, known->argument ? " " : "",
                 known->argument ? known->argument : "");
        length += snprintf(text + length, USAGE_SIZE - (size_t) length, "\n  %-*s %s",
                           is_long(known) ? 18 : 9, left, known->help);
    }
    return text;
}

static struct option
read_option(char *const *argv)
{
    const char *text = argv[0];
    struct option option = {OPTION_NONE, '\0', NULL, 1};
    const struct known_option *known;

    if (text == NULL || text[0] != '-' || text[1] == '\0')
        return option;
    known = find_option(text);
    if (known == NULL || (text[1] != '-' && known->argument == NULL && text[2] != '\0')) {
        option.kind = OPTION_UNKNOWN;
        return option;
    }
    if (text[1] == '-') {
        option.kind = text[2] == '\0' ? OPTION_STOP : OPTION_LONG;
        return option;
    }
    option.kind = OPTION_LETTER;
    option.letter = text[1];
    if (known->argument == NULL)
        return option;
    option.argument = text + 2;
    if (text[2] == '\0') {
        option.argument = argv[1];
        option.width = 2;
        if (argv[1] == NULL || argv[1][0] == '-')
            option.kind = OPTION_NEEDS_ARGUMENT;
    }
    return option;
}

static int
least(int a, int b, int c)
{
    int smaller = a < b ? a : b;

    return smaller < c ? smaller : c;
}

/* How many letters must be put in, taken out or replaced to make `b` from `a`. */
static int
edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 32 };
    int row[LONGEST + 1];
    size_t width = strlen(b);

    if (width > LONGEST || strlen(a) > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= width; j++)
        row[j] = (int)j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        int diagonal = row[0];

        row[0] = (int)i + 1;
        for (size_t j = 0; j < width; j++) {
            int above = row[j + 1];

            row[j + 1] = least(above + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = above;
        }
    }
    return row[width];
}

/* The long option that was meant, or NULL. */
static const char *
nearest_long_option(const char *text)
{
    const char *nearest = NULL;
    int smallest = 4; /* farther ones are other words, and not slips */

    for (size_t i = 0; i < KNOWN_OPTIONS; i++) {
        int distance;

        if (!is_long(&known_options[i]))
            continue;
        distance = edit_distance(text, known_options[i].name);
        if (distance < smallest) {
            smallest = distance;
            nearest = known_options[i].name;
        }
    }
    return nearest;
}

static bool
refuse(const char *text, enum option_kind kind)
{
    /* The second word is lua's, for what could have been an option of lua. */
    const char *verdict = text[1] == '-' ? "unknown" : "unrecognized";
    const char *meant = nearest_long_option(text);
    char usage_text[USAGE_SIZE];

    usage(usage_text);
    if (kind == OPTION_NEEDS_ARGUMENT)
        report_line("'%s' needs argument\n%s", text, usage_text);
    else if (meant != NULL)
        report_line("%s option '%s'; did you mean '%s'?\n%s", verdict, text, meant, usage_text);
    else
        report_line("%s option '%s'\n%s", verdict, text, usage_text);
    return false;
}

static void
note_letter(struct options *options, char letter)
{
    switch (letter) {
    case 'E':
        options->ignore_environment = true;
        break;
    case 'e':
        options->executes = true;
        break;
    case 'i':
        options->interactive = true;
        options->show_version = true;
        break;
    case 'v':
        options->show_version = true;
        break;
    }
}

static void
note_long(struct options *options, const char *text)
{
    if (strcmp(text, "--help") == 0)
        options->help = true;
    else if (strcmp(text, "--version") == 0)
        options->show_version = options->version_only = true;
    else
        options->short_names = false;
}

bool
options_parse(struct options *options, int argc, char **argv)
{
    int i = 1;

    *options = (struct options){.argv = argv, .argc = argc, .short_names = true};
    while (i < argc) {
        struct option option = read_option(argv + i);

        switch (option.kind) {
        case OPTION_UNKNOWN:
        case OPTION_NEEDS_ARGUMENT:
            return refuse(argv[i], option.kind);
        case OPTION_NONE:
            options->script = i;
            options->stdin_named = strcmp(argv[i], "-") == 0;
            return true;
        case OPTION_STOP:
            options->script = i + 1;
            return true;
        case OPTION_LONG:
            note_long(options, argv[i]);
            break;
        case OPTION_LETTER:
            if (option.letter == 'm') {
                /* What follows the module's name is the module's. */
                options->script = i + option.width - 1;
                options->module = option.argument;
                return true;
            }
            note_letter(options, option.letter);
            break;
        }
        i += option.width;
    }
    options->script = argc;
    return true;
}

bool
options_next(const struct options *options, int *index, struct option_effect *effect)
{
    while (*index < options->script) {
        struct option option = read_option(options->argv + *index);

        *index += option.width;
        if (option.kind == OPTION_LETTER && strchr("elW", option.letter) != NULL) {
            effect->letter = option.letter;
            effect->argument = option.argument;
            return true;
        }
    }
    return false;
}

void
options_help(void)
{
    char text[USAGE_SIZE];

    puts(usage(text));
}
