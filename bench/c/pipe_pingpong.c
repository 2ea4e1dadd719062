/* A small message over a pair of sockets and back: microseconds a round trip. */
#include "floor.h"

#include <sys/socket.h>

static void
send_message(int socket, int64_t message)
{
    if (write(socket, &message, sizeof message) != (ssize_t) sizeof message)
        fail("write");
}

static int64_t
receive_message(int socket)
{
    int64_t message;
    if (read(socket, &message, sizeof message) != (ssize_t) sizeof message)
        fail("read");
    return message;
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 10000);
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        fail("socketpair");
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        for (long i = 0; i <= n; i++)
            send_message(ends[1], receive_message(ends[1]));
        _exit(0);
    }
    double from = 0;
    for (long i = 0; i <= n; i++) {
        send_message(ends[0], i);
        receive_message(ends[0]);
        if (i == 0)
            from = seconds_now(); /* the child is there */
    }
    print_microseconds(from, n);
    join_child(pid);
    return 0;
}
