"""Names that survive: uids and claims are the same in every process and release."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from arbpipe.identity import VENUES, Side, Venue, claim_id, instrument_uid, side_of, slot_of


def test_a_uid_is_the_first_eight_bytes_of_the_sha256_of_its_key() -> None:
    assert instrument_uid("kalshi", "FED-T3") == int(hashlib.sha256(b"kalshi:FED-T3").hexdigest()[:16], 16)
    # pinned: rows, ledgers and generations of earlier releases hold it
    assert instrument_uid("polymarket", "0x01") == 0xEADB4946E952ACCB


@given(st.text(max_size=40), st.text(max_size=40))
def test_uids_fit_64_bits_and_differ_by_venue_and_by_id(a: str, b: str) -> None:
    assert 0 < instrument_uid("kalshi", a) < 1 << 64
    assert instrument_uid("kalshi", a) != instrument_uid("polymarket", a)
    assert (instrument_uid("kalshi", a) == instrument_uid("kalshi", b)) == (a == b)


@given(st.integers(0, 1 << 31), st.sampled_from(list(Side)))
def test_a_claim_names_its_slot_and_side(slot: int, side: Side) -> None:
    claim = claim_id(slot, side)
    assert (slot_of(claim), side_of(claim)) == (slot, side)
    assert slot_of(claim_id(slot, side.other)) == slot
    assert claim != claim_id(slot, side.other)
    assert side.other.other is side


def test_the_numbers_in_shared_memory_and_ledgers_never_change() -> None:
    assert {venue.name: int(venue) for venue in Venue} == {"KALSHI": 1, "POLYMARKET": 2}
    assert {side.name: int(side) for side in Side} == {"YES": 0, "NO": 1}
    assert {label: venue.label for label, venue in VENUES.items()} == {"kalshi": "kalshi", "polymarket": "polymarket"}
