/* The opportunity ring: entries of stride bytes, one writer, one reader that keeps its own position.
 *
 * Entry n is valid only if head - n < capacity still holds after it was copied: the writer fills an entry before it moves the
 * head, so at head - n == capacity the entry may be half overwritten.
 */
#include "core.h"

uint64_t ring_push(uint8_t *base, size_t capacity, size_t stride, const void *entry)
{
    uint64_t *head = (uint64_t *)base;
    uint64_t at = load_relaxed(head); /* our own word */
    fence_release(); /* Q1, pairs with Q3: who meets a word of this entry finds at least the head before it */
    copy_words(base + HEAD_BYTES + stride * (at & (capacity - 1)), entry, stride);
    store_release(head, at + 1); /* Q2, pairs with Q4: who sees the head sees the whole entry */
    return at;
}

enum taken ring_read(const uint8_t *base, size_t capacity, size_t stride, uint64_t position, void *into, uint64_t *head)
{
    const uint64_t *word = (const uint64_t *)base;
    uint64_t at = load_acquire(word); /* Q4, pairs with Q2 */
    *head = at;
    if (position == at)
        return TAKEN_NOTHING;
    if (position > at || at - position >= capacity)
        return TAKEN_OVERRUN;
    copy_words(into, base + HEAD_BYTES + stride * (position & (capacity - 1)), stride);
    fence_acquire(); /* Q3, pairs with Q1 */
    uint64_t now = load_relaxed(word);
    if (now - position >= capacity) {
        *head = now;
        return TAKEN_OVERRUN;
    }
    return TAKEN_OK;
}
