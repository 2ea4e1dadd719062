/* A recursive robust mutex between processes, taken and released while nobody else wants it:
   nanoseconds a pair. */
#include "floor.h"

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    pthread_mutex_t *mutex = shared_memory(sizeof *mutex);
    make_robust_mutex(mutex, PTHREAD_MUTEX_RECURSIVE);
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        pthread_mutex_lock(mutex);
        pthread_mutex_unlock(mutex);
    }
    print_nanoseconds(from, n);
    return 0;
}
