"""Price grids: which prices are allowed, where quotes go, and that a change of the structure is obeyed at once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kalshi_support import ORDERS, Client, check_rest, order_body, play

from arbpipe.sim.kalshi_ticks import STRUCTURES

CASES = {
    "linear_cent": (("0.5100", "0.0100"), ("0.5150", "0.0010")),
    "deci_cent": (("0.5150", "0.0010"), ("0.5155", "0.0005")),
    "tapered_deci_cent": (("0.0510", "0.9010", "0.5100", "0.1000"), ("0.5150", "0.1010", "0.8990", "0.0515")),
    "center_half_edge_deci_cent": (("0.0510", "0.5150", "0.9010"), ("0.5110", "0.0515", "0.1010")),
    "banded_centi_cent": (("0.0499", "0.1990", "0.5100", "0.9501"), ("0.1995", "0.5150", "0.2050")),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_price_is_refused_exactly_when_it_is_off_its_band(tmp_path: Path, recordings: Path, name: str) -> None:
    async def scenario(client: Client) -> None:
        catalog = client.server.catalog
        ticker = next(t for t, listed in catalog.markets.items() if t.startswith("KXSIMGAME"))
        _, answer = await client.call("GET", f"/markets/{ticker}")
        check_rest(recordings, "GetMarketResponse", answer)
        assert answer["market"]["price_level_structure"] == name
        good, bad = CASES[name]
        for price in good:
            status, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", price, "0.01"))
            assert status == 201, price
        for price in bad:
            status, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", price, "0.01"))
            assert (status, answer["error"]["code"]) == (400, "invalid_price"), price
        grid = catalog.markets[ticker].life.grid
        for step in client.server.world.steps(0):
            client.server.world.apply(step)
            for levels in catalog.book(ticker).levels():
                assert all(grid.allows(price_e4) for price_e4, _ in levels)

    play(tmp_path, scenario, structures={"KXSIMGAME": name})


def test_a_coarser_structure_moves_quotes_away_from_the_middle_and_keeps_their_size(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        fine = next(t for t, listed in client.server.catalog.markets.items() if listed.tick_e4 == 10)
        book = client.server.catalog.book(fine)
        (bids, asks) = book.levels()
        status, _ = await client.control(
            do="lifecycle", ticker=fine, event="price_level_structure_updated", structure="linear_cent"
        )
        assert status == 200
        (coarse_bids, coarse_asks) = book.levels()
        assert sum(size for _, size in coarse_bids) == sum(size for _, size in bids)
        assert sum(size for _, size in coarse_asks) == sum(size for _, size in asks)
        assert coarse_bids[0][0] <= bids[0][0] < asks[0][0] <= coarse_asks[0][0]
        assert all(price % 100 == 0 for price, _ in (*coarse_bids, *coarse_asks))
        on_old = f"{asks[0][0] / 10_000:.4f}" if asks[0][0] % 100 else "0.5010"
        status, answer = await client.call("POST", ORDERS, order_body(fine, "bid", on_old, "1.00"))
        assert (status, answer["error"]["code"]) == (400, "invalid_price"), "the old grid is over"

    play(tmp_path, scenario, seed=2)


@given(st.sampled_from(sorted(STRUCTURES)), st.integers(1, 9_999), st.booleans())
def test_the_nearest_worse_price_is_on_the_grid_and_none_lies_between(name: str, price: int, buys: bool) -> None:
    grid = STRUCTURES[name]
    moved = grid.worse(buys, price)
    assert grid.allows(moved)
    assert moved <= price if buys else moved >= price
    between = range(moved + 1, price + 1) if buys else range(price, moved)
    assert not any(grid.allows(each) for each in between)


def test_the_bands_cover_everything_without_a_gap() -> None:
    for grid in STRUCTURES.values():
        edges = [(band.start_e4, band.end_e4) for band in grid.bands]
        assert edges[0][0] == 0
        assert edges[-1][1] == 10_000
        assert all(before[1] == after[0] for before, after in pairwise(edges))
        assert all(edge % band.step_e4 == 0 for band in grid.bands for edge in (band.start_e4, band.end_e4))
