/* The memory that a worker has for itself after its first task, while it waits for the next one:
   KiB. */
#include "ring.h"

static long
private_memory(pid_t pid)
{
    char line[256];
    snprintf(line, sizeof line, "/proc/%ld/smaps_rollup", (long) pid);
    FILE *file = fopen(line, "r");
    if (file == NULL)
        fail(line);
    long total = 0, kib;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Private_%*[^:]: %ld", &kib) == 1)
            total += kib;
    fclose(file);
    return total;
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 5);
    long total = 0;
    for (long i = 0; i < n; i++) {
        struct ring *tasks = make_ring(), *results = make_ring();
        int64_t task = 1;
        pid_t pid = fork_or_fail();
        if (pid == 0) {
            do {
                ring_get(tasks, &task);
                ring_put(results, &task, sizeof task);
            } while (task != 0);
            _exit(0);
        }
        ring_put(tasks, &task, sizeof task);
        ring_get(results, &task);
        usleep(10000); /* it waits again */
        total += private_memory(pid);
        task = 0;
        ring_put(tasks, &task, sizeof task);
        join_child(pid);
    }
    printf("%.1f\n", (double) total / (double) n);
    return 0;
}
