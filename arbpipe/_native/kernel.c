/* The detector's first look: which covers may have an edge?
 *
 * Per proposition the cheapest claim's cost (a lower bound, int32), per cover k dollars less the sum over its propositions
 * (int64). A claim that nobody may buy costs NO_QUOTE = 2^30, and one such leg already exceeds every cover's k dollars, so it
 * kills the cover without a special case.
 *
 * A cover is reported when its edge is at or above its bar. The bar is the threshold, or lower while a near-miss has not been
 * told yet. The cost of a change does not grow with the number of instruments: it is the propositions of the changed slot and
 * the covers of those. A cover is touched also when the first look is the same as before: the depth behind it may have changed.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

/* One compiled body per instruction set, chosen when the library is loaded; -march would tie the wheel to one machine. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && !defined(ARBPIPE_NO_CLONES)
#define CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CLONES
#endif

static const int64_t ONE_DOLLAR_E6 = 1000000;
enum { BLOCK = 512 }; /* covers judged at a time: most blocks of a sweep hold nothing to report */

static void *room(size_t count, size_t size) { return calloc(count ? count : 1, size); }

static uint32_t *copy_of(const uint32_t *from, size_t count)
{
    uint32_t *to = room(count, sizeof *to);
    if (to && count)
        memcpy(to, from, count * sizeof *to);
    return to;
}

/* For rows of items: which rows hold each item, ascending. shift turns a claim into its slot. A row is named once per item. */
static bool reverse(struct csr *out, const struct csr *in, uint32_t rows, uint32_t size, int shift)
{
    out->ptr = room((size_t)size + 1, sizeof *out->ptr);
    out->items = room(in->ptr[rows], sizeof *out->items);
    uint32_t *last = room(size, sizeof *last); /* 1 + the row that was put last */
    if (!out->ptr || !out->items || !last) {
        free(last);
        return false;
    }
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t n = in->ptr[row]; n < in->ptr[row + 1]; n++) {
            uint32_t item = in->items[n] >> shift;
            if (last[item] != row + 1)
                out->ptr[item + 1]++;
            last[item] = row + 1;
        }
    for (uint32_t item = 0; item < size; item++) {
        out->ptr[item + 1] += out->ptr[item];
        last[item] = 0;
    }
    uint32_t *fill = copy_of(out->ptr, size);
    if (!fill) {
        free(last);
        return false;
    }
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t n = in->ptr[row]; n < in->ptr[row + 1]; n++) {
            uint32_t item = in->items[n] >> shift;
            if (last[item] != row + 1)
                out->items[fill[item]++] = row;
            last[item] = row + 1;
        }
    free(fill);
    free(last);
    return true;
}

/* The sweep's plan: the first two items of each row; rows with more are listed. `none` stands for a second that is missing,
 * `empty` for a first. */
static bool plan(const struct csr *in, uint32_t rows, uint32_t none, uint32_t empty, int32_t **a, int32_t **b, uint32_t **wide,
                 uint32_t *n_wide)
{
    *a = room(rows, sizeof **a);
    *b = room(rows, sizeof **b);
    *wide = room(rows, sizeof **wide);
    if (!*a || !*b || !*wide)
        return false;
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t first = in->ptr[row], count = in->ptr[row + 1] - first;
        (*a)[row] = (int32_t)(count > 0 ? in->items[first] : empty);
        (*b)[row] = (int32_t)(count > 1 ? in->items[first + 1] : none);
        if (count > 2)
            (*wide)[(*n_wide)++] = row;
    }
    return true;
}

