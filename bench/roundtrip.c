/* The floor: two processes hand one cache line to each other. Prints nanoseconds of each round trip, one a line.
 *
 * roundtrip CORE_A CORE_B ROUNDS PAUSE_NS spin|sleep; built by bench/handover.py. With sleep the other side waits in the doorbell's
 * futex: what waking a process costs here, without Python.
 */
#define _GNU_SOURCE
#include "core.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    int rounds = atoi(argv[3]);
    int64_t pause_ns = atoll(argv[4]);
    uint64_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int64_t *took = calloc((size_t)rounds, sizeof *took);
    if (word == MAP_FAILED || !took)
        return 1;
    bool sleeps = strcmp(argv[5], "sleep") == 0;
    uint8_t *bell = (uint8_t *)word + 1024;
    const uint64_t *words[] = {word};
    pid_t echo = fork();
    if (!echo) {
        pin(atoi(argv[2]));
        for (uint64_t n = 1;; n += 2) {
            uint64_t before = n - 1;
            if (sleeps)
                bell_wait(bell, words, &before, 1, 0, INT64_C(1000000000));
            while (load_acquire(word) != n)
                cpu_pause();
            store_release(word, n + 1);
        }
    }
    pin(atoi(argv[1]));
    for (int n = 0; n < rounds; n++) {
        int64_t wait_until = now_ns() + pause_ns;
        while (now_ns() < wait_until)
            cpu_pause();
        int64_t began = now_ns();
        store_release(word, (uint64_t)n * 2 + 1);
        if (sleeps)
            bell_ring(bell);
        while (load_acquire(word) != (uint64_t)n * 2 + 2)
            cpu_pause();
        took[n] = now_ns() - began;
    }
    kill(echo, SIGKILL);
    for (int n = 0; n < rounds; n++)
        printf("%lld\n", (long long)took[n]);
    return 0;
}
