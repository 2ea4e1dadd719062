/*
 * arena: the mapping, and its runs of pages. See arena.h for the layout and the argument.
 */
#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31706d61756c7f00) /* "luamp1" */
#define USUAL_RESERVATION (UINT64_C(64) << 30)
#define LEAST_RESERVATION (UINT64_C(32) << 20)
#define CELLS_PER_BYTE 65536 /* one cell for so many bytes of reservation */

/* The word of a run's first page. */
#define RUN_USED UINT64_C(1)
#define RUN_WARM UINT64_C(2) /* free, its memory still there */
#define RUN_COLD UINT64_C(3) /* free, its memory given back, or some of it */
#define RUN_STATE(word) ((word) & 3)
#define RUN_LENGTH(word) ((uint32_t) ((word) >> 2) & 0x3fffffffu)
#define RUN_OWNER(word) ((uint32_t) ((word) >> 32))
#define RUN(state, length, owner) \
    ((uint64_t) (owner) << 32 | (uint64_t) (length) << 2 | (state))

#define SEARCH_MAX 512              /* runs that one search looks at before it takes new pages */
#define WARM_MAX (64u << 20)        /* bytes in free runs that are kept warm */
#define MEMORY_STEP (4u << 20)      /* bytes: the kernel lets nobody else get memory of the arena meanwhile */
#define LARGE_RUN (256u << 10)      /* bytes; a shorter run is not worth a system call */

struct amp_arena amp_arena = {.descriptor = -1};

static uint64_t
round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* The sizes that every member of a family must have been built with. */
static uint64_t
layout_hash(void)
{
    const uint64_t sizes[] = {sizeof(struct amp_header), sizeof(struct amp_lock), sizeof(void *),
                              AMP_PAGE, AMP_ROWS, AMP_ROSTER_SLOT, AMP_CELL_SIZE,
                              AMP_ROW_CHUNK};
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; i < sizeof sizes; i++)
        hash = (hash ^ ((const unsigned char *) sizes)[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t
pid_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

/* Where the regions of a reservation of this size begin. */
static void
lay_out(struct amp_header *h, uint64_t size)
{
    uint64_t cells = size / CELLS_PER_BYTE;
    if (cells < 4096)
        cells = 4096;
    cells = round_up(cells, AMP_ROW_CHUNK);
    h->h_magic = MAGIC;
    h->h_layout = layout_hash();
    h->h_size = size;
    h->h_roster = round_up(sizeof *h, AMP_PAGE);
    h->h_rows = h->h_roster + (uint64_t) AMP_ROWS * AMP_ROSTER_SLOT;
    h->h_cells = h->h_rows + cells / AMP_ROW_CHUNK * AMP_ROWS * AMP_ROW_PIECE;
    h->h_map = h->h_cells + cells * AMP_CELL_SIZE;
    uint64_t pages = (size - h->h_map) / (AMP_PAGE + sizeof(uint64_t));
    h->h_pages = round_up(h->h_map + pages * sizeof(uint64_t), AMP_PAGE);
    h->h_pages_max = (uint32_t) ((size - h->h_pages) / AMP_PAGE);
    h->h_cells_max = (uint32_t) cells;
}

static int
back_step(uint64_t offset, uint64_t length)
{
    int result;
    do
        result = fallocate(amp_arena.descriptor, 0, (off_t) offset, (off_t) length);
    while (result != 0 && errno == EINTR);
    if (result == 0 || errno == EOPNOTSUPP)
        return 0;
    return errno == ENOSPC ? -ENOMEM : -errno;
}

int
amp_arena_back(uint64_t offset, uint64_t length)
{
    int failure = 0;
    for (uint64_t done = 0; done < length && failure == 0; done += MEMORY_STEP)
        failure = back_step(offset + done, length - done < MEMORY_STEP ? length - done : MEMORY_STEP);
    return failure;
}

int
amp_arena_back_rows(uint32_t from, uint32_t to, uint32_t cells)
{
    uint64_t pieces = (cells + AMP_ROW_CHUNK - 1) / AMP_ROW_CHUNK;
    for (uint64_t piece = 0; piece < pieces; piece++) {
        uint64_t rows = amp_arena.header->h_rows + piece * AMP_ROWS * AMP_ROW_PIECE;
        int failure = amp_arena_back(rows + (uint64_t) from * AMP_ROW_PIECE,
                                     (uint64_t) (to - from) * AMP_ROW_PIECE);
        if (failure == 0)
            failure = amp_arena_back(rows + (uint64_t) (AMP_ROWS - 1) * AMP_ROW_PIECE,
                                     AMP_ROW_PIECE);
        if (failure != 0)
            return failure;
    }
    return 0;
}

/* The largest file that the process may make: the kernel counts a memfd as one, and ends by SIGXFSZ
   who passes the limit. */
static uint64_t
file_size_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur / AMP_PAGE * AMP_PAGE;
}

static inline uint64_t
word_of(uint32_t page)
{
    return atomic_load_explicit(&amp_arena.map[page], memory_order_relaxed); /* under the lock */
}

/* The commit of every change. In program order after all that it depends on: a death cuts between
   stores, and nobody else reads before the lock is free. */
static inline void
set_word(uint32_t page, uint64_t word)
{
    atomic_store_explicit(&amp_arena.map[page], word, memory_order_release);
}

int
amp_arena_make(uint64_t reservation)
{
    uint64_t size = reservation ? round_up(reservation, AMP_PAGE) : USUAL_RESERVATION;
    uint64_t limit = file_size_limit();
    if (size > limit)
        size = limit;
    int descriptor = memfd_create("luamp", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0)
        return -errno;
    char *base = MAP_FAILED;
    int failure = ENOMEM;
    for (; size >= LEAST_RESERVATION; size = size / 2 / AMP_PAGE * AMP_PAGE) {
        if (ftruncate(descriptor, (off_t) size) == 0)
            base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor,
                        0);
        if (base != MAP_FAILED)
            break;
        failure = errno;
    }
    if (base == MAP_FAILED) {
        close(descriptor);
        return -failure;
    }
    fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    amp_arena.base = base;
    amp_arena.descriptor = descriptor;
    amp_arena.header = (struct amp_header *) base;
    failure = amp_arena_back(0, round_up(sizeof(struct amp_header), AMP_PAGE));
    if (failure != 0) {
        amp_arena_drop();
        return failure;
    }
    lay_out(amp_arena.header, size);
    amp_arena.header->h_pid_namespace = pid_namespace();
    amp_arena.map = amp_at(amp_arena.header->h_map);
    madvise(base, size, MADV_DONTDUMP);
    failure = amp_arena_back(amp_arena.header->h_map, AMP_PAGE);
    if (failure != 0) {
        amp_arena_drop();
        return failure;
    }
    set_word(0, RUN(RUN_USED, 1, 0)); /* page 0 is nobody's: an object's 0 means "no run" */
    amp_arena.header->h_top = 1;
    amp_arena.header->h_backed = 1;
    return 0;
}

