/* The shared-memory protocols as plain C11, without Python: what the extension binds and what tests/core/native_test.c
 * runs under the sanitizers.
 *
 * Every word that two processes touch is accessed through the functions below and through nothing else, so that each access is
 * one aligned load or store and no data race exists in the sense of C11. Offsets and lengths are checked by the callers
 * (py_region.c, region_at); nothing here checks them again.
 *
 * docs/shared-memory.md holds the happens-before argument of each protocol; the letters in the comments (R1, L2, B3 …) are its
 * names for the synchronisation points, and each one names the one it pairs with.
 */
#ifndef ARBPIPE_CORE_H
#define ARBPIPE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the segment is little-endian: arbpipe has no big-endian build"
#endif

/* The layout of arbpipe/shm/layout.py, compared with it when the core is chosen (arbpipe/shm/core.py). */
enum {
    LINE = 128,            /* one writer per this many bytes */
    ROW_SIZE = 512,        /* version, verified, confirmed_ns, …, two cells */
    ROW_CELL0 = 128,       /* where cell 0 lies in a row */
    CELL_SIZE = 192,       /* 24 words */
    HEAD_BYTES = 2 * LINE, /* a ring's or log's head on one line, its consumer's words on the next */
    DEPTH = 8,             /* asks of one side in a cell */
    SUB_BUCKETS = 64,      /* of a histogram, per octave */
    N_BUCKETS = 32 * SUB_BUCKETS,
    HISTOGRAM_SIZE = LINE + 8 * N_BUCKETS
};
enum { ONE_DOLLAR_E4 = 10000, FEE_EXPONENT_MOST = 4, FEE_RATE_MOST_E6 = 1000000 };
#define NO_QUOTE (INT32_C(1) << 30) /* cost of a claim that nobody may buy now */

/* -- access --------------------------------------------------------------------------------------------------------------- */

