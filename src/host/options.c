/*
 * options: what the command line says.
 *
 * One place knows the syntax: read_option, which both passes over the line use. A new option is a
 * case there, a field in struct options, and a line in the help.
 */
#include "options.h"

#include "report.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char usage_text[] =
    "usage: luamp [options] [script [args]]\n"
    "Available options are:\n"
    "  -e stat   execute string 'stat'\n"
    "  -i        enter interactive mode after executing 'script'\n"
    "  -l mod    require library 'mod' into global 'mod'\n"
    "  -l g=mod  require library 'mod' into global 'g'\n"
    "  -m mod    run library module 'mod' as the script\n"
    "  -v        show version information\n"
    "  -E        ignore environment variables\n"
    "  -W        turn warnings on\n"
    "  --        stop handling options\n"
    "  -         stop handling options and execute stdin\n"
    "  --help             show this help\n"
    "  --version          show version information and exit\n"
    "  --no-short-names   leave luamp's modules under their full names only";

static const char *const long_options[] = {"--help", "--no-short-names", "--version"};

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
is_long_option(const char *text)
{
    for (size_t i = 0; i < sizeof long_options / sizeof *long_options; i++) {
        if (strcmp(text, long_options[i]) == 0)
            return true;
    }
    return false;
}

static struct option
read_option(char *const *argv)
{
    const char *text = argv[0];
    struct option option = {OPTION_NONE, '\0', NULL, 1};

    if (text == NULL || text[0] != '-' || text[1] == '\0')
        return option;
    if (text[1] == '-') {
        if (text[2] == '\0')
            option.kind = OPTION_STOP;
        else
            option.kind = is_long_option(text) ? OPTION_LONG : OPTION_UNKNOWN;
        return option;
    }
    option.kind = OPTION_LETTER;
    option.letter = text[1];
    switch (text[1]) {
    case 'E':
    case 'W':
    case 'i':
    case 'v':
        if (text[2] != '\0')
            option.kind = OPTION_UNKNOWN;
        break;
    case 'e':
    case 'l':
    case 'm':
        option.argument = text + 2;
        if (text[2] == '\0') {
            option.argument = argv[1];
            option.width = 2;
            if (argv[1] == NULL || argv[1][0] == '-')
                option.kind = OPTION_NEEDS_ARGUMENT;
        }
        break;
    default:
        option.kind = OPTION_UNKNOWN;
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

    for (size_t i = 0; i < sizeof long_options / sizeof *long_options; i++) {
        int distance = edit_distance(text, long_options[i]);

        if (distance < smallest) {
            smallest = distance;
            nearest = long_options[i];
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
    puts(usage_text);
}