void
amp_arena_drop(void)
{
    if (amp_arena.base == NULL)
        return;
    munmap(amp_arena.base, amp_arena.header->h_size);
    close(amp_arena.descriptor);
    amp_arena = (struct amp_arena) {.descriptor = -1};
}

/* A thread died with the arena's lock: at most one run is half joined or half taken, which its
   first word decides. Words inside of runs are zeroed again, what was guessed is forgotten or
   counted. Pages that a large run was to have had from the top have no memory. */
static void
repair(struct amp_header *h)
{
    memset(h->h_recent, 0, sizeof h->h_recent);
    h->h_rover = 0;
    h->h_backed = h->h_top;
    h->h_free = h->h_warm = 0;
    for (uint32_t page = 0; page < h->h_top;) {
        uint64_t word = word_of(page);
        uint32_t length = RUN_LENGTH(word);
        for (uint32_t i = 1; i < length; i++) {
            if (word_of(page + i) != 0)
                set_word(page + i, 0);
        }
        if (RUN_STATE(word) != RUN_USED)
            h->h_free += length;
        if (RUN_STATE(word) == RUN_WARM)
            h->h_warm += length;
        page += length;
    }
}

static struct amp_header *
enter(void)
{
    struct amp_header *h = amp_arena.header;
    if (amp_lock_enter(&h->h_arena_lock) == AMP_OWNER_DIED)
        repair(h);
    return h;
}

static void
leave(struct amp_header *h)
{
    amp_lock_leave(&h->h_arena_lock);
}

static void
remember(struct amp_header *h, uint32_t page, uint32_t length)
{
    if (length > AMP_RECENT_LENGTHS)
        return;
    uint32_t *recent = h->h_recent[length - 1];
    for (uint32_t i = 0; i < AMP_RECENT_EACH; i++) {
        if (recent[i] == 0) {
            recent[i] = page + 1;
            return;
        }
    }
}

