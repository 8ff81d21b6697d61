"""The words: payoffs, lookups, stable ids."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError

import pytest
from catalog_toml import catalog, kalshi, pair, partition, polymarket

from arbpipe.catalog.model import UNTOUCHED, Claim, CoverError, PairsError, stable_id, truth_set
from arbpipe.errors import ArbpipeError, ExitCode
from arbpipe.identity import Side

LISTED = kalshi("A") + polymarket("0x1") + kalshi("C")
PAIR = pair("p", "kalshi:A#Yes", "polymarket:0x1#No", event="x")


def test_regular_states_pay_nothing_or_a_dollar_and_both_sides_together_a_dollar() -> None:
    made = catalog(LISTED, PAIR)
    a, p, _ = (instrument.uid for instrument in made.instruments)
    assert made.groups[0].states == (0b01, 0b10)
    assert made.payoffs(0) == {
        Claim(a, Side.YES): ((1_000_000, 1_000_000), (0, 0)),
        Claim(a, Side.NO): ((0, 0), (1_000_000, 1_000_000)),
        Claim(p, Side.YES): ((0, 0), (1_000_000, 1_000_000)),
        Claim(p, Side.NO): ((1_000_000, 1_000_000), (0, 0)),
    }


def test_accepted_tails_add_one_state_in_which_a_claim_may_pay_anything() -> None:
    made = catalog(LISTED, PAIR.replace('"none"', '"accepted"'))
    for payoffs in made.payoffs(0).values():
        assert len(payoffs) == len(made.groups[0].states) + 1
        assert payoffs[-1] == (0, 1_000_000)


def test_a_tail_does_not_touch_what_only_other_relations_name() -> None:
    made = catalog(
        LISTED,
        kalshi("D"),
        PAIR.replace('"none"', '"accepted"'),
        partition("q", ["kalshi:A#Yes", "kalshi:C#Yes", "kalshi:D#Yes"], "at_most_one"),
    )
    tails = {made.instrument(claim.uid).native_id: payoffs[-1] for claim, payoffs in made.payoffs(0).items()}
    assert tails == {"A": (0, 1_000_000), "0x1": (0, 1_000_000), "C": UNTOUCHED, "D": UNTOUCHED}


def test_tails_of_one_group_leave_the_other_alone() -> None:
    made = catalog(
        LISTED, kalshi("D"), PAIR.replace('"none"', '"accepted"'), pair("q", "kalshi:C#Yes", "kalshi:D#Yes", event="y")
    )
    assert [len(next(iter(made.payoffs(index).values()))) for index in (0, 1)] == [3, 2]


def test_covers_and_instruments_are_found_by_id_and_name() -> None:
    made = catalog(LISTED, PAIR, partition("q", ["kalshi:A#Yes", "kalshi:C#Yes"], "at_most_one"))
    for cover in made.covers:
        assert made.cover(cover.id) is cover
        assert made.cover(cover.name) is cover
    uid = made.instruments[1].uid
    assert made.instrument(uid) is made.instruments[1]
    assert made.claim_text(Claim(uid, Side.NO)) == "polymarket:0x1#No"
    with pytest.raises(KeyError, match='no cover "p: YES-NO"; the nearest is "p: YES\\+NO"'):
        made.cover("p: YES-NO")
    with pytest.raises(KeyError, match=r"pairs\.toml lists no instrument with uid 0x0000000000000001"):
        made.instrument(1)


def test_types_are_frozen() -> None:
    made = catalog(LISTED, PAIR)
    with pytest.raises(FrozenInstanceError):
        made.covers[0].k = 2  # type: ignore[misc]
    assert not hasattr(made.covers[0], "__dict__")


def test_stable_ids_are_the_first_four_bytes_of_sha_256() -> None:
    assert stable_id("fed-july-hold") == int(hashlib.sha256(b"fed-july-hold").hexdigest()[:8], 16)
    made = catalog(LISTED, PAIR)
    assert made.relations[0].id == stable_id("p")
    assert all(0 <= cover.id < 1 << 32 for cover in made.covers)


def test_a_truth_set_has_a_bit_for_each_state_in_which_the_claim_is_true() -> None:
    states = (0b00, 0b01, 0b11)
    assert truth_set(states, 0, Side.YES) == 0b110
    assert truth_set(states, 0, Side.NO) == 0b001
    assert truth_set(states, 1, Side.YES) == 0b100


def test_a_bad_file_ends_a_command_as_a_configuration_error() -> None:
    assert PairsError.code is ExitCode.ENVIRONMENT
    assert issubclass(CoverError, ArbpipeError)
