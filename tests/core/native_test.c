/* The C core without Python, for the sanitizers: every buffer has exactly its size, so that one byte too far is seen.
 *
 * Built and run by test_core_c.py with -fsanitize=address,undefined. Prints what failed and exits with 1, else "ok".
 */
#include "core.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int failures;
#define CHECK(what)                                                                                                          \
    do {                                                                                                                     \
        if (!(what)) {                                                                                                       \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #what);                                                                \
            failures++;                                                                                                      \
        }                                                                                                                    \
    } while (0)

static uint64_t seed = 1;
static uint32_t dice(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static void *fresh(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        abort();
    return memory;
}

/* -- row ------------------------------------------------------------------------------------------------------------------- */

enum { WORDS = CELL_SIZE / 8 };

static void cell_of(uint64_t version, uint64_t *cell)
{
    for (int n = 0; n < WORDS; n++)
        cell[n] = version * (uint64_t)(n + 1);
}

static bool whole(uint64_t version, const uint64_t *cell)
{
    for (int n = 0; n < WORDS; n++)
        if (cell[n] != version * (uint64_t)(n + 1))
            return false;
    return true;
}

static void test_row(void)
{
    uint8_t *row = fresh(ROW_SIZE);
    uint64_t *cell = fresh(CELL_SIZE), *copy = fresh(CELL_SIZE), version = 0;
    CHECK(row_read(row, copy, &version) == ROW_UNWRITTEN);
    for (uint64_t n = 1; n < 9; n++) {
        cell_of(n, cell);
        CHECK(row_write(row, cell) == n);
        CHECK(row_read(row, copy, &version) == ROW_COPIED && version == n && whole(n, copy));
    }
    free(row);
    free(cell);
    free(copy);
}

struct shared {
    uint8_t *memory;
    uint64_t count;
};

static void *row_writer(void *arg)
{
    struct shared *shared = arg;
    uint64_t cell[WORDS];
    for (uint64_t n = 1; n <= shared->count; n++) {
        cell_of(n, cell);
        row_write(shared->memory, cell);
    }
    return NULL;
}

static void test_row_between_threads(void)
{
    struct shared shared = {fresh(ROW_SIZE), 200000};
    uint64_t copy[WORDS], version = 0, last = 0;
    pthread_t writer;
    pthread_create(&writer, NULL, row_writer, &shared);
    while (last < shared.count)
        if (row_read(shared.memory, copy, &version) == ROW_COPIED) {
            CHECK(whole(version, copy) && version >= last);
            last = version;
        }
    pthread_join(writer, NULL);
    free(shared.memory);
}

/* -- rings ----------------------------------------------------------------------------------------------------------------- */

static void test_log(void)
{
    for (size_t capacity = 2; capacity <= 16; capacity *= 2) {
        uint8_t *base = fresh(HEAD_BYTES + 4 * capacity);
        uint32_t *slots = fresh(4 * capacity);
        uint64_t tail = 0, head;
        size_t count;
        CHECK(log_drain(base, capacity, 0, slots, &count, &head) == TAKEN_NOTHING);
        CHECK(log_drain(base, capacity, 1, slots, &count, &head) == TAKEN_OVERRUN && head == 0);
        for (uint32_t n = 0; n < 100; n++) {
            log_push(base, capacity, n);
            if (dice(3))
                continue;
            enum taken taken = log_drain(base, capacity, tail, slots, &count, &head);
            CHECK(head == n + 1);
            if (n + 1 - tail >= capacity)
                CHECK(taken == TAKEN_OVERRUN && count == 0);
            else {
                CHECK(taken == TAKEN_OK && count == n + 1 - tail);
                for (size_t i = 0; i < count; i++)
                    CHECK(slots[i] == tail + i);
            }
            tail = head;
        }
        free(base);
        free(slots);
    }
}

enum { STRIDE = 64 };

static void test_ring(void)
{
    for (size_t capacity = 2; capacity <= 8; capacity *= 2) {
        uint8_t *base = fresh(HEAD_BYTES + STRIDE * capacity);
        uint64_t *entry = fresh(STRIDE), *copy = fresh(STRIDE), head;
        for (uint64_t n = 0; n < 40; n++) {
            for (uint64_t at = 0; at < n + 3; at++) {
                enum taken taken = ring_read(base, capacity, STRIDE, at, copy, &head);
                CHECK(head == n);
                if (at == n)
                    CHECK(taken == TAKEN_NOTHING);
                else if (at < n && n - at < capacity)
                    CHECK(taken == TAKEN_OK && copy[0] == at && copy[7] == at);
                else
                    CHECK(taken == TAKEN_OVERRUN);
            }
            for (int i = 0; i < STRIDE / 8; i++)
                entry[i] = n;
            CHECK(ring_push(base, capacity, STRIDE, entry) == n);
        }
        free(base);
        free(entry);
        free(copy);
    }
}

static void *ring_writer(void *arg)
{
    struct shared *shared = arg;
    uint64_t entry[STRIDE / 8];
    for (uint64_t n = 0; n < shared->count; n++) {
        for (int i = 0; i < STRIDE / 8; i++)
            entry[i] = n;
        ring_push(shared->memory, 4, STRIDE, entry);
        log_push(shared->memory + HEAD_BYTES + 4 * STRIDE, 8, (uint32_t)n);
        bell_ring(shared->memory + HEAD_BYTES + 4 * STRIDE + HEAD_BYTES + 32 + 96);
    }
    return NULL;
}

static void test_ring_log_and_bell_between_threads(void)
{
    struct shared shared = {fresh(HEAD_BYTES + 4 * STRIDE + HEAD_BYTES + LINE + BELL_BYTES), 30000};
    uint8_t *log = shared.memory + HEAD_BYTES + 4 * STRIDE, *bell = log + HEAD_BYTES + LINE;
    const uint64_t *words[] = {(const uint64_t *)log};
    uint64_t at = 0, seen = 0, lost = 0, tail = 0, head, entry[STRIDE / 8];
    uint32_t slots[8];
    size_t count;
    pthread_t writer;
    pthread_create(&writer, NULL, ring_writer, &shared);
    while (tail < shared.count) {
        CHECK(bell_wait(bell, words, &tail, 1, dice(2) ? 0 : 5000, 1000000000) == WAIT_CHANGED);
        switch (log_drain(log, 8, tail, slots, &count, &head)) {
        case TAKEN_OK:
            for (size_t i = 0; i < count; i++)
                CHECK(slots[i] == tail + i);
            break;
        case TAKEN_OVERRUN:
            break;
        case TAKEN_NOTHING:
            CHECK(false);
        }
        tail = head;
        for (;;) {
            enum taken taken = ring_read(shared.memory, 4, STRIDE, at, entry, &head);
            if (taken == TAKEN_NOTHING)
                break;
            if (taken == TAKEN_OVERRUN) {
                lost += head - 3 - at;
                at = head - 3;
                continue;
            }
            CHECK(entry[0] == at && entry[7] == at);
            seen++;
            at++;
        }
    }
    pthread_join(writer, NULL);
    CHECK(at == seen + lost);
    free(shared.memory);
}

static void test_bell_times_out(void)
{
    uint8_t *bell = fresh(BELL_BYTES);
    uint64_t word = 3, expected = 3;
    const uint64_t *words[] = {&word};
    CHECK(bell_wait(bell, words, &expected, 1, 0, 2000000) == WAIT_TIMEOUT);
    CHECK(bell_wait(bell, words, &expected, 1, 1000000, 2000000) == WAIT_TIMEOUT);
    CHECK(bell_wait(bell, words, &expected, 1, 0, 0) == WAIT_TIMEOUT);
    expected = 2;
    CHECK(bell_wait(bell, words, &expected, 1, 0, 0) == WAIT_CHANGED);
    CHECK(!bell_ring(bell));
    free(bell);
}

/* -- kernel ---------------------------------------------------------------------------------------------------------------- */

enum { SLOTS = 7, CAPACITY = 16 };

static void test_kernel(void)
{
    for (int round = 0; round < 2000; round++) {
        uint32_t props = dice(9), covers = props ? dice(9) : 0, k[8];
        uint32_t prop_ptr[10] = {0}, prop_claims[64], cover_ptr[10] = {0}, cover_props[80];
        for (uint32_t p = 0; p < props; p++) {
            prop_ptr[p + 1] = prop_ptr[p] + dice(5);
            for (uint32_t n = prop_ptr[p]; n < prop_ptr[p + 1]; n++)
                prop_claims[n] = dice(2 * SLOTS);
        }
        for (uint32_t c = 0; c < covers; c++) {
            cover_ptr[c + 1] = cover_ptr[c] + dice(9);
            for (uint32_t n = cover_ptr[c]; n < cover_ptr[c + 1]; n++)
                cover_props[n] = dice(props);
            k[c] = 1 + dice(7);
        }
        int32_t *costs = fresh(8 * SLOTS);
        uint8_t *logs[2] = {fresh(HEAD_BYTES + 4 * CAPACITY), fresh(HEAD_BYTES + 4 * CAPACITY)};
        for (int n = 0; n < 2 * SLOTS; n++)
            costs[n] = NO_QUOTE;
        struct kernel kernel = {.costs = (uint8_t *)costs, .slots = SLOTS, .props = props, .covers = covers, .logs = 2,
                                .log = {logs[0], logs[1]}, .capacity = CAPACITY, .threshold_e6 = 5000};
        CHECK(kernel_make(&kernel, prop_ptr, prop_claims, cover_ptr, cover_props, k));
        for (int step = 0; step < 6; step++) {
            uint32_t changes = dice(CAPACITY + 2), reported;
            for (uint32_t n = 0; n < changes; n++) {
                uint32_t slot = dice(SLOTS);
                costs[2 * slot] = dice(4) ? (int32_t)dice(1000000) : NO_QUOTE;
                costs[2 * slot + 1] = dice(4) ? (int32_t)dice(1000000) : NO_QUOTE;
                log_push(logs[dice(2)], CAPACITY, dice(20) ? slot : UINT32_MAX);
            }
            enum taken taken = kernel_drain(&kernel, &reported);
            CHECK((taken == TAKEN_NOTHING) == (changes == 0));
            reported = kernel_sweep(&kernel, dice(4));
            CHECK(reported <= covers);
            for (uint32_t c = 0; c < covers; c++) {
                int64_t edge = k[c] * INT64_C(1000000);
                for (uint32_t n = cover_ptr[c]; n < cover_ptr[c + 1]; n++) {
                    int32_t best = NO_QUOTE;
                    for (uint32_t i = prop_ptr[cover_props[n]]; i < prop_ptr[cover_props[n] + 1]; i++)
                        best = costs[prop_claims[i]] < best ? costs[prop_claims[i]] : best;
                    edge -= best;
                }
                CHECK(kernel.edge_e6[c] == edge);
            }
            for (uint32_t n = 0; n < reported; n++)
                kernel.bar_e6[kernel.found[n]] = 5000;
        }
        kernel_free(&kernel);
        free(costs);
        free(logs[0]);
        free(logs[1]);
    }
}

/* -- publications ---------------------------------------------------------------------------------------------------------- */

enum { OUTLET_LOG = 16, PRICES = 10000 };

struct published { /* every place an allocation of its own */
    struct outlet outlet;
    uint64_t counter;
};

static void outlet_begin(struct published *p)
{
    p->outlet = (struct outlet){.row = fresh(ROW_SIZE),
                                .log = fresh(HEAD_BYTES + 4 * OUTLET_LOG),
                                .bell = fresh(BELL_BYTES),
                                .latency = fresh(HISTOGRAM_SIZE),
                                .costs = fresh(8),
                                .counters = {&p->counter},
                                .counted = 1,
                                .log_capacity = OUTLET_LOG,
                                .slot = 3,
                                .min_size_e2 = 100};
    p->counter = 0;
}

static void outlet_end(struct published *p)
{
    free(p->outlet.row);
    free(p->outlet.log);
    free(p->outlet.bell);
    free(p->outlet.latency);
    free(p->outlet.costs);
}

static uint64_t outlet_say(struct published *p, int price)
{
    union cell_words made = {.cell = {.uid = 5, .fee_exponent = 1, .yes_asks = {price, 100}}};
    return outlet_publish(&p->outlet, &made, true);
}

static void test_outlet(void)
{
    struct published p;
    outlet_begin(&p);
    for (uint64_t n = 1; n <= 3 * OUTLET_LOG; n++) {
        CHECK(outlet_say(&p, (int)n) == n);
        CHECK(outlet_say(&p, (int)n) == n); /* says the same */
        CHECK(p.counter == n && *(uint64_t *)p.outlet.log == n && *(uint64_t *)p.outlet.latency == n);
        CHECK((uint32_t)*p.outlet.costs == n * 100 && *p.outlet.costs >> 32 == NO_QUOTE);
    }
    union cell_words most = {.cell = {.fee_rate_e6 = FEE_RATE_MOST_E6}};
    for (int n = 0; n < DEPTH; n++) {
        most.cell.no_asks[2 * n] = ONE_DOLLAR_E4 / 2;
        most.cell.no_asks[2 * n + 1] = INT32_MAX;
    }
    int32_t variance_e6 = 1000000;
    for (uint16_t exponent = 1; exponent <= FEE_EXPONENT_MOST; exponent++) {
        most.cell.fee_exponent = exponent;
        variance_e6 /= 4;
        CHECK(average_cost_e6(&most.cell, most.cell.no_asks, 8 * (uint64_t)INT32_MAX) == 500000 + variance_e6);
        CHECK(average_cost_e6(&most.cell, most.cell.no_asks, 8 * (uint64_t)INT32_MAX + 1) == NO_QUOTE);
    }
    for (int shift = 0; shift < 64; shift++)
        histogram_record(p.outlet.latency, (int64_t)((uint64_t)1 << shift));
    outlet_end(&p);
}

static void *outlet_writer(void *arg)
{
    for (int price = 1; price <= PRICES; price++)
        outlet_say(arg, price);
    return NULL;
}

/* Row, check, costs, change: who reads them the other way round never finds a later one ahead of an earlier one. */
static void test_outlet_between_threads(int rounds)
{
    for (int round = 0; round < rounds && !failures; round++) {
        struct published p;
        pthread_t writer;
        outlet_begin(&p);
        *p.outlet.costs = 0;
        pthread_create(&writer, NULL, outlet_writer, &p);
        uint64_t version = 0;
        while (version < PRICES && !failures) {
            uint64_t head = load_acquire((uint64_t *)p.outlet.log);
            uint64_t cost = (uint32_t)load_acquire(p.outlet.costs) / 100;
            uint64_t checked = load_acquire((uint64_t *)p.outlet.row + 1);
            version = load_acquire((uint64_t *)p.outlet.row);
            CHECK(head <= cost && cost <= checked && checked <= version);
        }
        pthread_join(writer, NULL);
        outlet_end(&p);
    }
}

int main(int count, char **arguments)
{
    if (count > 1 && !strcmp(arguments[1], "order")) {
        test_outlet_between_threads(500);
        puts(failures ? "failed" : "ok");
        return failures != 0;
    }
    test_row();
    test_row_between_threads();
    test_log();
    test_ring();
    test_ring_log_and_bell_between_threads();
    test_bell_times_out();
    test_kernel();
    test_outlet();
    test_outlet_between_threads(20);
    puts(failures ? "failed" : "ok");
    return failures != 0;
}
