/*
 * The arena: runs of pages are handed out, come back, join, and are never handed out twice, whoever
 * dies. The families here are small, so that they can be filled.
 */
#include "tap.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define SMALL (UINT64_C(32) << 20)

static struct {
    _Atomic int started, stop;
    _Atomic int result[TAP_WORKERS_MAX];
} *board;

/* Who owns the runs of a test: an object that does nothing with them. */
static uint32_t
owner(void)
{
    static uint32_t index;
    if (index == 0)
        index = amp_cell_index(tap_object(AMP_VALUE, "owner of runs"));
    return index;
}

static uint32_t
take(uint64_t size)
{
    uint32_t page = 0;
    return amp_arena_take(size, owner(), &page) == 0 ? page : 0;
}

static uint64_t
memory_of_arena(void)
{
    struct stat status;
    return fstat(amp_arena.descriptor, &status) == 0 ? (uint64_t) status.st_blocks * 512 : 0;
}

/*
 * The reservation.
 */

static int
make_in_child(void *argument)
{
    /* What a parent made is not this child's concern: it looks at amp_arena_make alone. */
    const struct rlimit *limits = argument;
    amp_arena = (struct amp_arena) {.descriptor = -1};
    if (limits[0].rlim_cur != 0)
        setrlimit(RLIMIT_FSIZE, &limits[0]);
    if (limits[1].rlim_cur != 0)
        setrlimit(RLIMIT_AS, &limits[1]);
    int result = amp_arena_make(0);
    if (result != 0)
        _exit(100);
    _exit(63 - __builtin_clzll(amp_arena.header->h_size)); /* its highest bit */
}

static int
size_under(rlim_t file_size, rlim_t address_space)
{
    struct rlimit limits[2] = {{file_size, file_size}, {address_space, address_space}};
    pid_t pid = fork();
    if (pid == 0)
        make_in_child(limits);
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
test_reservation(void)
{
    struct amp_header *h = amp_arena.header;
    is(h->h_size, SMALL, "the reservation is as large as was asked for");
    ok(h->h_roster % AMP_PAGE == 0 && h->h_rows % 64 == 0 && h->h_cells % 64 == 0 &&
           h->h_map % 8 == 0 && h->h_pages % AMP_PAGE == 0,
       "its regions are aligned");
    ok(h->h_roster >= sizeof *h &&
           h->h_rows >= h->h_roster + (uint64_t) AMP_ROWS * AMP_ROSTER_SLOT &&
           h->h_cells >= h->h_rows + (uint64_t) h->h_cells_max / AMP_ROW_CHUNK * AMP_ROWS * 64 &&
           h->h_map >= h->h_cells + (uint64_t) h->h_cells_max * AMP_CELL_SIZE &&
           h->h_pages >= h->h_map + (uint64_t) h->h_pages_max * 8 &&
           h->h_size >= h->h_pages + (uint64_t) h->h_pages_max * AMP_PAGE,
       "and do not overlap");
    ok(memory_of_arena() < SMALL / 8, "it has next to no memory before it is used");
    ok(ftruncate(amp_arena.descriptor, 4096) != 0, "nobody can shrink it");
    ok(ftruncate(amp_arena.descriptor, 2 * (off_t) SMALL) != 0, "nor let it grow");
    ok(fcntl(amp_arena.descriptor, F_GETFD) & FD_CLOEXEC,
       "a program that is started does not have it");
    char *address = amp_at(12345);
    is(amp_offset(address), 12345, "offset and address are two names of one place");
}

static void
test_limits(void)
{
    if (tap_sanitized()) {
        tap_skip("a reservation under limits", "the sanitizer needs its own address space");
        return;
    }
    int usual = size_under(0, 0);
    ok(usual > 30 && usual < 64, "the usual reservation is large");
    is(size_under(64 << 20, 0), 26, "a limit on files is a limit on the reservation");
    int size = size_under(0, (rlim_t) 2 << 30);
    ok(size >= 28 && size < 31, "under a limit on address space a smaller one is made");
    is(size_under(16 << 20, 0), 100, "where too little is allowed there is none");
}

static void
test_too_small(void)
{
    is(amp_arena_make(1 << 20), -ENOMEM, "a reservation that is too small is refused");
    ok(amp_arena.base == NULL && amp_arena.descriptor == -1, "and leaves nothing behind");
    amp_arena_drop();
    ok(amp_arena.base == NULL, "to drop what was not made does nothing");
}

/*
 * Runs.
 */

static void
test_runs(void)
{
    uint64_t used = amp_arena_used();
    static const uint64_t sizes[] = {0, 1, AMP_PAGE - 1, AMP_PAGE, AMP_PAGE + 1, 100000, 1 << 20};
    static const uint64_t runs[] = {1, 1, 1, 1, 2, 25, 256};
    uint32_t page[7];
    bool right = true, whole = true;
    uint64_t sum = 0;
    for (int i = 0; i < 7; i++) {
        page[i] = take(sizes[i]);
        right = right && page[i] != 0 && amp_arena_run_size(page[i]) == runs[i] * AMP_PAGE;
        sum += runs[i];
        memset(amp_page_at(page[i]), i + 1, runs[i] * AMP_PAGE);
    }
    ok(right, "a run has as many pages as its size needs, and at least one");
    is(amp_arena_used(), used + sum * AMP_PAGE, "they are counted");
    for (int i = 0; i < 7; i++) {
        const unsigned char *bytes = amp_page_at(page[i]);
        for (uint64_t k = 0; k < runs[i] * AMP_PAGE; k++)
            whole = whole && bytes[k] == i + 1;
    }
    ok(whole, "and do not overlap");
    for (int i = 0; i < 7; i++)
        amp_arena_free(page[i * 3 % 7]);
    is(amp_arena_used(), used, "they come back");

    uint32_t before = amp_arena.header->h_top;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 7; i++)
            page[i] = take(sizes[(i + round) % 7]);
        for (int i = 0; i < 7; i++)
            amp_arena_free(page[(i * 3 + round) % 7]);
    }
    ok(amp_arena.header->h_top <= before + 600, "what was freed is used again");
    is(amp_arena_used(), used, "and nothing is lost on the way");
}

