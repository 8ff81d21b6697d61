"""The snapshot's oracle against arithmetic done by hand, and against the pairs file that states the same covers."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import snapshot_oracle as oracle
from snapshot_oracle import NO, YES, Fee, Level, Market, SnapshotError

from arbpipe.catalog.pairs import load_pairs
from arbpipe.feemodel import cost_e6

HERE = Path(__file__).resolve().parent
PAIRS = HERE / "snapshot_2026-07-20.pairs.toml"
KALSHI = Fee(Fraction(7, 100), 1, Fraction(1, 1_000_000), Fraction(1, 10_000))
POLYMARKET = Fee(Fraction(5, 100), 1, Fraction(1, 100_000), None)
FREE = Fee(Fraction(0), 1, Fraction(1, 100_000), None)
CONDITION = "0xc0"


@pytest.fixture(scope="module")
def snapshot(recordings: Path) -> Path:
    return recordings / "pairs" / "snapshot_2026-07-20"


def levels(*rows: tuple[str, str]) -> tuple[Level, ...]:
    return tuple((Fraction(price), Fraction(size)) for price, size in rows)


def market(key: str, min_size: str, yes: tuple[Level, ...], no: tuple[Level, ...] = (), fee: Fee = FREE) -> Market:
    return Market(key, {YES: "Yes", NO: "No"}, {YES: yes, NO: no}, Fraction(min_size), fee)


def kalshi(yes: Sequence[Sequence[str]], no: Sequence[Sequence[str]], **changed: str) -> Market:
    terms = {"ticker": "KX", "status": "active", "notional_value_dollars": "1.0000", **changed}
    return oracle.kalshi_market("KX", {"market": terms}, {"orderbook_fp": {"yes_dollars": yes, "no_dollars": no}})


def polymarket(yes_index: int = 0, asset_id: str = "11", **changed: Any) -> Market:
    listing = {
        "conditionId": CONDITION,
        "outcomes": '["Yes", "No"]',
        "clobTokenIds": '["11", "22"]',
        "feesEnabled": True,
        "feeSchedule": {"exponent": 1, "rate": Fraction("0.05"), "takerOnly": True},
        "orderMinSize": 5,
        **changed,
    }
    book = {
        "market": CONDITION,
        "asset_id": asset_id,
        "min_order_size": "5",
        "bids": [{"price": "0.3", "size": "7"}, {"price": "0.31", "size": "8"}],
        "asks": [{"price": "0.35", "size": "9"}, {"price": "0.34", "size": "10"}],
    }
    return oracle.polymarket_market(CONDITION, yes_index, listing, book)


def test_kalshi_rounds_each_level_to_a_micro_dollar_and_then_the_cash_to_a_hundredth_of_a_cent() -> None:
    # 0.37 at 0.123: 0.045510 and 0.07 * 0.37 * 0.123 * 0.877 = 0.00279391, up to 0.002794: 0.048304, up to 0.0484
    assert oracle.cash(KALSHI, levels(("0.123", "0.37"))) == Fraction("0.0484")
    # 1 at 0.52: 0.52 + 0.017472; 2 at 0.53: 1.06 + 0.034874; together 1.632346, up to 1.6324
    assert oracle.cash(KALSHI, levels(("0.52", "1"), ("0.53", "2"))) == Fraction("1.6324")


def test_kalshi_cash_that_is_on_the_grid_is_not_rounded() -> None:
    # 100 at 0.50: 50 + 0.07 * 100 * 0.25 = 51.75
    assert oracle.cash(KALSHI, levels(("0.5", "100"))) == Fraction("51.75")


def test_polymarket_rounds_each_level_up_to_a_thousandth_of_a_cent_and_the_cash_not_at_all() -> None:
    # 5 at 0.47: 2.35 + 0.05 * 5 * 0.47 * 0.53 = 0.062275, up to 0.06228
    assert oracle.cash(POLYMARKET, levels(("0.47", "5"))) == Fraction("2.41228")
    # two levels round twice: 1 at 0.47 is 0.012455, up to 0.01246; 1 at 0.46 is 0.01242; 0.93 + 0.02488
    assert oracle.cash(POLYMARKET, levels(("0.46", "1"), ("0.47", "1"))) == Fraction("0.95488")


def test_the_exponent_applies_to_price_times_complement() -> None:
    # 0.25 * 8 * (0.5 * 0.5) ** 2 = 0.125
    assert oracle.cash(Fee(Fraction(1, 4), 2, Fraction(1, 100_000), None), levels(("0.5", "8"))) == Fraction("4.125")


def test_buying_walks_the_book_from_the_best_price() -> None:
    assert oracle.walk(levels(("0.4", "2"), ("0.41", "9")), Fraction(5)) == [*levels(("0.4", "2"), ("0.41", "3"))]
    assert oracle.walk(levels(("0.4", "2"), ("0.41", "3")), Fraction(5)) == [*levels(("0.4", "2"), ("0.41", "3"))]
    assert oracle.walk(levels(("0.4", "2"), ("0.41", "2.99")), Fraction(5)) is None


def test_kalshi_asks_are_the_complement_of_the_other_sides_bids() -> None:
    read = kalshi(yes=[["0.3000", "4.00"], ["0.3100", "5.00"]], no=[["0.6700", "6.00"], ["0.6800", "7.00"]])
    assert read.asks[YES] == levels(("0.32", "7"), ("0.33", "6"))
    assert read.asks[NO] == levels(("0.69", "5"), ("0.7", "4"))
    assert read.claim(NO) == "kalshi:KX#No"


def test_the_recorded_polymarket_book_belongs_to_the_token_it_names() -> None:
    own, other = levels(("0.34", "10"), ("0.35", "9")), levels(("0.69", "8"), ("0.7", "7"))
    of_yes, of_no = polymarket(asset_id="11"), polymarket(asset_id="22")
    assert (of_yes.asks[YES], of_yes.asks[NO]) == (own, other)
    assert (of_no.asks[YES], of_no.asks[NO]) == (other, own)


def test_the_yes_side_follows_the_label_and_not_the_position() -> None:
    read = polymarket(yes_index=1, asset_id="22", outcomes='["No", "Yes"]')
    assert read.asks[YES] == levels(("0.34", "10"), ("0.35", "9"))
    assert read.claim(YES) == "polymarket:0xc0#Yes"
    with pytest.raises(SnapshotError, match="outcome 0 is No, expected Yes"):
        polymarket(yes_index=0, outcomes='["No", "Yes"]')


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"asset_id": "33"}, "asset_id 33 is neither token"),
        ({"feesEnabled": False}, "unknown is not zero"),
        ({"feeSchedule": None}, "unknown is not zero"),
        ({"orderMinSize": 15}, "min_order_size is 5, expected 15"),
        ({"conditionId": "0xc1"}, "conditionId is 0xc1, expected 0xc0"),
        ({"outcomes": '["Yes", "No", "Tie"]'}, "3 outcomes and 2 tokens"),
    ],
)
def test_a_polymarket_listing_that_does_not_say_enough_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        polymarket(**changed)


def test_a_kalshi_market_that_does_not_trade_is_refused() -> None:
    with pytest.raises(SnapshotError, match="status is closed, expected active"):
        kalshi([], [], status="closed")


def test_a_crossed_or_impossible_book_is_refused() -> None:
    with pytest.raises(SnapshotError, match=r"crossed: YES asks 0\.4000, NO asks 0\.6000"):
        kalshi(yes=[["0.4000", "1.00"]], no=[["0.6000", "1.00"]])
    with pytest.raises(SnapshotError, match=r"0\.00 at 0\.4000 cannot be"):
        kalshi(yes=[["0.4000", "0.00"]], no=[])
    with pytest.raises(SnapshotError, match="one price twice"):
        kalshi(yes=[["0.4000", "1.00"], ["0.4000", "2.00"]], no=[])


def test_a_cover_is_priced_at_the_largest_smallest_order_with_the_cheapest_claim_of_each_proposition() -> None:
    a = market("a", "0.01", levels(("0.40", "5")), levels(("0.62", "5")))
    b = market("b", "5", levels(("0.45", "5")), levels(("0.55", "2"), ("0.59", "9")))
    result = oracle.evaluate("x", 1, [[(a, YES), (b, YES)], [(a, NO), (b, NO)]])
    assert result.size == 5
    # YES: 5 * 0.40 = 2.00 beats 2.25; NO: 2 * 0.55 + 3 * 0.59 = 2.87 beats 3.10; (5 - 4.87) / 5 = 0.026
    assert result.choices == (oracle.Choice("a#Yes", Fraction(2)), oracle.Choice("b#No", Fraction("2.87")))
    assert result.edge_e6 == 26_000
    assert result.cover == (("a#No", "b#No"), ("a#Yes", "b#Yes"))


def test_fees_decide_which_claim_is_cheapest() -> None:
    # 5 at 0.50 with a fee of 0.05 * 5 * 0.25 = 0.0625 costs 2.5625, 5 at 0.51 without one 2.55
    charged = market("charged", "5", levels(("0.50", "5")), fee=POLYMARKET)
    free = market("free", "5", levels(("0.51", "5")))
    assert oracle.cheapest([(charged, YES), (free, YES)], Fraction(5)) == oracle.Choice("free#Yes", Fraction("2.55"))


def test_a_claim_without_the_depth_is_left_out_and_a_proposition_without_one_leaves_no_edge() -> None:
    thin = market("thin", "0.01", levels(("0.10", "4.99")), levels(("0.10", "1")))
    deep = market("deep", "5", levels(("0.40", "5")))
    result = oracle.evaluate("x", 1, [[(thin, YES), (deep, YES)], [(thin, NO), (deep, NO)]])
    assert result.choices == (oracle.Choice("deep#Yes", Fraction(2)), None)
    assert result.edge_e6 is None
    assert oracle.as_json(result)["edge_usd"] is None
    assert "no depth" in oracle.table([result])


def test_three_nos_of_which_two_must_pay_are_held_against_two_dollars() -> None:
    n = [market(name, "5", (), levels((price, "5"))) for name, price in (("a", "0.60"), ("b", "0.65"), ("c", "0.70"))]
    # 2 - (0.60 + 0.65 + 0.70) = 0.05
    assert oracle.evaluate("x", 2, [[(each, NO)] for each in n]).edge_e6 == 50_000


def test_the_edge_is_rounded_down_on_both_sides_of_zero() -> None:
    def edge(price: str) -> int | None:
        # 1 at the price and 2 at 0.25 make 3 contracts; the other proposition costs 3 * 0.50
        a = market("a", "3", levels(("0.25", "2"), (price, "1")))
        b = market("b", "3", levels(("0.50", "3")))
        return oracle.evaluate("x", 1, [[(a, YES)], [(b, YES)]]).edge_e6

    # (3 - 1.5 - 0.5 - 0.99999) / 3 = 0.0000033…; with 1.00001 it is -0.0000033…
    assert edge("0.99999") == 3
    assert edge("1.00001") == -4


def test_decimal_text_keeps_the_sign_below_one_dollar_and_never_rounds() -> None:
    assert oracle.decimal(Fraction(-3030, 1_000_000), 6) == "-0.003030"
    assert oracle.decimal(Fraction(5), 2) == "5.00"
    with pytest.raises(SnapshotError, match="more than 2 decimals"):
        oracle.decimal(Fraction(1, 8), 2)


def test_a_pair_that_does_not_resolve_alike_is_refused(tmp_path: Path) -> None:
    entry = {"kalshi_ticker": "KX", "polymarket_condition_id": CONDITION, "same_resolution": False}
    (tmp_path / "pairs.json").write_text(json.dumps({"pairs": [entry]}), encoding="utf-8")
    with pytest.raises(SnapshotError, match="KX has no market that resolves alike"):
        oracle.read_equals(tmp_path, ["KX"])


def test_a_folder_without_the_snapshot_is_a_plain_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert oracle.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "pairs.json: cannot be read" in captured.err


def test_the_edge_of_fed_july_hold_is_the_one_calculated_by_hand(snapshot: Path) -> None:
    here, there = oracle.read_equals(snapshot, ["KXFEDDECISION-26JUL-H0"])["KXFEDDECISION-26JUL-H0"]
    # the books: Kalshi bids 0.93 for YES and 0.06 for NO, Polymarket's YES token is 0.924 bid, 0.925 asked, all deep
    assert (here.asks[YES][0], here.asks[NO][0]) == levels(("0.94", "80642.01"), ("0.07", "134442.80"))
    assert (there.asks[YES][0], there.asks[NO][0]) == levels(("0.925", "21944.67"), ("0.076", "2658.58"))
    # 5 YES  Kalshi      4.700 + 0.07 * 5 * 0.94  * 0.06  = 0.01974             -> 4.71974, up to 4.7198
    #        Polymarket  4.625 + 0.05 * 5 * 0.925 * 0.075 = 0.01734375, 0.01735 -> 4.64235   the cheapest
    # 5 NO   Kalshi      0.350 + 0.07 * 5 * 0.07  * 0.93  = 0.022785            -> 0.372785, up to 0.3728   the cheapest
    #        Polymarket  0.380 + 0.05 * 5 * 0.076 * 0.924 = 0.017556, 0.01756   -> 0.39756
    # (5 - 4.64235 - 0.3728) / 5 = -0.01515 / 5 = -0.00303
    result = {each.name: each for each in oracle.results(snapshot)}["Fed July, no change"]
    assert result.size == 5
    assert result.choices == (
        oracle.Choice(there.claim(YES), Fraction("4.64235")),
        oracle.Choice(here.claim(NO), Fraction("0.3728")),
    )
    assert oracle.as_json(result)["edge_usd"] == "-0.003030"


def test_the_edge_of_ballon_dor_kane_is_the_one_calculated_by_hand(snapshot: Path) -> None:
    # 5 YES on Polymarket at 0.329: 1.645 + 0.05 * 5 * 0.329 * 0.671 = 0.05518975, up to 0.05519 -> 1.70019
    # 5 NO on Kalshi at 1 - 0.39: 3.05 + 0.07 * 5 * 0.61 * 0.39 = 0.083265 -> 3.133265, up to 3.1333
    # (5 - 1.70019 - 3.1333) / 5 = 0.16651 / 5 = 0.033302
    result = {each.name: each for each in oracle.results(snapshot)}["Ballon d'Or, Kane"]
    assert [choice.cost for choice in result.choices if choice] == [Fraction("1.70019"), Fraction("3.1333")]
    assert oracle.as_json(result)["edge_usd"] == "0.033302"


def test_no_cover_is_listed_twice(snapshot: Path) -> None:
    found = oracle.results(snapshot)
    assert len({result.cover for result in found}) == len(found) == len(oracle.HAND_COVERS)


def test_the_oracle_runs_without_the_project_and_without_any_package(snapshot: Path, tmp_path: Path) -> None:
    # -I and -S: no current directory, no environment, no site-packages
    command = [sys.executable, "-I", "-S", str(HERE / "snapshot_oracle.py"), str(snapshot), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == ""
    printed = json.loads(done.stdout)
    assert printed == [oracle.as_json(result) for result in oracle.results(snapshot)]
    assert {tuple(entry) for entry in printed} == {("cover", "k", "size", "edge_usd")}


def test_the_pairs_file_states_the_same_covers_as_the_list_written_by_hand(snapshot: Path) -> None:
    catalog = load_pairs(PAIRS)
    stated = {
        (
            tuple(
                sorted(tuple(sorted(map(catalog.claim_text, catalog.propositions[p].claims))) for p in c.propositions)
            ),
            c.k,
        )
        for c in catalog.covers
    }
    assert stated == {(result.cover, result.k) for result in oracle.results(snapshot)}
    assert catalog.notes == ()
    assert [instrument.key for instrument in catalog.instruments if not instrument.tradeable] == []


def test_every_cover_of_the_pairs_file_has_a_tail() -> None:
    # the partition of the Fed's two brackets is without one, but its cover may buy across the venues
    assert [cover.name for cover in load_pairs(PAIRS).covers if not cover.tails_accepted] == []


def test_the_pairs_file_pairs_exactly_what_resolves_alike(snapshot: Path) -> None:
    listed = json.loads((snapshot / "pairs.json").read_text(encoding="utf-8"))["pairs"]
    alike = {
        (f"kalshi:{entry['kalshi_ticker']}#Yes", f"polymarket:{entry['polymarket_condition_id']}#Yes")
        for entry in listed
        if entry["same_resolution"]
    }
    stated = tomllib.loads(PAIRS.read_text(encoding="utf-8"))["pair"]
    assert {(entry["a"], entry["b"]) for entry in stated} == alike
    assert {entry["relation"] for entry in stated} == {"same"}


def test_the_pairs_file_copies_the_recorded_listings(snapshot: Path) -> None:
    for entry in tomllib.loads(PAIRS.read_text(encoding="utf-8"))["instrument"]:
        if entry["venue"] == "kalshi":
            path = snapshot / "kalshi" / f"market_{entry['id']}.json"
            (band,) = json.loads(path.read_text(encoding="utf-8"))["market"]["price_ranges"]
            assert Fraction(entry["tick"]) == Fraction(band["step"]), entry["id"]
            continue
        path = snapshot / "polymarket" / f"gamma_{entry['id']}.json"
        listing = json.loads(path.read_text(encoding="utf-8"), parse_float=str)
        tokens = dict(zip(json.loads(listing["outcomes"]), json.loads(listing["clobTokenIds"]), strict=True))
        assert {entry[side]["label"]: entry[side]["token"] for side in (YES, NO)} == tokens, entry["id"]
        assert entry["yes"]["label"] == "Yes"
        assert entry["tick"] == listing["orderPriceMinTickSize"]
        assert entry["min_size"] == str(listing["orderMinSize"])
        assert entry["neg_risk"] is listing["negRisk"]
        schedule = listing["feeSchedule"]
        assert entry["fee"] == {"rate": schedule["rate"], "exponent": schedule["exponent"]}, entry["id"]


@pytest.mark.parametrize("size", ["5", "137.31", "2500"])
def test_the_oracle_and_the_fee_model_agree_on_every_recorded_book(snapshot: Path, size: str) -> None:
    terms = {instrument.key: instrument.fee for instrument in load_pairs(PAIRS).instruments}
    compared = 0
    tickers = sorted({ticker for _, _, propositions in oracle.HAND_COVERS for ticker, _ in propositions})
    for ticker, markets in oracle.read_equals(snapshot, tickers).items():
        for read in markets:
            fee = terms[read.key]
            assert fee is not None, ticker
            for side in (YES, NO):
                fills = oracle.walk(read.asks[side], Fraction(size))
                if fills is not None:
                    integers = [(int(price * 10_000), int(taken * 100)) for price, taken in fills]
                    assert cost_e6(fee, integers) == oracle.cash(read.fee, fills) * 1_000_000, (read.key, side)
                    compared += 1
    # Kalshi has no NO offer for the cut; every other side has at least 2,500 contracts
    assert compared == 19
