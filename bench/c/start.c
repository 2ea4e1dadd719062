/*
 * The start and the end of a program: start N PROGRAM [ARGUMENT...] runs it N times, one after the
 * other, and prints the microseconds of one. This is no floor but the stop-watch of the figure
 * `start`, whose floor is the plain Lua interpreter.
 */
#include "floor.h"

#include <spawn.h>

extern char **environ;

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 100);
    if (argc < 3)
        return 1;
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        pid_t pid;
        if (posix_spawnp(&pid, argv[2], NULL, NULL, argv + 2, environ) != 0)
            fail(argv[2]);
        join_child(pid);
    }
    print_microseconds(from, n);
    return 0;
}