static void
test_full(void)
{
    uint64_t used = amp_arena_used();
    uint32_t page, n = 0;
    is(amp_arena_take(SMALL * 2, owner(), &page), -ENOMEM, "no run is larger than the arena");
    static uint32_t pages[1 << 14];
    while (n < sizeof pages / sizeof *pages && (pages[n] = take(1)) != 0)
        n++;
    is(amp_arena_take(1, owner(), &page), -ENOMEM, "a full arena says so");
    ok(amp_arena_used() + 64 * AMP_PAGE >= (uint64_t) amp_arena.header->h_pages_max * AMP_PAGE,
       "and is full indeed");

    /* One gap, where no guess leads to it: three pages in a row, far from the beginning. */
    uint32_t middle = n / 4 * 3;
    for (uint32_t i = 0; i < 3; i++)
        amp_arena_free(pages[middle + i]);
    uint32_t found = take(3 * AMP_PAGE);
    ok(found != 0, "the only gap is found, however far it is");
    if (found != 0)
        amp_arena_free(found);
    for (uint32_t i = 0; i < n; i++) {
        if (i < middle || i >= middle + 3)
            amp_arena_free(pages[i]);
    }
    is(amp_arena_used(), used, "it is emptied");
    found = 0;
    uint64_t half = (uint64_t) amp_arena.header->h_pages_max / 2 * AMP_PAGE;
    for (int attempt = 0; attempt < 64 && found == 0; attempt++)
        found = take(half);
    ok(found != 0, "and its pages join to a large run again");
    if (found != 0)
        amp_arena_free(found);
}

