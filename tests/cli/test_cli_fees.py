"""``arbpipe fees kalshi`` prints the fees that were recorded, and names what it cannot price."""

from __future__ import annotations

from typing import Any

import pytest
from system_support import Box


def asked(box: Box, *words: str, code: int = 0) -> Any:
    done = box.run("fees", "kalshi", *words, "--json")
    assert done.code == code, done.err
    return done.json


@pytest.mark.parametrize(
    ("words", "model", "net"),
    [
        (("--price", "0.52", "--count", "1"), "0.017472", "0.017500"),
        (("--price", "0.99", "--count", "1"), "0.000693", "0.000700"),
        (("--price", "0.17", "--count", "5.52"), "0.05452104", "0.054600"),
        (("--price", "0.84", "--count", "1.16"), "0.01091328", "0.011000"),
        (("--price", "0.67", "--count", "2", "--maker"), "0.0077385", "0.007800"),
        (("--price", "0.12", "--count", "2", "--maker"), "0.003696", "0.003700"),
        (("--price", "0.55", "--count", "10", "--non-direct"), "0.173250", "0.180000"),
        (("--price", "0.52", "--count", "1", "--multiplier", "0.5"), "0.008736", "0.008800"),
        (("--price", "0.52", "--count", "1", "--multiplier", "0"), "0.000000", "0.000000"),
        (("--price", "0.52", "--count", "1", "--maker", "--fee-type", "quadratic"), "0.000000", "0.000000"),
    ],
)
def test_recorded_fees_are_printed_to_the_digit(box: Box, words: tuple[str, ...], model: str, net: str) -> None:
    said = asked(box, *words)
    assert (said["schema"], said["model_fee_usd"], said["net_fee_usd"]) == (1, model, net)


def test_the_lines_for_people_add_up_and_fit_80_columns(box: Box) -> None:
    done = box.run("fees", "kalshi", "--price", "0.123", "--count", "0.37")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "kalshi taker, direct member: 0.37 at $0.1230, quadratic × 1"
    shown = {line[2:14].strip(): line.split("$")[1].split()[0] for line in done.out.splitlines()[1:]}
    assert (shown["trade fee"], shown["rounding"], shown["rebate"]) == ("0.002794", "0.000096", "0.000000")
    assert (shown["net fee"], shown["cost"], shown["per contract"]) == ("0.002890", "0.048400", "0.13081082")
    assert max(map(len, done.out.splitlines())) <= 80


def test_the_kind_of_member_is_taken_from_the_configuration(box: Box) -> None:
    (box.work / "arbpipe.toml").write_text("[executor]\nkalshi_direct_member = false\n")
    assert asked(box, "--price", "0.55", "--count", "10")["net_fee_usd"] == "0.180000"
    assert asked(box, "--price", "0.55", "--count", "10", "--direct")["net_fee_usd"] == "0.173300"


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (("--price", "52", "--count", "1"), 2, "price '52' is outside 0 … 1 dollar; give dollars between"),
        (("--price", "0.52345", "--count", "1"), 2, "at most four decimals, such as 0.52"),
        (("--price", "0", "--count", "1"), 2, "--price 0: nothing trades at 0 or 1 dollar"),
        (("--price", "1.00", "--count", "1"), 2, "--price 1.00: nothing trades"),
        (("--price", "0.5", "--count", "0"), 2, "--count 0: there is no fill of nothing; give 0.01 or more"),
        (("--price", "0.5", "--count", "1.234"), 2, "--count 1.234"),
        (("--price", "0.5", "--count=-1"), 2, "negative"),
        (("--price", "0.5", "--count", "1", "--multiplier", "11"), 2, "--multiplier 11"),
        (("--price", "0.5", "--count", "1", "--fee-type", "flat"), 5, "--fee-type flat: no formula is known"),
        (("--price", "0.5"), 2, "--count"),
    ],
)
def test_what_cannot_be_is_named_with_what_to_give(box: Box, words: tuple[str, ...], code: int, named: str) -> None:
    said = asked(box, *words, code=code)
    assert named in said["error"]["message"]