/* What a change of each slot touches. Two passes: the first counts, the second fills. */
static bool plan_touch(struct kernel *k, const struct csr *props_of_slot, const struct csr *covers_of_prop)
{
    uint32_t *last = room(k->covers, sizeof *last); /* a mark per slot and pass: who named the cover last */
    k->touch_ptr = room((size_t)k->slots + 1, sizeof *k->touch_ptr);
    if (!last || !k->touch_ptr) {
        free(last);
        return false;
    }
    for (int pass = 0; pass < 2; pass++) {
        uint64_t at = 0;
        for (uint32_t slot = 0; slot < k->slots; slot++) {
            uint32_t *out = pass ? k->touch + at : NULL;
            uint64_t n = 0;
#define PUT(value) (out ? (void)(out[n] = (value)) : (void)0, n++)
            uint32_t first = props_of_slot->ptr[slot], end = props_of_slot->ptr[slot + 1];
            n++; /* the words of the propositions, known after them */
            for (uint32_t p = first; p < end; p++) {
                uint32_t prop = props_of_slot->items[p], begin = k->claims_of_prop.ptr[prop];
                uint32_t claims = k->claims_of_prop.ptr[prop + 1] - begin;
                PUT(prop);
                PUT(claims);
                for (uint32_t c = 0; c < claims; c++)
                    PUT(k->claims_of_prop.items[begin + c]);
            }
            if (out)
                out[0] = (uint32_t)n - 1;
            uint32_t mark = 2 * slot + 1 + (uint32_t)pass;
            for (uint32_t p = first; p < end; p++) {
                uint32_t prop = props_of_slot->items[p];
                for (uint32_t m = covers_of_prop->ptr[prop]; m < covers_of_prop->ptr[prop + 1]; m++) {
                    uint32_t cover = covers_of_prop->items[m], begin = k->props_of_cover.ptr[cover];
                    uint32_t legs = k->props_of_cover.ptr[cover + 1] - begin;
                    if (last[cover] == mark)
                        continue;
                    last[cover] = mark;
                    PUT(cover);
                    PUT((uint32_t)(k->pays_e6[cover] / ONE_DOLLAR_E6));
                    PUT(legs);
                    for (uint32_t leg = 0; leg < legs; leg++)
                        PUT(k->props_of_cover.items[begin + leg]);
                }
            }
#undef PUT
            k->touch_ptr[slot] = at;
            at += n;
        }
        k->touch_ptr[k->slots] = at;
        if (!pass && !(k->touch = room(at, sizeof *k->touch)))
            break;
    }
    free(last);
    return k->touch != NULL;
}

static void csr_free(struct csr *csr)
{
    free(csr->ptr);
    free(csr->items);
}

bool kernel_make(struct kernel *k, const uint32_t *prop_ptr, const uint32_t *prop_claims, const uint32_t *cover_ptr,
                 const uint32_t *cover_props, const uint32_t *cover_k)
{
    uint32_t props = k->props, covers = k->covers;
    k->claims_of_prop = (struct csr){copy_of(prop_ptr, (size_t)props + 1), copy_of(prop_claims, prop_ptr[props])};
    k->props_of_cover = (struct csr){copy_of(cover_ptr, (size_t)covers + 1), copy_of(cover_props, cover_ptr[covers])};
    k->pays_e6 = room(covers, sizeof *k->pays_e6);
    k->best_e6 = room((size_t)props + 1, sizeof *k->best_e6);
    k->edge_e6 = room(covers, sizeof *k->edge_e6);
    k->bar_e6 = room(covers, sizeof *k->bar_e6);
    k->snapshot = room(2 * (size_t)k->slots + 2, sizeof *k->snapshot);
    k->cover_stamp = room(covers, sizeof *k->cover_stamp);
    k->found = room(covers, sizeof *k->found);
    k->near_found = room(covers, sizeof *k->near_found);
    k->drained = room(k->logs * k->capacity, sizeof *k->drained);
    if (!k->claims_of_prop.ptr || !k->claims_of_prop.items || !k->props_of_cover.ptr || !k->props_of_cover.items ||
        !k->pays_e6 || !k->best_e6 || !k->edge_e6 || !k->bar_e6 || !k->snapshot || !k->cover_stamp ||
        !k->found || !k->near_found || !k->drained)
        return false;
    for (uint32_t prop = 0; prop < props; prop++)
        k->best_e6[prop] = NO_QUOTE;
    for (uint32_t cover = 0; cover < covers; cover++) {
        k->pays_e6[cover] = cover_k[cover] * ONE_DOLLAR_E6;
        k->edge_e6[cover] = k->bar_e6[cover] = INT64_MIN;
    }
    k->snapshot[2 * k->slots] = INT32_MAX;    /* what a proposition without a second claim reads */
    k->snapshot[2 * k->slots + 1] = NO_QUOTE; /* and one without any */
    struct csr props_of_slot = {NULL, NULL}, covers_of_prop = {NULL, NULL};
    bool made = reverse(&props_of_slot, &k->claims_of_prop, props, k->slots, 1) &&
                reverse(&covers_of_prop, &k->props_of_cover, covers, props, 0) &&
                plan_touch(k, &props_of_slot, &covers_of_prop);
    csr_free(&props_of_slot);
    csr_free(&covers_of_prop);
    return made &&
           plan(&k->claims_of_prop, props, 2 * k->slots, 2 * k->slots + 1, &k->claim_a, &k->claim_b, &k->wide_props,
                &k->n_wide_props) &&
           plan(&k->props_of_cover, covers, props, props, &k->prop_a, &k->prop_b, &k->wide_covers, &k->n_wide_covers);
}

