/* The doorbell: spin, then sleep in a futex, and never miss a ring.
 *
 * The classic trap is a store that is still in the store buffer when the next load runs: the ringer publishes and reads "nobody
 * waits", the waiter marks itself and reads "nothing new", and both go on. A full fence on both sides forbids it: at least one of
 * them sees the other's store (docs/shared-memory.md, "The doorbell").
 */
#define _GNU_SOURCE
#include "core.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND_NS = 1000000000;
enum { PAUSES_PER_LOOK = 16 }; /* about half a microsecond: the clock is read this often while spinning */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static bool changed(const uint64_t *const *words, const uint64_t *expected, size_t count)
{
    for (size_t n = 0; n < count; n++)
        if (load_acquire(words[n]) != expected[n])
            return true;
    return false;
}

bool bell_ring(uint8_t *bell)
{
    uint32_t *rings = (uint32_t *)bell, *waiting = (uint32_t *)(bell + LINE);
    fence_full(); /* B1, pairs with B2: what was published comes before this look at the mark */
    if (!load32_relaxed(waiting))
        return false;
    /* B3, pairs with B4: any number of ringers, none is lost. Relaxed, because B1 lies between the publication and this. */
    __atomic_fetch_add(rings, 1, __ATOMIC_RELAXED);
    syscall(SYS_futex, rings, FUTEX_WAKE, 1, NULL, NULL, 0); /* not the private kind: the waiter is another process */
    return true;
}

enum waited bell_wait(uint8_t *bell, const uint64_t *const *words, const uint64_t *expected, size_t count, int64_t spin_ns,
                      int64_t timeout_ns)
{
    uint32_t *rings = (uint32_t *)bell, *waiting = (uint32_t *)(bell + LINE);
    if (changed(words, expected, count))
        return WAIT_CHANGED;
    if (timeout_ns <= 0)
        return WAIT_TIMEOUT;
    int64_t now = now_ns(), end = now + timeout_ns, spin_end = now + (spin_ns < timeout_ns ? spin_ns : timeout_ns);
    while (now < spin_end) {
        for (int n = 0; n < PAUSES_PER_LOOK; n++) {
            if (changed(words, expected, count))
                return WAIT_CHANGED;
            cpu_pause();
        }
        now = now_ns();
    }
    enum waited result = WAIT_TIMEOUT;
    while (now < end) {
        store32_relaxed(waiting, 1);
        fence_full(); /* B2, pairs with B1: the mark comes before the last look */
        uint32_t seen = load32_acquire(rings); /* B4, pairs with B3: a ring counted here was published before, and is seen */
        if (changed(words, expected, count)) {
            result = WAIT_CHANGED;
            break;
        }
        struct timespec left = {(end - now) / SECOND_NS, (end - now) % SECOND_NS};
        /* the kernel compares again under its own lock: a ring after B4 means that this does not sleep */
        if (syscall(SYS_futex, rings, FUTEX_WAIT, seen, &left, NULL, 0) == -1 && errno == EINTR) {
            result = changed(words, expected, count) ? WAIT_CHANGED : WAIT_INTERRUPTED;
            break;
        }
        if (changed(words, expected, count)) {
            result = WAIT_CHANGED;
            break;
        }
        now = now_ns();
    }
    store32_relaxed(waiting, 0); /* no order needed: a ring for nobody costs one system call */
    return result;
}
