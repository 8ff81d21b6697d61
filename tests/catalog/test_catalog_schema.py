"""The shape of the file: unknown keys, missing keys and wrong types are refused where they stand."""

from __future__ import annotations

import pytest

from arbpipe.catalog.model import PairsError
from arbpipe.catalog.schema import KalshiTable, PairTable, PolymarketTable, choice, convert, nearest


def refusal(entry: dict[str, object], table: type = KalshiTable) -> str:
    with pytest.raises(PairsError) as caught:
        convert(entry, table, "here")
    return str(caught.value)


def test_an_unknown_key_is_refused_with_the_known_ones_and_the_nearest() -> None:
    said = refusal({"venue": "kalshi", "id": "K", "tik": "0.01"})
    assert said == (
        'here: unknown key "tik" (known: venue, id, title, tick, min_size, yes, no, fee); did you mean "tick"?'
    )


def test_an_unknown_key_of_an_inner_table_says_which() -> None:
    said = refusal({"venue": "kalshi", "id": "K", "fee": {"type": "quadratic", "multiplyer": "1"}})
    assert said == 'here: unknown key "multiplyer" in fee (known: type, multiplier); did you mean "multiplier"?'


def test_a_key_of_the_other_venue_is_unknown() -> None:
    assert 'unknown key "version"' in refusal({"venue": "kalshi", "id": "K", "version": "v1"})
    assert 'unknown key "token" in yes' in refusal({"venue": "kalshi", "id": "K", "yes": {"label": "Y", "token": "1"}})


def test_a_missing_key_is_named() -> None:
    assert refusal({"name": "x"}, PairTable) == 'here: the key "event" is missing; add it'
    said = refusal({"venue": "polymarket", "id": "1", "yes": {"label": "Y"}, "no": {"label": "N"}}, PolymarketTable)
    assert said == 'here: yes: the key "token" is missing; add it'


@pytest.mark.parametrize("number", [0.01, 1])
def test_a_number_that_is_no_string_is_refused_with_the_way_to_write_it(number: float) -> None:
    said = refusal({"venue": "kalshi", "id": "K", "tick": number})
    assert said.startswith("here: tick: expected `str | null`, got `")
    assert said.endswith('write numbers as strings ("0.01")')


def test_a_wrong_type_in_an_inner_table_is_refused() -> None:
    said = refusal({"venue": "kalshi", "id": "K", "fee": {"type": "quadratic", "multiplier": 1}})
    assert said == 'here: fee.multiplier: expected `str`, got `int`; write numbers as strings ("0.01")'
    assert refusal({"venue": "kalshi", "id": "K", "fee": "1"}).startswith("here: fee: expected `object | null`")


def test_the_nearest_word_ignores_case_and_is_left_out_when_nothing_is_near() -> None:
    assert nearest("YES", ("Yes", "No")) == '; did you mean "Yes"?'
    assert nearest("Maybe", ("Yes", "No")) == ""


def test_a_choice_returns_the_word_or_lists_the_known_ones() -> None:
    assert choice("none", ("none", "accepted"), "here", "tails") == "none"
    with pytest.raises(PairsError, match='here: unknown tails "nil" \\(known: "none", "accepted"\\)'):
        choice("nil", ("none", "accepted"), "here", "tails")