/* A run that was freed lately and is exactly so long. A guess may be stale: its word tells. */
static bool
recall(struct amp_header *h, uint32_t length, uint32_t *page)
{
    if (length > AMP_RECENT_LENGTHS)
        return false;
    uint32_t *recent = h->h_recent[length - 1];
    for (uint32_t i = AMP_RECENT_EACH; i-- > 0;) {
        if (recent[i] == 0)
            continue;
        *page = recent[i] - 1;
        recent[i] = 0;
        uint64_t word = word_of(*page);
        if (RUN_STATE(word) == RUN_WARM && RUN_LENGTH(word) == length)
            return true;
    }
    return false;
}

/* Joins a free run with the free runs behind it: with those in its own state, or with all, to a cold one. */
static uint64_t
join(struct amp_header *h, uint32_t page, uint64_t word, bool with_all)
{
    for (;;) {
        uint32_t next = page + RUN_LENGTH(word);
        if (next >= h->h_top)
            return word;
        uint64_t behind = word_of(next);
        if (RUN_STATE(behind) == RUN_USED || (RUN_STATE(behind) != RUN_STATE(word) && !with_all))
            return word;
        if (RUN_STATE(behind) != RUN_STATE(word)) /* one of them was warm */
            h->h_warm -= RUN_LENGTH(RUN_STATE(word) == RUN_WARM ? word : behind);
        uint64_t state = RUN_STATE(behind) == RUN_STATE(word) ? RUN_STATE(word) : RUN_COLD;
        word = RUN(state, RUN_LENGTH(word) + RUN_LENGTH(behind), 0);
        set_word(page, word);
        set_word(next, 0);
    }
}

/* Among the next `most` runs from the rover on: the first warm one that is long enough, or else the first cold one.
   With `joins_all`, the first that is long enough when it is joined to all that is free behind it. */
static bool
search(struct amp_header *h, uint32_t length, uint32_t most, bool joins_all, uint32_t *found)
{
    if (h->h_free < length)
        return false;
    uint32_t page = h->h_rover < h->h_top ? h->h_rover : 0;
    if (RUN_LENGTH(word_of(page)) == 0)
        page = 0; /* the run that the rover stood on was joined to another */
    bool is_found = false, takes_first = joins_all || h->h_warm < length;
    uint32_t start = page;
    for (uint32_t looked = 0; looked < most; looked++) {
        uint64_t word = word_of(page);
        if (RUN_STATE(word) == RUN_WARM || (RUN_STATE(word) == RUN_COLD && !is_found)) {
            word = join(h, page, word, joins_all);
            if (RUN_LENGTH(word) >= length) {
                *found = page;
                is_found = true;
                if (takes_first || RUN_STATE(word) == RUN_WARM)
                    break;
            }
        }
        uint32_t next = page + RUN_LENGTH(word);
        if (next >= h->h_top)
            next = 0;
        if ((page < start && next >= start) || next == start)
            break;
        page = next;
    }
    h->h_rover = is_found ? *found : page;
    return is_found;
}

/* New pages at the top, as a free run. A large one has no memory yet: it is cold. */
static int
extend(struct amp_header *h, uint32_t length, uint32_t *page)
{
    if (length > h->h_pages_max - h->h_top)
        return -ENOMEM;
    bool is_large = (uint64_t) length * AMP_PAGE >= LARGE_RUN;
    uint32_t end = h->h_top + length;
    if (end > h->h_backed) {
        uint32_t ahead = h->h_top / 8 < 16 ? 16 : h->h_top / 8 > 256 ? 256 : h->h_top / 8;
        if (is_large)
            ahead = 0;
        else if (ahead > h->h_pages_max - end)
            ahead = h->h_pages_max - end;
        uint32_t more = end + ahead - h->h_backed;
        int failure = amp_arena_back(h->h_map + (uint64_t) h->h_backed * 8, (uint64_t) more * 8);
        if (failure == 0 && !is_large)
            failure = amp_arena_back(h->h_pages + (uint64_t) h->h_backed * AMP_PAGE,
                                     (uint64_t) more * AMP_PAGE);
        if (failure != 0)
            return failure;
        h->h_backed = end + ahead;
    }
    *page = h->h_top;
    set_word(*page, RUN(is_large ? RUN_COLD : RUN_WARM, length, 0));
    AMP_COMPILER_BARRIER();
    h->h_top = end;
    h->h_free += length;
    if (!is_large)
        h->h_warm += length;
    return 0;
}

/* Makes the beginning of a free run a used one. */
static void
use_free_run(struct amp_header *h, uint32_t page, uint32_t length, uint32_t owner)
{
    uint64_t word = word_of(page), state = RUN_STATE(word);
    uint32_t rest = RUN_LENGTH(word) - length;
    if (rest > 0) /* the rest first: until our own word says so it is inside of our run */
        set_word(page + length, RUN(state, rest, 0));
    set_word(page, RUN(RUN_USED, length, owner));
    h->h_free -= length;
    if (state == RUN_WARM)
        h->h_warm -= length;
}