/* A run that is given back with its memory comes back with new memory, which is zero. */
static void
test_cold(void)
{
    tap_family_end();
    tap_family(UINT64_C(512) << 20);
    struct amp_cell *cell = tap_object(AMP_VALUE, "owner of runs");
    uint32_t index = amp_cell_index(cell), page[4];
    uint64_t size = UINT64_C(48) << 20;
    for (int i = 0; i < 4; i++) {
        tap_need(amp_arena_take(size, index, &page[i]) == 0);
        memset(amp_page_at(page[i]), 0xaa, size);
    }
    uint64_t full = memory_of_arena();
    for (int i = 0; i < 4; i++)
        amp_arena_free(page[i]);
    ok(full - memory_of_arena() >= 2 * size, "when much is free, memory goes back to the system");
    bool right = true;
    for (int i = 0; i < 4; i++) {
        right = right && amp_arena_take(size, index, &page[i]) == 0;
        memset(amp_page_at(page[i]), i, size);
    }
    for (int i = 0; i < 4; i++)
        right = right && *((unsigned char *) amp_page_at(page[i]) + size - 1) == i;
    ok(right, "and can be had again");
    for (int i = 0; i < 4; i++)
        amp_arena_free(page[i]);

    size = UINT64_C(1) << 20;
    tap_need(amp_arena_take(size, index, &page[0]) == 0);
    memset(amp_page_at(page[0]), 0x55, size);
    amp_arena_free(page[0]);
    right = amp_arena_take(size, index, &page[1]) == 0 && page[1] == page[0];
    for (uint64_t i = 0; i < size; i += AMP_PAGE)
        right = right && ((unsigned char *) amp_page_at(page[1]))[i] == 0x55;
    ok(right, "a run keeps its memory however much there is that has none");
    amp_arena_free(page[1]);
    tap_unhold(cell);
}

static bool
keep_this(uint32_t page, void *argument)
{
    return page == *(uint32_t *) argument;
}

static void
test_reclaim(void)
{
    struct amp_cell *other = tap_object(AMP_VALUE, "another");
    uint64_t used = amp_arena_used();
    uint32_t page[6], foreign;
    for (int i = 0; i < 6; i++)
        page[i] = take((uint64_t) (i + 1) * AMP_PAGE);
    amp_arena_take(7 * AMP_PAGE, amp_cell_index(other), &foreign);
    amp_arena_reclaim(owner(), keep_this, &page[3]);
    is(amp_arena_used(), used + (4 + 7) * AMP_PAGE,
       "what an owner does not know is reclaimed, what it knows and what others have is not");
    is(amp_arena_run_size(page[3]), 4 * AMP_PAGE, "the run that was kept is whole");
    amp_arena_free(page[3]);
    amp_arena_free(foreign);
    tap_unhold(other);
    is(amp_arena_used(), used, "all comes back");
}

/*
 * Many, and deaths.
 */

/* Takes and frees runs of all sizes; what is written in them must still be there. */
static int
scramble(uint32_t owner_of_runs, unsigned random, int rounds)
{
    enum { N = 12 };
    uint32_t page[N] = {0};
    uint64_t words[N];
    int status = 0;
    for (int round = 0; round < rounds; round++) {
        random = random * 1103515245 + 12345;
        int i = (int) (random >> 16) % N;
        if (page[i] != 0) {
            const uint64_t *data = amp_page_at(page[i]);
            for (uint64_t k = 0; k < amp_arena_run_size(page[i]) / 8; k += 73) {
                if (data[k] != words[i])
                    status = 1;
            }
            amp_arena_free(page[i]);
            page[i] = 0;
        } else {
            uint64_t size = ((random >> 8) % 24 + 1) * AMP_PAGE - 7;
            if (amp_arena_take(size, owner_of_runs, &page[i]) != 0)
                return 2;
            words[i] = (uint64_t) random << 32 | amp_self.tid;
            uint64_t *data = amp_page_at(page[i]);
            for (uint64_t k = 0; k < amp_arena_run_size(page[i]) / 8; k++)
                data[k] = words[i];
        }
    }
    for (int i = 0; i < N; i++) {
        if (page[i] != 0)
            amp_arena_free(page[i]);
    }
    return status;
}

