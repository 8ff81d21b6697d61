from __future__ import annotations

import pytest

from arbpipe.sim.units import fixed_text, plain_text, round_down, round_up


def test_fixed_text_keeps_every_decimal_and_the_sign() -> None:
    assert fixed_text(5_600, 4, 4) == "0.5600"
    assert fixed_text(-5_400, 2, 2) == "-54.00"
    assert fixed_text(-5, 2, 2) == "-0.05"
    assert fixed_text(12_000, 4, 2) == "1.20"


def test_a_value_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 2 decimals"):
        fixed_text(12_345, 4, 2)


def test_plain_text_drops_trailing_zeros_only() -> None:
    assert [plain_text(v, 4) for v in (5_000, 110, 10_000, 0, 9_240)] == ["0.5", "0.011", "1", "0", "0.924"]
    assert [plain_text(v, 2) for v in (12_000, 780, 4_743_750)] == ["120", "7.8", "47437.5"]


def test_rounding_goes_to_the_grid_on_the_named_side() -> None:
    assert (round_down(4_799, 100), round_up(4_701, 100)) == (4_700, 4_800)
    assert (round_down(4_700, 100), round_up(4_700, 100)) == (4_700, 4_700)
