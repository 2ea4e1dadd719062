/* A child that does nothing, started and waited for: microseconds. */
#include "floor.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000);
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        pid_t pid = fork_or_fail();
        if (pid == 0)
            _exit(0);
        join_child(pid);
    }
    print_microseconds(from, n);
    return 0;
}
