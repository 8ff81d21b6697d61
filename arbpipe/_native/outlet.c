/* One publication of one instrument: everything a feed stores when its row says something new, in the order on which readers
 * rely: the row, its check, its costs, the change log, the bell; then what only statistics read.
 *
 * Whether it says something new is asked of shared memory itself: of the cell that stands and of the costs beside it. Nothing is
 * remembered here that could disagree with them.
 */
#define _POSIX_C_SOURCE 199309L
#include "core.h"

#include <string.h>
#include <time.h>

/* -- the first look's cost ------------------------------------------------------------------------------------------------- */

/* size · (price · (1 - price))^4 · rate needs 150 bits. In digits to the base 10^8 it needs no wide arithmetic, and dividing by
 * the fee's scale, 10^8 for each power, is leaving out digits. `exponent` + 2 digits hold the greatest sum there can be. */
enum { DIGITS = FEE_EXPONENT_MOST + 2 };
static const uint64_t DIGIT = 100000000;

static void multiply(uint64_t *digits, unsigned count, uint64_t factor)
{
    uint64_t carry = 0;
    for (unsigned n = 0; n < count; n++) {
        carry += digits[n] * factor; /* below 2^30 · 2^25 */
        digits[n] = carry % DIGIT;
        carry /= DIGIT;
    }
}

int32_t average_cost_e6(const struct cell *cell, const int32_t *asks, uint64_t size_e2)
{
    unsigned count = cell->fee_exponent + 2u;
    uint64_t fee[DIGITS] = {0}, left = size_e2, money_e6 = 0;
    if (!cell->fee_exponent || !size_e2)
        return NO_QUOTE; /* an unknown fee or an unknown smallest size: never zero */
    for (int n = 0; n < DEPTH && left; n++) {
        uint64_t price = (uint64_t)asks[2 * n], size = (uint64_t)asks[2 * n + 1], taken = size < left ? size : left;
        uint64_t level[DIGITS] = {taken % DIGIT, taken / DIGIT};
        for (unsigned power = 0; power < cell->fee_exponent; power++)
            multiply(level, count, price * (ONE_DOLLAR_E4 - price));
        for (unsigned digit = 0; digit < count; digit++)
            fee[digit] += level[digit]; /* eight of them: below 2^30 */
        money_e6 += price * taken;
        left -= taken;
    }
    if (left)
        return NO_QUOTE;
    multiply(fee, count, cell->fee_rate_e6);
    uint64_t fee_e8 = fee[count - 2] + DIGIT * fee[count - 1]; /* of the whole size, rounded down */
    return (int32_t)((100 * money_e6 + fee_e8) / size_e2);     /* of 100 · size_e2 hundredths: micro-dollars a contract */
}

/* -- statistics ------------------------------------------------------------------------------------------------------------ */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void add(uint64_t *word, uint64_t amount) { store_release(word, load_relaxed(word) + amount); }

void histogram_record(uint8_t *histogram, int64_t value_ns)
{
    uint64_t *count = (uint64_t *)histogram, *total = count + 1, *most = count + 2, *least = count + 3;
    uint64_t value = value_ns < 0 ? 0 : (uint64_t)value_ns, bucket = value;
    if (value >= 2 * SUB_BUCKETS) { /* exact below, then SUB_BUCKETS per octave */
        unsigned shift = 57u - (unsigned)__builtin_clzll(value);
        bucket = SUB_BUCKETS * (uint64_t)shift + (value >> shift);
    }
    add(count + LINE / 8 + (bucket < N_BUCKETS ? bucket : N_BUCKETS - 1), 1);
    if (!load_relaxed(count) || value < load_relaxed(least))
        store_release(least, value);
    add(count, 1);
    add(total, value);
    if (value > load_relaxed(most))
        store_release(most, value);
}

/* -- the publication ------------------------------------------------------------------------------------------------------- */

/* Whether two cells say the same: everything but the three stamps. */
static bool same(const struct cell *cell, const uint8_t *stands)
{
    enum { HEAD = offsetof(struct cell, venue_ms), REST = offsetof(struct cell, flags) };
    return !memcmp(cell, stands, HEAD) && !memcmp((const uint8_t *)cell + REST, stands + REST, CELL_SIZE - REST);
}

uint64_t outlet_publish(const struct outlet *outlet, union cell_words *made, bool verified)
{
    struct cell *cell = &made->cell;
    uint64_t *version = (uint64_t *)outlet->row, *check = version + 1, stands = load_relaxed(version);
    if (cell->flags) { /* no stale price is left standing */
        memset(cell->yes_asks, 0, sizeof cell->yes_asks);
        memset(cell->no_asks, 0, sizeof cell->no_asks);
    }
    uint64_t yes = (uint32_t)average_cost_e6(cell, cell->yes_asks, outlet->min_size_e2);
    uint64_t no = (uint32_t)average_cost_e6(cell, cell->no_asks, outlet->min_size_e2);
    /* both costs in one word: no sweep sees the one without the other */
    uint64_t costs = yes | no << 32;
    /* nobody else stores into this row, so its cell may be compared where it lies */
    if (stands && load_relaxed(outlet->costs) == costs && same(cell, outlet->row + ROW_CELL0 + (stands & 1) * CELL_SIZE)) {
        if (verified)
            store_release(check, stands);
        return stands;
    }
    cell->publish_ns = now_ns();
    stands = row_write(outlet->row, made->words);
    if (verified)
        store_release(check, stands);
    store_release(outlet->costs, costs);
    log_push(outlet->log, outlet->log_capacity, outlet->slot);
    bell_ring(outlet->bell);
    int64_t took_ns;
    bool sane = !__builtin_sub_overflow(now_ns(), cell->recv_ns, &took_ns);
    histogram_record(outlet->latency, sane ? took_ns : INT64_MAX);
    for (int n = 0; n < outlet->counted; n++)
        add(outlet->counters[n], 1);
    return stands;
}
