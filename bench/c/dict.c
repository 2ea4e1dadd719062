/*
 * A hash table with 1,000 strings as keys, in shared memory, under a robust mutex: dict N WHAT prints
 * the nanoseconds of each `get` or `set` of one entry after the other.
 */
#include "floor.h"

#define SIZE 1000
#define SLOTS 2048 /* a power of two; the table is never full */
#define KEY_MAX 16

struct slot {
    char key[KEY_MAX]; /* empty: the slot is free */
    int64_t value;
};

struct dict {
    pthread_mutex_t mutex;
    struct slot slots[SLOTS];
};

static struct slot *
find_slot(struct dict *dict, const char *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *c = key; *c != '\0'; c++)
        hash = (hash ^ (unsigned char) *c) * 16777619u;
    for (uint32_t i = hash;; i++) {
        struct slot *slot = &dict->slots[i % SLOTS];
        if (slot->key[0] == '\0' || strcmp(slot->key, key) == 0)
            return slot;
    }
}

static void
set(struct dict *dict, const char *key, int64_t value)
{
    pthread_mutex_lock(&dict->mutex);
    struct slot *slot = find_slot(dict, key);
    strcpy(slot->key, key);
    slot->value = value;
    pthread_mutex_unlock(&dict->mutex);
}

static int64_t
get(struct dict *dict, const char *key)
{
    pthread_mutex_lock(&dict->mutex);
    int64_t value = find_slot(dict, key)->value;
    pthread_mutex_unlock(&dict->mutex);
    return value;
}

int
main(int argc, char **argv)
{
    long n = count_argument(argc, argv, 1, 1000000);
    int getting = argc > 2 && strcmp(argv[2], "get") == 0;
    struct dict *dict = shared_memory(sizeof *dict);
    static char keys[SIZE][KEY_MAX];
    make_robust_mutex(&dict->mutex, PTHREAD_MUTEX_NORMAL);
    for (int i = 0; i < SIZE; i++) {
        snprintf(keys[i], KEY_MAX, "key%d", i);
        set(dict, keys[i], i);
    }
    int wrong = 0;
    double from = seconds_now();
    for (long i = 0; i < n; i++) {
        if (getting)
            wrong |= get(dict, keys[i % SIZE]) != i % SIZE;
        else
            set(dict, keys[i % SIZE], i);
    }
    print_nanoseconds(from, n);
    return wrong;
}