static inline uint64_t load_relaxed(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
static inline uint64_t load_acquire(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void store_relaxed(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
static inline void store_release(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static inline uint32_t load32_relaxed(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
static inline uint32_t load32_acquire(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void store32_relaxed(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }

static inline void fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
static inline void fence_full(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* Tells the core that this is a spin loop: the sibling thread gets its share, and leaving the loop is cheap. */
static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Copy whole words, each with one relaxed load and one relaxed store; bytes is a multiple of 8, both ends are aligned. */
static inline void copy_words(void *to, const void *from, size_t bytes)
{
    uint64_t *target = to;
    const uint64_t *source = from;
    for (size_t n = 0; n < bytes / 8; n++)
        store_relaxed(target + n, load_relaxed(source + n));
}

/* -- row.c: the two-cell latch -------------------------------------------------------------------------------------------- */

/* The cell, field by field. */
struct cell {
    uint64_t uid;
    uint32_t connection, epoch;
    int64_t venue_ms, recv_ns, publish_ns;
    uint32_t flags, tick_e4, fee_rate_e6;
    uint16_t fee_exponent, fee_quantum_e6;
    uint32_t fee_align_e6, reserved;
    int32_t yes_asks[2 * DEPTH], no_asks[2 * DEPTH];
};
_Static_assert(sizeof(struct cell) == CELL_SIZE, "the cell has the layout's size");

union cell_words { /* as it is made, and as it is copied */
    struct cell cell;
    uint64_t words[CELL_SIZE / 8];
};

enum { ROW_TRIES = 64 };
enum row_copied { ROW_COPIED, ROW_UNWRITTEN, ROW_BUSY };

/* Publish a cell (CELL_SIZE bytes, aligned to 8) in a row; return its version. One writer. */
uint64_t row_write(uint8_t *row, const void *cell);
/* Copy the current cell and say its version; ROW_BUSY if the row moved under every try. */
enum row_copied row_read(const uint8_t *row, void *into, uint64_t *version);

/* -- log.c and ring.c: rings that never block and never lie ---------------------------------------------------------------- */

enum taken { TAKEN_OK, TAKEN_NOTHING, TAKEN_OVERRUN };

/* Append a slot to the change log at base; capacity is a power of two. Return the new head. One writer. */
uint64_t log_push(uint8_t *base, size_t capacity, uint32_t slot);
/* Copy what was logged from tail on, at most capacity slots; set *count. TAKEN_OVERRUN sets *head to where to go on. */
enum taken log_drain(const uint8_t *base, size_t capacity, uint64_t tail, uint32_t *slots, size_t *count, uint64_t *head);

/* Write an entry of stride bytes (a multiple of 8) at the head of the ring; return its position. One writer. */
uint64_t ring_push(uint8_t *base, size_t capacity, size_t stride, const void *entry);
/* Copy the entry at position. */
enum taken ring_read(const uint8_t *base, size_t capacity, size_t stride, uint64_t position, void *into, uint64_t *head);

/* -- wait.c: the doorbell -------------------------------------------------------------------------------------------------- */

/* A doorbell is two lines: a 32-bit count of rings (a futex word, any number of writers, changed by atomic add only), and on
 * the next line the waiter's mark. */
enum { BELL_BYTES = 2 * LINE };
enum waited { WAIT_CHANGED, WAIT_TIMEOUT, WAIT_INTERRUPTED };

/* After a publication: wake whoever waits. Return whether somebody did. */
bool bell_ring(uint8_t *bell);
/* Wait until one of count words differs from what was expected: spin, then sleep. One waiter. */
enum waited bell_wait(uint8_t *bell, const uint64_t *const *words, const uint64_t *expected, size_t count, int64_t spin_ns,
                      int64_t timeout_ns);

/* -- outlet.c: one publication of one instrument ---------------------------------------------------------------------------- */

enum { OUTLET_COUNTERS = 4 };

struct outlet { /* where it is stored, and what the cell does not say */
    uint8_t *row, *log, *bell, *latency;
    uint64_t *costs;
    uint64_t *counters[OUTLET_COUNTERS];
    int counted; /* how many of the counters: each counts one more */
    size_t log_capacity;
    uint32_t slot;
    uint64_t min_size_e2;
};

/* Publish a cell, all but its publish_ns, with its costs; `verified`: its check has passed already. Return the version that
 * stands for it: the one before where it says the same. Prices lie in 0 .. 10,000, sizes are not negative. One writer. */
uint64_t outlet_publish(const struct outlet *outlet, union cell_words *made, bool verified);
/* arbpipe.feemodel.average_cost_e6 of one side's asks under the cell's fee; NO_QUOTE where they are too thin. */
int32_t average_cost_e6(const struct cell *cell, const int32_t *asks, uint64_t size_e2);
/* Count a latency. One writer. */
void histogram_record(uint8_t *histogram, int64_t value_ns);

/* -- kernel.c: the first look ---------------------------------------------------------------------------------------------- */

enum { KERNEL_LOGS = 8 };

struct csr { /* rows of items: row r is items[ptr[r] .. ptr[r + 1]) */
    uint32_t *ptr;
    uint32_t *items;
};

struct kernel {
    const uint8_t *costs; /* int32 cost_e6 of every claim, in shared memory */
    uint32_t slots, props, covers;
    uint32_t logs;
    const uint8_t *log[KERNEL_LOGS];
    uint64_t tail[KERNEL_LOGS];
    size_t capacity;
    int64_t threshold_e6;
    struct csr claims_of_prop, props_of_cover;
    int64_t *pays_e6;  /* per cover: k dollars */
    int32_t *best_e6;  /* per proposition: its cheapest claim at the last look; one more that costs nothing */
    int64_t *edge_e6;  /* per cover: at the last look */
    int64_t *bar_e6;   /* per cover: the edge from which it is reported; never above the threshold */
    uint32_t near_at;  /* where the next sweep begins to look for near-misses */
    /* the sweep's plan: two claims per proposition and two propositions per cover, those with more are done again */
    int32_t *claim_a, *claim_b, *prop_a, *prop_b;
    uint32_t *wide_props, *wide_covers;
    uint32_t n_wide_props, n_wide_covers;
    int32_t *snapshot; /* 2 · slots costs, and what stands for a claim that is missing */
    /* what a change of a slot touches, in one run of words so that it costs one or two cache lines: how many words of
     * propositions; (proposition, claims n, n claims) …; then (cover, dollars, propositions n, n propositions) … */
    uint64_t *touch_ptr;
    uint32_t *touch;
    /* who was seen already in this drain */
    uint32_t stamp, *cover_stamp;
    uint32_t *found; /* covers to report; room for all of them */
    uint32_t *near_found;
    uint32_t *drained; /* capacity slots for each log */
};

/* Build from checked arrays; false when there is no memory. The arrays are copied. */
bool kernel_make(struct kernel *kernel, const uint32_t *prop_ptr, const uint32_t *prop_claims, const uint32_t *cover_ptr,
                 const uint32_t *cover_props, const uint32_t *cover_k);
void kernel_free(struct kernel *kernel);
/* Look at what changed: report covers at or above their bar in kernel->found, ascending; return how many. */
uint32_t kernel_touch(struct kernel *kernel, const uint32_t *slots, size_t count);
/* Drain every log and look. TAKEN_OVERRUN: the tails stand at the heads, and only a sweep knows what was missed. */
enum taken kernel_drain(struct kernel *kernel, uint32_t *reported);
/* Look at everything: every cover at or above the threshold, then at most near others above their bar, in turn. */
uint32_t kernel_sweep(struct kernel *kernel, uint32_t near);

#endif
