"""``pairs.toml``: the example of the documentation loads, and every refusal of the documentation refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from catalog_toml import catalog, kalshi, ladder, pair, partition, polymarket, token

from arbpipe.catalog import pairs as pairs_module
from arbpipe.catalog.model import CoverKind, PairsError, RelationKind, stable_id
from arbpipe.catalog.pairs import load_pairs, parse_pairs

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "pairs-toml.md"
AB = kalshi("A") + kalshi("B")
GOOD = pair("p", "kalshi:A#Yes", "kalshi:B#Yes")


def refusal(*parts: str) -> str:
    with pytest.raises(PairsError) as caught:
        catalog(*parts)
    return str(caught.value)


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    tickers = ("KXFEDDECISION-26JUL-C25", "KXFEDDECISION-26JUL-H25", "KXBTC-T120", "KXBTC-T110", "KXBTC-T100")
    path = tmp_path / "pairs.toml"
    path.write_text(block[1] + "".join(kalshi(ticker) for ticker in tickers), encoding="utf-8")
    made = load_pairs(path)
    assert all(instrument.tradeable for instrument in made.instruments)
    assert [relation.kind for relation in made.relations] == [
        RelationKind.SAME,
        RelationKind.PARTITION,
        RelationKind.LADDER,
    ]
    assert [(cover.name, cover.kind, cover.k) for cover in made.covers] == [
        ("fed-july-hold: YES+NO", CoverKind.PAIR, 1),
        ("fed-july: sum of YES", CoverKind.SUM_YES, 1),
        ("fed-july: sum of NO", CoverKind.SUM_NO, 2),
        ("btc-eoy: YES of rung 2 + NO of rung 1", CoverKind.LADDER, 1),
        ("btc-eoy: YES of rung 3 + NO of rung 1", CoverKind.LADDER, 1),
        ("btc-eoy: YES of rung 3 + NO of rung 2", CoverKind.LADDER, 1),
    ]
    assert {relation.approver for relation in made.relations} == {"jane"}
    assert made.relations[0].event == "fed-july-2026"


def test_a_file_with_instruments_only_has_no_covers() -> None:
    made = catalog(AB)
    assert len(made.instruments) == 2
    assert (made.groups, made.propositions, made.covers, made.notes) == ((), (), (), ())


@pytest.mark.parametrize("schema", ["", "schema = 2\n", 'schema = "1"\n', "schema = true\n", "schema = 1.0\n"])
def test_another_schema_is_refused(schema: str) -> None:
    with pytest.raises(PairsError, match=r"pairs\.toml: schema is .*, this version reads 1; write schema = 1 on top"):
        parse_pairs(schema + AB, "pairs.toml")


def test_text_that_is_not_toml_is_refused_with_the_line() -> None:
    with pytest.raises(PairsError, match=r"pairs\.toml: is not TOML: .*line 2"):
        parse_pairs("schema = 1\nwhat\n", "pairs.toml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match=r"missing\.toml: cannot be read: No such file"):
        load_pairs(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(PairsError, match=r"latin\.toml: is not UTF-8 at byte 2"):
        load_pairs(tmp_path / "latin.toml")


A, B = "kalshi:A#Yes", "kalshi:B#Yes"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["[[pears]]\n"], 'unknown key "pears" (known: schema, instrument, pair, partition, ladder); did you mean'),
        (["[pair]\n"], "pair is not an array of tables; begin each entry with [[pair]]"),
        (["pair = [1]\n"], "pair is not an array of tables"),
        ([AB, GOOD, 'colour = "red"\n'], 'pair "p": unknown key "colour"'),
        ([AB, GOOD.replace('name = "p"\n', "")], 'pair 1: the key "name" is missing; add it'),
        ([AB, GOOD.replace('approver = "jane"\n', "")], 'pair "p": the key "approver" is missing; add it'),
        ([AB, GOOD.replace('tails = "none"\n', "")], 'pair "p": the key "tails" is missing; add it'),
        ([AB, GOOD.replace('"jane"', '" "')], "pair \"p\": approver ' ' is empty or has blanks around it"),
        ([AB, GOOD.replace('"e"', '""')], "pair \"p\": event '' is empty or has blanks around it"),
        ([AB, GOOD.replace('"p"', '""')], "pair \"\": name '' is empty or has blanks around it"),
        ([AB, pair("p", A, B, "similar")], 'pair "p": unknown relation "similar" (known: "same", "opposite", '),
        ([AB, pair("p", A, B, "implied-by")], 'did you mean "implied_by"?'),
        ([AB, pair("p", A, B, tails="acepted")], 'unknown tails "acepted" (known: "none", "accepted"); did you mean'),
        ([AB, pair("p", "kalshi:A", B)], 'pair "p": claim a: "kalshi:A" is not a claim; write venue:id#label'),
        ([AB, pair("p", A, "kalshi:#Yes")], 'pair "p": claim b: "kalshi:#Yes" is not a claim'),
        ([AB, pair("p", "Kalshi:A#Yes", B)], 'pair "p": claim a: unknown venue "Kalshi" (known: "kalshi", '),
        (
            [AB, pair("p", A, "kalshi:B#Maybe")],
            'pairs.toml: pair "p": claim b: instrument kalshi:B has no label "Maybe"; its labels are "Yes" and "No"',
        ),
        ([AB, pair("p", A, "kalshi:B#yes")], 'has no label "yes"; its labels are "Yes" and "No"; did you mean "Yes"?'),
        (
            [kalshi("KXFED-1"), AB, pair("p", A, "kalshi:KXFED-2#Yes")],
            'claim b: instrument kalshi:KXFED-2 is not listed; add an [[instrument]]; did you mean "kalshi:KXFED-1"?',
        ),
        ([AB, pair("p", A, "kalshi:A#No")], 'pair "p": names instrument kalshi:A twice; each claim must be of another'),
        (
            [AB, GOOD, pair("q", "kalshi:B#No", A, "implies")],
            'pair "q": pairs the same two instruments as pair "p"; keep one of them',
        ),
        (
            [AB, GOOD, partition("p", [A, B], "at_most_one")],
            'partition "p": the name is used twice (first by pair "p"); names are unique',
        ),
        ([AB, kalshi("A")], 'instrument "kalshi:A": is listed twice; keep one entry'),
        ([AB, kalshi("a")], 'instrument "kalshi:a": is listed twice (as "kalshi:A"); keep one entry'),
        (
            [polymarket("0x1"), polymarket("0x2", no=("No", token("0x1yes")))],
            f'instrument "polymarket:0x2": token {token("0x1yes")} of no is also that of polymarket:0x1#Yes',
        ),
        (
            [polymarket("0x1", no=("No", token("0x1yes")))],
            f'instrument "polymarket:0x1": token {token("0x1yes")} of no is also that of polymarket:0x1#Yes',
        ),
        ([AB, partition("s", [A], "exactly_one")], 'partition "s": has 1 claims; it needs at least two'),
        ([AB, partition("s", [], "exactly_one")], 'partition "s": has 0 claims; it needs at least two'),
        ([AB, partition("s", [A, B], "one")], 'partition "s": unknown holds "one" (known: "exactly_one", "at_least_'),
        (
            [AB, partition("s", [A, B, "kalshi:A#No"], "exactly_one")],
            'partition "s": names instrument kalshi:A twice',
        ),
        (
            [AB, partition("s", [A, "kalshi:C#Yes"], "exactly_one")],
            'partition "s": claim 2: instrument kalshi:C is not',
        ),
        ([AB, ladder("l", [A])], 'ladder "l": has 1 claims; it needs at least two'),
        ([AB, ladder("l", [A, "kalshi:A#No"])], 'ladder "l": names instrument kalshi:A twice'),
        ([AB, ladder("l", [A, "kalshi:B#Up"])], 'ladder "l": claim 2: instrument kalshi:B has no label "Up"'),
    ],
)
def test_every_refusal_names_file_entry_and_value(parts: list[str], message: str) -> None:
    said = refusal(*parts)
    assert said.startswith("pairs.toml: ")
    assert message in said


def test_two_instruments_with_one_uid_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from arbpipe.catalog import instruments

    monkeypatch.setattr(instruments, "instrument_uid", lambda venue, native_id: 7)
    assert 'instrument "kalshi:B": has the same uid as "kalshi:A"' in refusal(AB)


def test_two_relations_with_one_id_are_refused() -> None:
    seen: dict[int, str] = {}
    number = 0
    while True:  # a real collision of 32 bits: about 80,000 names by the birthday bound
        name = f"relation-{number}"
        if stable_id(name) in seen:
            break
        seen[stable_id(name)] = name
        number += 1
    first = seen[stable_id(name)]
    said = refusal(AB, kalshi("C"), pair(first, A, B), pair(name, A, "kalshi:C#Yes"))
    assert f'pair "{name}": has the same id {stable_id(name):#010x} as pair "{first}"; rename one of them' in said


def test_claims_keep_their_order_and_partitions_their_rule() -> None:
    made = catalog(AB, kalshi("C"), partition("s", ["kalshi:C#No", A, B], "at_least_one", tails="accepted", event="x"))
    (relation,) = made.relations
    assert [made.claim_text(claim) for claim in relation.claims] == ["kalshi:C#No", A, B]
    assert (relation.holds, relation.tails_accepted, relation.event) == ("at_least_one", True, "x")
    assert relation.at_least_one
    assert not relation.at_most_one
    assert pairs_module.SCHEMA == 1