static int
scramble_in_turn(int index)
{
    return scramble(owner(), (unsigned) index * 7919 + 1, 500);
}

static int
scramble_for_ever(void *argument)
{
    uint32_t mine = *(uint32_t *) argument;
    for (unsigned random = amp_self.tid; !atomic_load(&board->stop); random++) {
        atomic_store(&board->started, 1);
        if (scramble(mine, random, 100) != 0)
            return 1;
    }
    return 0;
}

static void
test_many(void)
{
    uint64_t used = amp_arena_used();
    is(tap_together(8, scramble_in_turn), 0,
       "members that take and free at once get runs of their own");
    is(amp_arena_used(), used, "and all come back");
}

static bool
keep_none(uint32_t page, void *argument)
{
    (void) page, (void) argument;
    return false;
}

static void
test_deaths(void)
{
    enum { N = 4, DEATHS = 120 };
    struct amp_child child[N];
    uint32_t mine[N];
    struct amp_cell *cells[N];
    uint64_t used = amp_arena_used();
    for (int i = 0; i < N; i++) {
        cells[i] = tap_object(AMP_VALUE, "owner of a child's runs");
        mine[i] = amp_cell_index(cells[i]);
        child[i] = tap_child(scramble_for_ever, &mine[i]);
    }
    for (int k = 0; k < DEATHS; k++) {
        int i = k % N;
        tap_nap();
        tap_kill(&child[i]);
        amp_roster_sweep();
        amp_arena_reclaim(mine[i], keep_none, NULL);
        child[i] = tap_child(scramble_for_ever, &mine[i]);
    }
    atomic_store(&board->stop, 1);
    int failed = 0;
    for (int i = 0; i < N; i++) {
        failed += tap_join(&child[i]) != 0;
        tap_unhold(cells[i]);
    }
    is(failed, 0, "runs are their owners' alone, whoever is killed while taking and freeing");
    is(amp_arena_used(), used, "and who knows what is whose gets all back");
}

/* Dies with the arena's lock and leaves guesses that are wrong, as they may be. */
static int
die_with_lock(void *argument)
{
    (void) argument;
    struct amp_header *h = amp_arena.header;
    amp_lock_enter(&h->h_arena_lock);
    for (uint32_t i = 0; i < AMP_RECENT_LENGTHS; i++)
        h->h_recent[i][0] = h->h_top;
    h->h_rover = h->h_top - 1;
    h->h_free = 12345678;
    raise(SIGKILL);
    return 0;
}

static void
test_repair(void)
{
    uint32_t a = take(3 * AMP_PAGE), b = take(5 * AMP_PAGE);
    uint64_t used = amp_arena_used();
    struct amp_child child = tap_child(die_with_lock, NULL);
    is(tap_join(&child), -SIGKILL, "somebody dies with the arena's lock");
    is(amp_arena_used(), used, "the next one finds all runs as they were");
    is(tap_together(4, scramble_in_turn), 0, "and the arena works");
    is(amp_arena_used(), used, "as before");
    amp_arena_free(a);
    amp_arena_free(b);
}

static int
take_absurd_size(void *argument)
{
    uint32_t page;
    (void) argument;
    return amp_arena_take(UINT64_MAX, 1, &page) == -ENOMEM ? 0 : 1;
}

/* The last test, since what it would break is the arena. */
static void
test_absurd_size(void)
{
    struct amp_child child = tap_child(take_absurd_size, NULL);
    is(tap_join(&child), 0, "no size is too absurd to be refused");
}

int
main(void)
{
    test_too_small();
    tap_family(SMALL);
    board = tap_shared(sizeof *board);
    test_reservation();
    struct tap_account before = tap_account();
    owner();
    test_runs();
    test_reclaim();
    test_full();
    test_many();
    if (tap_forks()) {
        test_limits();
        test_deaths();
        test_repair();
    }
    tap_unhold(amp_cell_at(owner()));
    tap_is_settled(before, "nothing is left behind");
    test_cold();
    if (tap_forks())
        test_absurd_size();
    return tap_done();
}