static void
free_run(struct amp_header *h, uint32_t page, uint64_t state)
{
    uint32_t length = RUN_LENGTH(word_of(page));
    set_word(page, RUN(state, length, 0));
    h->h_free += length;
    if (state == RUN_WARM) {
        h->h_warm += length;
        remember(h, page, length);
    }
    if (page < h->h_rover)
        h->h_rover = page;
}

/* Is the memory of a run to go back to the system when the run is freed? */
static bool
is_to_go(const struct amp_header *h, uint64_t size)
{
    return size >= LARGE_RUN && (uint64_t) h->h_warm * AMP_PAGE + size > WARM_MAX;
}

static void
give_back(uint32_t page)
{
    char *memory = amp_page_at(page);
    uint64_t size = amp_arena_run_size(page);
    for (uint64_t done = 0; done < size; done += MEMORY_STEP)
        madvise(memory + done, size - done < MEMORY_STEP ? size - done : MEMORY_STEP, MADV_REMOVE);
}

static int
back_run(uint32_t page, uint32_t length)
{
    return amp_arena_back(amp_arena.header->h_pages + (uint64_t) page * AMP_PAGE, (uint64_t) length * AMP_PAGE);
}

/* Memory takes long to get and to give back, some tenths of a millisecond for a megabyte. For a large run both happen
   while the run is the owner's and the lock is free. A death in between leaves the owner a run without
   memory; it is reclaimed, and what is large and reclaimed is cold. What is small and reclaimed is warm, so a small run
   has its memory before it is anybody's. */
int
amp_arena_take(uint64_t size, uint32_t owner, uint32_t *page)
{
    if (size > (uint64_t) amp_arena.header->h_pages_max * AMP_PAGE)
        return -ENOMEM;
    uint32_t length = size == 0 ? 1 : (uint32_t) ((size + AMP_PAGE - 1) / AMP_PAGE);
    bool is_large = (uint64_t) length * AMP_PAGE >= LARGE_RUN;
    struct amp_header *h = enter();
    bool is_found = recall(h, length, page) || search(h, length, SEARCH_MAX, false, page) ||
                    search(h, length, SEARCH_MAX, true, page);
    int failure = is_found ? 0 : extend(h, length, page);
    if (failure != 0 && search(h, length, UINT32_MAX, true, page)) /* however far it is */
        failure = 0;
    bool is_cold = failure == 0 && RUN_STATE(word_of(*page)) == RUN_COLD;
    if (is_cold && !is_large)
        failure = back_run(*page, length);
    if (failure == 0)
        use_free_run(h, *page, length, owner);
    leave(h);
    if (is_cold && is_large)
        failure = back_run(*page, length);
    if (is_cold && is_large && failure != 0) {
        give_back(*page);
        enter();
        free_run(h, *page, RUN_COLD);
        leave(h);
    }
    return failure;
}

void
amp_arena_free(uint32_t page)
{
    uint64_t state = RUN_WARM;
    struct amp_header *h = enter();
    if (is_to_go(h, amp_arena_run_size(page))) {
        leave(h);
        give_back(page);
        state = RUN_COLD;
        enter();
    }
    free_run(h, page, state);
    leave(h);
}

uint64_t
amp_arena_run_size(uint32_t page)
{
    return (uint64_t) RUN_LENGTH(word_of(page)) * AMP_PAGE;
}

void
amp_arena_reclaim(uint32_t owner, bool (*keep)(uint32_t page, void *argument), void *argument)
{
    struct amp_header *h = enter();
    for (uint32_t page = 0; page < h->h_top;) {
        uint64_t word = word_of(page);
        if (RUN_STATE(word) == RUN_USED && RUN_OWNER(word) == owner && !keep(page, argument)) {
            bool is_large = amp_arena_run_size(page) >= LARGE_RUN;
            if (is_large) /* some of its memory may be there */
                give_back(page);
            free_run(h, page, is_large ? RUN_COLD : RUN_WARM);
        }
        page += RUN_LENGTH(word);
    }
    leave(h);
}

uint64_t
amp_arena_used(void)
{
    uint64_t used = 0;
    struct amp_header *h = enter();
    for (uint32_t page = 0; page < h->h_top;) {
        uint64_t word = word_of(page);
        if (RUN_STATE(word) == RUN_USED)
            used += RUN_LENGTH(word);
        page += RUN_LENGTH(word);
    }
    leave(h);
    return used * AMP_PAGE;
}
