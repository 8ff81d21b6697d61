/* The change log: a ring of slot numbers, one writer, any number of readers that keep their own tails.
 *
 * Positions are 64-bit, start at 0 and are never wrapped; only the index is masked. The writer overwrites the oldest entry and
 * never looks at a reader.
 */
#include "core.h"

uint64_t log_push(uint8_t *base, size_t capacity, uint32_t slot)
{
    uint64_t *head = (uint64_t *)base;
    uint64_t at = load_relaxed(head); /* our own word */
    fence_release(); /* L1, pairs with L3: who sees this entry sees at least the head before it, and knows of the overrun */
    store32_relaxed((uint32_t *)(base + HEAD_BYTES) + (at & (capacity - 1)), slot);
    store_release(head, at + 1); /* L2, pairs with L4: who sees the head sees the entry, and the row and cost before it */
    return at + 1;
}

enum taken log_drain(const uint8_t *base, size_t capacity, uint64_t tail, uint32_t *slots, size_t *count, uint64_t *head)
{
    const uint64_t *word = (const uint64_t *)base;
    const uint32_t *entries = (const uint32_t *)(base + HEAD_BYTES);
    uint64_t at = load_acquire(word); /* L4, pairs with L2 */
    *head = at;
    *count = 0;
    if (at == tail)
        return TAKEN_NOTHING;
    if (at < tail || at - tail >= capacity)
        return TAKEN_OVERRUN;
    for (uint64_t n = tail; n != at; n++)
        slots[n - tail] = load32_relaxed(entries + (n & (capacity - 1)));
    fence_acquire(); /* L3, pairs with L1 */
    /* acquire, as at L4: after an overrun the reader goes on here, and its sweep must see what the skipped entries tell of */
    uint64_t now = load_acquire(word);
    if (now - tail >= capacity) { /* the writer may stand in the middle of our oldest entry */
        *head = now;
        return TAKEN_OVERRUN;
    }
    *count = (size_t)(at - tail);
    return TAKEN_OK;
}
