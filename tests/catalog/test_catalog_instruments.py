"""Instruments: what is unknown never trades, what is malformed is refused, sides follow labels."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from catalog_toml import KALSHI_FEE, catalog, kalshi, pair, polymarket, token

from arbpipe.catalog.model import Claim, Instrument, PairsError
from arbpipe.catalog.pairs import parse_pairs
from arbpipe.feemodel import FeeTerms, cost_e6
from arbpipe.identity import Side, Venue, instrument_uid

#: In the form of protocol V2: 64 zero bits above the lowest 40.
V2_YES = str(0xAB << 104 | 0x1234567801)
V2_NO = str(0xAB << 104 | 0x1234567802)


def one(*parts: str) -> Instrument:
    return catalog(*parts).instruments[0]


def refusal(*parts: str) -> str:
    with pytest.raises(PairsError) as caught:
        catalog(*parts)
    return str(caught.value)


def test_a_kalshi_instrument_has_default_labels_and_sizes() -> None:
    assert one(kalshi("KX-1", more='title = "T"')) == Instrument(
        venue=Venue.KALSHI,
        native_id="KX-1",
        uid=instrument_uid("kalshi", "KX-1"),
        title="T",
        yes_label="Yes",
        no_label="No",
        yes_token="",
        no_token="",
        version="",
        tick_e4=100,
        min_size_e2=1,
        neg_risk=False,
        min_size_text="0.01",
        fee=FeeTerms(rate_e6=70_000, exponent=1, quantum_e6=1, align_e6=100),
        tradeable=True,
        reason="",
    )


def test_a_polymarket_instrument_keeps_tokens_and_the_size_text_verbatim() -> None:
    made = one(polymarket("0x1", min_size='min_size = "5.0"', neg_risk="neg_risk = true"))
    assert (made.venue, made.key) == (Venue.POLYMARKET, "polymarket:0x1")
    assert made.token(Side.YES) == made.yes_token == token("0x1yes")
    assert made.token(Side.NO) == made.no_token == token("0x1no")
    assert (made.version, made.tick_e4, made.min_size_e2, made.min_size_text) == ("v1", 10, 500, "5.0")
    assert made.neg_risk
    assert made.tradeable
    assert made.fee == FeeTerms(rate_e6=50_000, exponent=1, quantum_e6=10, align_e6=1)


def test_a_member_that_is_not_direct_pays_to_the_cent() -> None:
    text = "schema = 1\n" + kalshi("K")
    (made,) = parse_pairs(text, "pairs.toml", kalshi_direct_member=False).instruments
    assert made.fee is not None
    assert made.fee.align_e6 == 10_000


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (kalshi("K", fee=""), "fee unknown: none is given"),
        (
            kalshi("K", fee='fee = { type = "flat", multiplier = "1" }'),
            'fee unknown: type "flat" with multiplier 1',
        ),
        (kalshi("K", tick=""), "tick missing"),
        (polymarket("0x1", fee=""), "fee unknown: none is given"),
        (
            polymarket("0x1", fee='fee = { rate = "0.05", exponent = 9 }'),
            "fee unknown: rate 0.05 with exponent 9",
        ),
        (polymarket("0x1", version=""), "version missing"),
        (polymarket("0x1", tick=""), "tick missing"),
        (polymarket("0x1", min_size=""), "min_size missing"),
        (polymarket("0x1", neg_risk=""), "neg_risk missing"),
        (polymarket("0x1", version='version = "v2"'), "version v2 is contradicted by the yes token, which is of v1"),
        (
            polymarket("0x1", yes=("Yes", V2_YES), no=("No", V2_NO)),
            "version v1 is contradicted by the yes token, which is of v2",
        ),
        (
            polymarket("0x1", no=("No", V2_NO)),
            "version v1 is contradicted by the no token, which is of v2",
        ),
    ],
)
def test_what_is_unknown_is_listed_and_never_trades(part: str, reason: str) -> None:
    made = one(part)
    assert not made.tradeable
    assert made.reason.startswith(reason)


def test_every_reason_is_given_at_once() -> None:
    assert one(kalshi("K", fee="", tick="")).reason == "fee unknown: none is given; tick missing"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_tokens_that_the_venue_listed_agree_with_their_version_and_with_no_other(
    recordings: Path, version: str
) -> None:
    listed = recordings / "polymarket" / "protocol_v2_2026-10-05" / f"clob-markets-{version}.json"
    tokens = [(entry["o"], entry["t"]) for entry in json.loads(listed.read_bytes())["t"]]
    assert one(polymarket("0x1", yes=tokens[0], no=tokens[1], version=f'version = "{version}"')).tradeable
    other = "v2" if version == "v1" else "v1"
    said = one(polymarket("0x1", yes=tokens[0], no=tokens[1], version=f'version = "{other}"')).reason
    assert said == "; ".join(
        f"version {other} is contradicted by the {side} token, which is of {version}" for side in ("yes", "no")
    )


def test_position_ids_of_protocol_v2_trade_as_v2() -> None:
    made = one(polymarket("0x1", yes=("Yes", V2_YES), no=("No", V2_NO), version='version = "v2"'))
    assert made.tradeable
    assert made.version == "v2"


def test_f32_an_unknown_fee_is_never_zero() -> None:
    asks_e4 = {"kalshi": 4_800, "polymarket": 5_000}

    def mistake(entry: dict[str, dict[str, str]]) -> FeeTerms:
        rate = entry.get("fee", {}).get("rate", "0")  # nothing given becomes nothing to pay
        return FeeTerms(rate_e6=int(float(rate) * 1e6), exponent=1, quantum_e6=1, align_e6=1)

    part = polymarket("0x1", fee="")
    (entry,) = tomllib.loads(part)["instrument"]
    real = FeeTerms(rate_e6=70_000, exponent=1, quantum_e6=1, align_e6=100)
    cost = cost_e6(real, [(asks_e4["kalshi"], 100)])
    assert cost + cost_e6(mistake(entry), [(asks_e4["polymarket"], 100)]) < 1_000_000  # the mistake sees an edge
    assert cost + cost_e6(real, [(asks_e4["polymarket"], 100)]) > 1_000_000  # there is none

    made = catalog(part, kalshi("K"), pair("p", "kalshi:K#Yes", "polymarket:0x1#Yes"))
    assert made.instruments[0].fee is None
    assert not made.instruments[0].tradeable
    assert made.covers == ()
    assert all(claim.uid != made.instruments[0].uid for item in made.propositions for claim in item.claims)
    (note,) = made.notes
    assert note.startswith('cover "p: YES+NO" is not built: kalshi:K alone would be bought on both sides')


def test_f29_sides_follow_labels_and_not_the_order_of_the_lines() -> None:
    no_first = polymarket("0x1")
    yes_line, no_line = (line for line in no_first.splitlines() if line.startswith(("yes", "no =")))
    no_first = no_first.replace(yes_line, "@").replace(no_line, yes_line).replace("@", no_line)
    assert no_first.index("no = {") < no_first.index("yes = {")

    def mistake(entry: dict[str, object]) -> object:
        outcomes = [value for value in entry.values() if isinstance(value, dict) and "token" in value]
        return outcomes[0]["token"]  # "the first one is YES"

    (entry,) = tomllib.loads(no_first)["instrument"]
    assert mistake(entry) == token("0x1no")  # buys the wrong side
    assert one(no_first).token(Side.YES) == token("0x1yes")
    assert one(no_first) == one(polymarket("0x1"))


def test_a_claim_is_found_by_the_label_of_either_side() -> None:
    sides = polymarket("0x1", yes=("Spain", token("s")), no=("France", token("f")))
    made = catalog(sides, kalshi("K"), pair("p", "kalshi:K#Yes", "polymarket:0x1#France"))
    assert made.relations[0].claims[1] == Claim(made.instruments[0].uid, Side.NO)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (kalshi(""), "instrument \"kalshi:\": id '' is empty or has a blank or # in it; copy it from the listing"),
        (kalshi("K X"), "id 'K X' is empty or has a blank or # in it"),
        (kalshi("K#X"), "id 'K#X' is empty or has a blank or # in it"),
        (kalshi("K", more='yes = { label = "" }'), "yes: label '' is empty or has blanks around it"),
        (kalshi("K", more='no = { label = " No" }'), "no: label ' No' is empty or has blanks around it"),
        (kalshi("K", more='no = { label = "Yes" }'), 'yes and no have the same label "Yes"'),
        (kalshi("K", tick='tick = "0.03"'), 'tick "0.03" does not divide one dollar'),
        (kalshi("K", tick='tick = "0"'), 'tick "0" does not divide one dollar'),
        (kalshi("K", tick='tick = "a"'), "tick: 'a' is not a decimal number"),
        (kalshi("K", tick='tick = "0.00001"'), "tick: '0.00001' has more than 4 decimals"),
        (kalshi("K", more='min_size = "0"'), 'min_size "0" must be more than 0'),
        (kalshi("K", more='min_size = "0.001"'), "min_size: '0.001' has more than 2 decimals"),
        (
            kalshi("K", fee='fee = { type = "quadratic", multiplier = "x" }'),
            "fee multiplier: 'x' is not a decimal number",
        ),
        (kalshi("K", fee='fee = { type = "quadratic", multiplier = "-1" }'), 'fee multiplier "-1" is negative'),
        (polymarket("0x1", fee='fee = { rate = "1e-2", exponent = 1 }'), "fee rate: '1e-2' is not a decimal number"),
        (
            polymarket("0x1", version='version = "V1"'),
            'unknown version "V1" (known: "v1", "v2"); did you mean "v1"?',
        ),
        (polymarket("0x1", yes=("Yes", "0xab")), 'yes: token "0xab" is not a decimal number of 256 bits'),
        (polymarket("0x1", no=("No", "0123")), 'no: token "0123" is not a decimal number of 256 bits'),
        (polymarket("0x1", no=("No", str(1 << 256))), "is not a decimal number of 256 bits"),
        (polymarket("0x1", no=("No", "٣")), 'no: token "٣" is not a decimal number'),
        (polymarket("0x1", no=("No", "9" * 5_000)), f'no: token "{"9" * 100}…" is not a decimal number'),
    ],
)
def test_what_is_malformed_is_refused_naming_entry_and_value(part: str, message: str) -> None:
    said = refusal(part)
    assert said.startswith('pairs.toml: instrument "')
    assert message in said


def test_the_largest_token_is_accepted() -> None:
    assert one(polymarket("0x1", no=("No", str((1 << 256) - 1)))).tradeable


def test_an_instrument_without_a_venue_is_named_by_its_number() -> None:
    said = refusal(kalshi("K"), f"[[instrument]]\n{KALSHI_FEE}\n")
    assert said == 'pairs.toml: instrument 2: the key "venue" is missing or no text; write one of kalshi, polymarket'


def test_an_unknown_venue_is_refused_with_the_nearest() -> None:
    said = refusal(kalshi("K").replace('"kalshi"', '"Kalshy"'))
    assert said == (
        'pairs.toml: instrument "Kalshy:K": unknown venue "Kalshy" (known: "kalshi", "polymarket"); '
        'did you mean "kalshi"?'
    )
