"""Armed faults: used up, lasting, cleared, the oldest that fits first."""

from __future__ import annotations

from arbpipe.sim.kalshi_faults import Faults


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def test_a_fault_is_used_as_often_as_it_was_armed_for_and_the_oldest_that_fits_goes_first() -> None:
    faults = Faults(Hands())
    faults.arm("late", {"on": "create", "n": 1}, times=2)
    faults.arm("late", {"on": "cancel", "n": 2}, times=1)
    faults.arm("late", {"on": "create", "n": 3}, times=1)

    def take(on: str) -> object:
        params = faults.take("late", lambda each: each["on"] == on)
        return None if params is None else params["n"]

    assert [take("cancel"), take("cancel")] == [2, None]
    assert [take("create") for _ in range(4)] == [1, 1, 3, None]
    assert faults.take("other") is None
    assert faults.shown() == {"armed": [], "used": {"late": 4}}


def test_finding_a_fault_does_not_use_it() -> None:
    faults = Faults(Hands())
    faults.arm("late", {}, times=1)
    armed = faults.find("late")
    assert armed is not None
    assert faults.find("late") is armed
    faults.use(armed)
    assert faults.find("late") is None


def test_a_lasting_fault_is_over_with_its_time_or_when_it_is_cleared_and_the_newest_counts() -> None:
    clock = Hands()
    faults = Faults(clock)
    faults.arm("lag", {"seconds": 1})
    faults.arm("lag", {"seconds": 2}, for_s=5)
    assert faults.live("lag") == {"seconds": 2}
    clock.ns = 5 * 10**9
    assert faults.live("lag") == {"seconds": 1}
    assert [each["seconds_left"] for each in faults.shown()["armed"]] == [None]  # type: ignore[attr-defined]
    assert faults.clear("other") == 0
    assert faults.clear("lag") == 1
    assert faults.live("lag") is None
