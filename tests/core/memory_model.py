"""A small model checker for the shared-memory protocols: every interleaving, with store buffers and reordering.

A thread is a straight line of accesses with guards. An access may *perform* (become visible to all others at once) before
earlier ones of its own thread, unless C11 forbids it: an acquire load before everything after it, a release store after
everything before it, fences between what lies on their two sides, accesses of one location in order, a guarded store after
its guard is known. A store that has not performed yet lies in the thread's store buffer: the thread itself reads it from
there, the others read memory. That is C11 as multi-copy-atomic machines (x86, ARMv8) can show it; machines on which two
observers may disagree about the order of two stores (POWER) are not modelled.

:func:`explore` walks all reachable states and returns the end states, among them those in which a thread sleeps for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Access", "End", "add", "explore", "fence", "load", "sleep_while", "store", "wake"]

Registers = Mapping[str, int]
#: A number, or a function of the thread's registers that names in ``needs`` are read by.
Value = int | Callable[[Registers], int]
Place = str | Callable[[Registers], str]


@dataclass(frozen=True)
class Access:
    """One step of a thread. ``kind``: load, store, add, fence, sleep, wake."""

    kind: str
    order: str = "relaxed"
    place: Place = ""
    value: Value = 0
    into: str = ""
    needs: tuple[str, ...] = ()
    when: Callable[[Registers], bool] | None = field(default=None, compare=False)


def load(into: str, place: Place, order: str = "relaxed", *, needs: tuple[str, ...] = (), when: Any = None) -> Access:
    """Read a location into a register."""
    return Access("load", order, place, 0, into, needs, when)


def store(
    place: Place, value: Value, order: str = "relaxed", *, needs: tuple[str, ...] = (), when: Any = None
) -> Access:
    """Write a location."""
    return Access("store", order, place, value, "", needs, when)


def add(place: str, order: str = "relaxed", *, needs: tuple[str, ...] = (), when: Any = None) -> Access:
    """Add one to a location, in one step (an atomic read-modify-write)."""
    return Access("add", order, place, 1, "", needs, when)


def fence(order: str) -> Access:
    """acquire, release, or full."""
    return Access("fence", order)


def sleep_while(place: str, register: str, *, needs: tuple[str, ...] = (), when: Any = None) -> Access:
    """A futex wait: the kernel compares, and puts the thread to sleep if the location is what the register holds. Only a
    :func:`wake` ends that, whatever the location is by then. A system call orders everything."""
    return Access("sleep", "full", place, 0, register, (register, *needs), when)


def wake(place: str, *, needs: tuple[str, ...] = (), when: Any = None) -> Access:
    """A futex wake: whoever sleeps on the location goes on. Who is only about to sleep is not woken."""
    return Access("wake", "full", place, 0, "", needs, when)


@dataclass(frozen=True)
class End:
    """A state from which nothing goes on. ``asleep``: threads that wait for a change that nobody will make."""

    memory: Mapping[str, int]
    registers: tuple[Registers, ...]
    asleep: tuple[int, ...]


State = tuple[tuple[int, ...], tuple[tuple[int, tuple[tuple[str, int], ...]], ...]]


def _waits(thread: Sequence[Access], first: int, second: int) -> bool:
    """Whether ``second`` may not perform before ``first``, whatever their locations."""
    one, other = thread[first], thread[second]
    if "full" in (one.order, other.order) and "fence" not in (one.kind, other.kind):
        return True
    if one.kind in ("load", "add") and one.order in ("acquire", "full"):
        return True
    if other.kind in ("store", "add") and other.order in ("release", "full"):
        return True
    for between in thread[first + 1 : second]:
        if between.kind != "fence":
            continue
        if between.order == "full":
            return True
        if between.order == "release" and other.kind in ("store", "add"):
            return True
        if between.order == "acquire" and one.kind in ("load", "add"):
            return True
    return False


#: In the registers of a thread that sleeps: the number of the access in which it does.
_ASLEEP = "asleep in"


class _Thread:
    def __init__(self, thread: Sequence[Access]) -> None:
        self.steps = tuple(thread)
        self.real = [n for n, each in enumerate(thread) if each.kind != "fence"]
        self.before = {n: [m for m in self.real if m < n and _waits(thread, m, n)] for n in self.real}
        self.all = sum(1 << n for n in self.real)

    def ready(
        self, done: int, registers: dict[str, int], memory: dict[str, int]
    ) -> list[tuple[int, dict[str, int], Any]]:
        """Every access that may perform now: (number, registers after it, (location, value) written or ``None``).

        Number -1 falls asleep; the value ``None`` wakes who sleeps on the location.
        """
        if _ASLEEP in registers:
            return []
        found = []
        for n in self.real:
            step = self.steps[n]
            if (
                done >> n & 1
                or any(not done >> m & 1 for m in self.before[n])
                or not set(step.needs) <= registers.keys()
            ):
                continue
            if step.when is not None and not step.when(registers):
                found.append((n, registers, None))  # the guard says no: it is over without an effect
                continue
            place = step.place if isinstance(step.place, str) else step.place(registers)
            value = step.value if isinstance(step.value, int) else step.value(registers)
            forwarded, blocked = None, False
            for m in self.real:
                earlier = self.steps[m]
                if m >= n or done >> m & 1:
                    continue
                if not set(earlier.needs) <= registers.keys():
                    blocked |= step.kind != "load" or earlier.kind != "load" or not isinstance(earlier.place, str)
                    continue
                if earlier.when is not None and not earlier.when(registers):
                    continue
                where = earlier.place if isinstance(earlier.place, str) else earlier.place(registers)
                if where != place:
                    continue
                if step.kind == "load" and earlier.kind == "store":
                    forwarded = earlier.value if isinstance(earlier.value, int) else earlier.value(registers)
                else:
                    blocked = True
            if blocked:
                continue
            if step.kind == "load":
                seen = memory[place] if forwarded is None else forwarded
                found.append((n, {**registers, step.into: seen}, None))
            elif step.kind == "store":
                found.append((n, registers, (place, value)))
            elif step.kind == "add":
                found.append((n, registers, (place, memory[place] + 1)))
            elif step.kind == "wake":
                found.append((n, registers, (place, None)))
            elif memory[place] != registers[step.into]:
                found.append((n, registers, None))
            elif _ASLEEP not in registers:
                found.append((-1, {**registers, _ASLEEP: n}, None))
        return found


def _woken(thread: _Thread, state: tuple[int, tuple[tuple[str, int], ...]], place: str) -> Any:
    """The state of a thread after a wake: over its sleep if it slept on that place."""
    done, held = state
    registers = dict(held)
    step = registers.get(_ASLEEP)
    if step is None or thread.steps[step].place != place:
        return state
    del registers[_ASLEEP]
    return done | 1 << step, tuple(sorted(registers.items()))


def explore(memory: Mapping[str, int], threads: Sequence[Sequence[Access]]) -> tuple[list[End], int]:
    """Every end state of the threads over this memory, and how many states there were on the way."""
    names = tuple(memory)
    compiled = [_Thread(thread) for thread in threads]
    start: State = (tuple(memory.values()), tuple((0, ()) for _ in threads))
    known = {start}
    todo = [start]
    ends: list[End] = []
    while todo:
        cells, states = todo.pop()
        now = dict(zip(names, cells, strict=True))
        moved = False
        for number, (thread, (done, held)) in enumerate(zip(compiled, states, strict=True)):
            for step, registers, written in thread.ready(done, dict(held), now):
                moved = True
                after = cells
                others = list(states)
                if written is not None and written[1] is None:
                    others = [_woken(*each) for each in zip(compiled, states, [written[0]] * len(states), strict=True)]
                elif written is not None:
                    index = names.index(written[0])
                    after = (*cells[:index], written[1], *cells[index + 1 :])
                others[number] = (done | 1 << step if step >= 0 else done, tuple(sorted(registers.items())))
                state = (after, tuple(others))
                if state not in known:
                    known.add(state)
                    todo.append(state)
        if not moved:
            asleep = tuple(n for n, (done, _) in enumerate(states) if done != compiled[n].all)
            ends.append(End(now, tuple(dict(held) for _, held in states), asleep))
    return ends, len(known)
