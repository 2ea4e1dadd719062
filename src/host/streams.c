/*
 * streams: the standard descriptors at the two ends of the program's life.
 *
 * At the start the three are made sure to be open, or the next descriptor that anyone opens would
 * be taken for one of them: under `luamp script.lua >&-` that could be the shared memory, and
 * print would write into it.
 *
 * At the end what is still buffered is written, and a failure is told: a script whose output met
 * a full disk must not look as if it had succeeded. This runs at the exit of the process and not
 * at the end of luamp_main, so that it holds for os.exit too. A forked child leaves by _exit and
 * never comes here.
 */
#include "streams.h"

#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
flush_output(void)
{
    if (fflush(stdout) != 0)
        report_line("cannot write to standard output: %s", strerror(errno));
    else if (ferror(stdout))
        report_line("cannot write to standard output"); /* the reason was an earlier call's */
    else
        return;
    _exit(EXIT_FAILURE);
}

int
streams_open(void)
{
    /* The wrong way round, so that to use a descriptor that was closed fails as it would have. */
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", modes[fd]) != fd)
            return -1;
    }
    return atexit(flush_output) == 0 ? 0 : -1;
}
