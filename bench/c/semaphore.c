/* A semaphore between processes, taken and released while it has permits: nanoseconds a pair. */
#include "floor.h"

#include <semaphore.h>

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    sem_t *semaphore = shared_memory(sizeof *semaphore);
    sem_init(semaphore, 1, 1);
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        sem_wait(semaphore);
        sem_post(semaphore);
    }
    print_nanoseconds(from, n);
    return 0;
}