void kernel_free(struct kernel *k)
{
    void *all[] = {
        k->claims_of_prop.ptr, k->claims_of_prop.items, k->props_of_cover.ptr, k->props_of_cover.items, k->touch_ptr, k->touch,
        k->pays_e6, k->best_e6, k->edge_e6, k->bar_e6, k->claim_a, k->claim_b, k->prop_a, k->prop_b, k->wide_props,
        k->wide_covers, k->snapshot, k->cover_stamp, k->found, k->near_found, k->drained,
    };
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        free(all[n]);
}

/* -- what changed ---------------------------------------------------------------------------------------------------------- */

static int32_t cost_of(const struct kernel *k, uint32_t claim)
{
    /* Ordered by the log's head (L4). Half of a word that is stored whole: beyond C11, which knows no accesses of mixed sizes, but
     * one aligned load on every machine that this is built for. */
    return (int32_t)load32_relaxed((const uint32_t *)k->costs + claim);
}

static int64_t edge_of(const struct kernel *k, uint32_t cover)
{
    int64_t edge = k->pays_e6[cover];
    for (uint32_t n = k->props_of_cover.ptr[cover]; n < k->props_of_cover.ptr[cover + 1]; n++)
        edge -= k->best_e6[k->props_of_cover.items[n]];
    return edge;
}

static int ascending(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* The best cost of every proposition of a slot. */
static void refresh(struct kernel *k, uint32_t slot)
{
    const uint32_t *word = k->touch + k->touch_ptr[slot], *end = word + 1 + word[0];
    for (word++; word < end; word += 2 + word[1]) {
        int32_t best = word[1] ? INT32_MAX : NO_QUOTE;
        for (uint32_t n = 0; n < word[1]; n++) {
            int32_t cost = cost_of(k, word[2 + n]);
            best = cost < best ? cost : best;
        }
        k->best_e6[word[0]] = best;
    }
}

/* The sum of every cover of a slot that was not looked at in this drain; report those at or above their bar. */
static uint32_t sum_covers(struct kernel *k, uint32_t slot, bool alone, uint32_t reported)
{
    const uint32_t *word = k->touch + k->touch_ptr[slot], *end = k->touch + k->touch_ptr[slot + 1];
    for (word += 1 + word[0]; word < end; word += 3 + word[2]) {
        uint32_t cover = word[0];
        if (!alone) { /* a cover may lie on two changed slots */
            if (k->cover_stamp[cover] == k->stamp)
                continue;
            k->cover_stamp[cover] = k->stamp;
        }
        int64_t edge = word[1] * ONE_DOLLAR_E6;
        for (uint32_t n = 0; n < word[2]; n++)
            edge -= k->best_e6[word[3 + n]];
        k->edge_e6[cover] = edge;
        if (edge >= k->bar_e6[cover])
            k->found[reported++] = cover;
    }
    return reported;
}

uint32_t kernel_touch(struct kernel *k, const uint32_t *slots, size_t count)
{
    if (++k->stamp == 0) { /* after 2^32 drains */
        memset(k->cover_stamp, 0, k->covers * sizeof *k->cover_stamp);
        k->stamp = 1;
    }
    /* first every best cost, then the sums. No writer of ours logs a slot that is not there; whoever did gets nothing for it */
    for (size_t n = 0; n < count; n++)
        if (slots[n] < k->slots)
            refresh(k, slots[n]);
    uint32_t reported = 0;
    for (size_t n = 0; n < count; n++)
        if (slots[n] < k->slots)
            reported = sum_covers(k, slots[n], count == 1, reported);
    if (reported > 1)
        qsort(k->found, reported, sizeof *k->found, ascending);
    return reported;
}

enum taken kernel_drain(struct kernel *k, uint32_t *reported)
{
    enum taken result = TAKEN_NOTHING;
    size_t total = 0; /* the slots of all logs are one set: a cover may lie on several */
    *reported = 0;
    for (uint32_t log = 0; log < k->logs; log++) {
        uint64_t head;
        size_t count;
        enum taken taken = log_drain(k->log[log], k->capacity, k->tail[log], k->drained + total, &count, &head);
        if (taken == TAKEN_NOTHING)
            continue;
        k->tail[log] = head;
        total += count;
        if (taken == TAKEN_OVERRUN)
            result = TAKEN_OVERRUN; /* the other tails move too: the sweep that follows sees all of it */
        else if (result == TAKEN_NOTHING)
            result = TAKEN_OK;
    }
    if (result == TAKEN_OK)
        *reported = kernel_touch(k, k->drained, total);
    return result;
}

/* -- everything ------------------------------------------------------------------------------------------------------------ */

/* Both sides of an instrument in one load, as they are stored; everything after this works on private memory. */
static void take_snapshot(struct kernel *k)
{
    const uint64_t *from = (const uint64_t *)k->costs;
    uint64_t *to = (uint64_t *)k->snapshot;
    for (uint32_t slot = 0; slot < k->slots; slot++)
        to[slot] = load_relaxed(from + slot);
}

CLONES static void cheapest(int32_t *restrict best, const int32_t *restrict cost, const int32_t *restrict a,
                            const int32_t *restrict b, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        int32_t left = cost[a[n]], right = cost[b[n]];
        best[n] = left < right ? left : right;
    }
}

