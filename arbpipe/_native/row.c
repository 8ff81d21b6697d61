/* The two-cell latch: a seqlock that a killed writer cannot jam.
 *
 * The version selects the complete cell: version v is in cell v & 1. The writer fills the other cell and then stores the next
 * version, so whenever it dies the version still points at a whole cell. The form with fences is Boehm's (MSPC 2012), in the
 * words of Amanieu/seqlock: a release *store* before the payload would not keep the payload below it, and an acquire *load* after
 * the payload would not keep the payload above it; fences do.
 */
#include "core.h"

uint64_t row_write(uint8_t *row, const void *cell)
{
    uint64_t *version = (uint64_t *)row;
    uint64_t next = load_relaxed(version) + 1; /* our own word: nobody else stores it */
    /* R1, pairs with R3: the version before this one is visible before any word of the cell that it does not select. A reader
     * that still copies version next - 2 from this cell, and meets a word of ours, finds another version afterwards. */
    fence_release();
    copy_words(row + ROW_CELL0 + (next & 1) * CELL_SIZE, cell, CELL_SIZE);
    store_release(version, next); /* R2, pairs with R4: who sees the version sees the whole cell */
    return next;
}

enum row_copied row_read(const uint8_t *row, void *into, uint64_t *version)
{
    const uint64_t *word = (const uint64_t *)row;
    for (int tries = 0; tries < ROW_TRIES; tries++) {
        uint64_t before = load_acquire(word); /* R4, pairs with R2 */
        if (before == 0)
            return ROW_UNWRITTEN;
        copy_words(into, row + ROW_CELL0 + (before & 1) * CELL_SIZE, CELL_SIZE);
        fence_acquire(); /* R3, pairs with R1 */
        /* equal, not "of the same parity": at before + 1 our cell is the one that is filled next */
        if (load_relaxed(word) == before) {
            *version = before;
            return ROW_COPIED;
        }
        cpu_pause();
    }
    return ROW_BUSY;
}