CLONES static void sum_up(int64_t *restrict edge, const int64_t *restrict pays, const int32_t *restrict best,
                          const int32_t *restrict a, const int32_t *restrict b, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        edge[n] = pays[n] - best[a[n]] - best[b[n]];
}

CLONES static uint32_t above(const int64_t *restrict edge, const int64_t *restrict bar, uint32_t count)
{
    uint32_t found = 0;
    for (uint32_t n = 0; n < count; n++)
        found += edge[n] >= bar[n];
    return found;
}

uint32_t kernel_sweep(struct kernel *k, uint32_t near)
{
    take_snapshot(k);
    cheapest(k->best_e6, k->snapshot, k->claim_a, k->claim_b, k->props);
    for (uint32_t n = 0; n < k->n_wide_props; n++) {
        uint32_t prop = k->wide_props[n];
        int32_t best = INT32_MAX;
        for (uint32_t i = k->claims_of_prop.ptr[prop]; i < k->claims_of_prop.ptr[prop + 1]; i++)
            if (k->snapshot[k->claims_of_prop.items[i]] < best)
                best = k->snapshot[k->claims_of_prop.items[i]];
        k->best_e6[prop] = best;
    }
    /* best_e6[props] stays 0: the second leg of a cover that has one */
    sum_up(k->edge_e6, k->pays_e6, k->best_e6, k->prop_a, k->prop_b, k->covers);
    for (uint32_t n = 0; n < k->n_wide_covers; n++)
        k->edge_e6[k->wide_covers[n]] = edge_of(k, k->wide_covers[n]);
    uint32_t reported = 0, waiting = 0;
    for (uint32_t begin = 0; begin < k->covers; begin += BLOCK) {
        uint32_t count = k->covers - begin < BLOCK ? k->covers - begin : BLOCK;
        if (!above(k->edge_e6 + begin, k->bar_e6 + begin, count))
            continue;
        for (uint32_t cover = begin; cover < begin + count; cover++)
            if (k->edge_e6[cover] >= k->threshold_e6)
                k->found[reported++] = cover;
            else if (k->edge_e6[cover] >= k->bar_e6[cover])
                k->near_found[waiting++] = cover;
    }
    /* near-misses in turn, so that those that cannot be priced do not keep the others waiting for ever */
    uint32_t first = 0;
    while (first < waiting && k->near_found[first] < k->near_at)
        first++;
    for (uint32_t n = 0; n < waiting && n < near; n++) {
        uint32_t cover = k->near_found[(first + n) % waiting];
        k->found[reported++] = cover;
        k->near_at = cover + 1;
    }
    return reported;
}
