"""The size chosen is what an oracle finds that walks hundredth by hundredth of a contract, in fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain, combinations, groupby, product
from math import ceil
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.detector.sizing import Edge, Quote, Refusal, Sized, edge_at_minimum, size_cover
from arbpipe.feemodel import FeeTerms
from arbpipe.shm.row import Reason

FREE = FeeTerms(0, 1, 1, 1)
KALSHI = FeeTerms(70_000, 1, 1, 100)
POLYMARKET = FeeTerms(50_000, 1, 10, 1)
MIN_EDGE, MAX_EDGE = 5_000, 50_000

Book = Sequence[Sequence[Quote]]


def quote(claim: int, *levels: tuple[int, int], fee: FeeTerms = FREE, least: int = 1, uid: int | None = None) -> Quote:
    """One claim per instrument unless ``uid`` says otherwise; prices in 1/10,000, sizes in 1/100."""
    return Quote(claim, 1_000 + claim if uid is None else uid, 7, levels, fee, least)


def sized(
    k: int, book: Book, min_edge: int = MIN_EDGE, max_edge: int = MAX_EDGE, most: int = 20_000
) -> Sized | Refusal:
    return size_cover(k, book, min_edge_e6=min_edge, max_edge_e6=max_edge, max_size_e2=most)


def taken(k: int, book: Book, min_edge: int = MIN_EDGE, max_edge: int = MAX_EDGE, most: int = 20_000) -> Sized:
    result = sized(k, book, min_edge, max_edge, most)
    assert isinstance(result, Sized), result
    return result


def refused(k: int, book: Book, min_edge: int = MIN_EDGE, max_edge: int = MAX_EDGE, most: int = 20_000) -> Refusal:
    result = sized(k, book, min_edge, max_edge, most)
    assert isinstance(result, Refusal), result
    return result


# --- the oracle: hundredths of a contract, one after the other ---------------------------------------------------------


class Hundredth(NamedTuple):
    unit_e6: int
    price: int
    quote: Quote


def fee_of(one: Quote, price: int, size: int | Fraction) -> Fraction:
    """In micro-dollars, exact."""
    p = Fraction(price, 10_000)
    return one.fee.rate_e6 * Fraction(size) / 100 * (p * (1 - p)) ** one.fee.exponent


def hundredths(quotes: Sequence[Quote]) -> list[Hundredth]:
    """Every hundredth on offer, the cheapest first; the price of one whole contract more, its fee rounded up."""
    levels = [
        Hundredth(100 * price + ceil(fee_of(one, price, 100)), price, one) for one in quotes for price, _ in one.levels
    ]
    sizes = [size for one in quotes for _, size in one.levels]
    order = sorted(range(len(levels)), key=lambda at: levels[at].unit_e6)
    return [levels[at] for at in order for _ in range(sizes[at])]


Legs = dict[tuple[int, int], tuple[int, int, int]]  # (proposition, claim) → size, worst price, cost


def oracle(k: int, book: Book, min_edge: int, max_edge: int, most: int) -> tuple[int, int, Legs] | Reason:
    """(size, edge, legs) or why not; nothing is known here of minima, nor of how the product walks."""
    rows = list(zip(*map(hundredths, book), strict=False))[:most]
    if not all(book):
        return Reason.NO_QUOTE
    edges = [k * 1_000_000 - sum(one.unit_e6 for one in row) for row in rows]
    good = [row for row, edge in zip(rows, edges, strict=True) if edge >= min_edge]
    if not good:
        return Reason.EDGE
    assert good == rows[: len(good)]
    bought = {(one.quote.uid, one.quote.claim) for row in good for one in row}
    if len(bought) > len({uid for uid, _ in bought}):
        return Reason.ONE_INSTRUMENT
    if edges[0] > max_edge:
        return Reason.EDGE_TOO_LARGE
    money: dict[tuple[int, int], int] = {}
    sizes: dict[tuple[int, int], int] = {}
    worst: dict[tuple[int, int], int] = {}
    for run, same in groupby(good):
        quantity = len(list(same))
        for number, one in enumerate(run):
            key, quantum = (number, one.quote.claim), one.quote.fee.quantum_e6
            fee = ceil(fee_of(one.quote, one.price, quantity) / quantum) * quantum
            money[key] = money.get(key, 0) + one.price * quantity + fee
            sizes[key] = sizes.get(key, 0) + quantity
            worst[key] = max(worst.get(key, 0), one.price)
    align = {one.claim: one.fee.align_e6 for quotes in book for one in quotes}
    legs = {key: (sizes[key], worst[key], ceil(Fraction(money[key], align[key[1]])) * align[key[1]]) for key in sizes}
    edge = k * 10_000 * len(good) - sum(cost for _, _, cost in legs.values())
    if edge * 100 < min_edge * len(good):
        return Reason.EDGE
    return len(good), edge, legs


def as_oracle(result: Sized | Refusal) -> tuple[int, int, Legs] | Reason:
    if isinstance(result, Refusal):
        return result.reason
    legs = {(leg.proposition, leg.quote.claim): (leg.size_e2, leg.price_e4, leg.cost_e6) for leg in result.legs}
    return result.size_e2, result.edge_e6, legs


fees = st.sampled_from((FREE, KALSHI, POLYMARKET, FeeTerms(700_000, 2, 100, 10_000)))


@st.composite
def books(draw: st.DrawFn, least: st.SearchStrategy[int], propositions: int = 3) -> tuple[int, list[list[Quote]]]:
    """A cover whose cost lies around its ``k`` dollars, one instrument perhaps on both sides of it."""
    count = draw(st.integers(2, propositions))
    k = draw(st.integers(1, count - 1))
    around = 10_000 * k // count
    book: list[list[Quote]] = []
    claim = 0
    for _ in range(count):
        quotes = []
        for _ in range(draw(st.integers(1, 2))):
            prices = draw(st.sets(st.integers(around - 200, around + 100), min_size=1, max_size=3))
            levels = [(price, draw(st.integers(1, 9))) for price in sorted(prices)]
            uid = draw(st.sampled_from((claim + 1_000, claim + 1_000, claim + 1_000, 1)))
            quotes.append(quote(claim, *levels, fee=draw(fees), least=draw(least), uid=uid))
            claim += 1
        book.append(quotes)
    return k, book


edges = st.tuples(st.integers(-20_000, 20_000), st.integers(1, 60_000)).map(lambda two: (two[0], sum(two)))


@settings(max_examples=400)
@given(books(st.just(1)), edges, st.integers(1, 30))
def test_size_legs_and_costs_equal_the_oracles(
    cover: tuple[int, list[list[Quote]]], limits: tuple[int, int], most: int
) -> None:
    k, book = cover
    assert as_oracle(sized(k, book, *limits, most)) == oracle(k, book, *limits, most)


@settings(max_examples=300)
@given(books(st.just(1)), edges, st.integers(1, 30))
def test_the_size_clears_and_the_next_hundredth_of_every_proposition_would_not(
    cover: tuple[int, list[list[Quote]]], limits: tuple[int, int], most: int
) -> None:
    k, book = cover
    result = sized(k, book, *limits, most)
    if isinstance(result, Refusal):
        return
    assert 1 <= result.size_e2 <= most
    assert 100 * result.edge_e6 >= limits[0] * result.size_e2
    assert result.best_e6 <= limits[1]
    for number in range(len(book)):
        assert sum(leg.size_e2 for leg in result.legs if leg.proposition == number) == result.size_e2
    assert k * 10_000 * result.size_e2 - sum(leg.cost_e6 for leg in result.legs) == result.edge_e6
    ladders = [hundredths(quotes) for quotes in book]
    if result.size_e2 < most and result.size_e2 < min(map(len, ladders)):
        assert k * 1_000_000 - sum(ladder[result.size_e2].unit_e6 for ladder in ladders) < limits[0]


def subsets(book: Book) -> list[list[list[Quote]]]:
    """Every way of leaving claims out."""
    each = [list(chain.from_iterable(combinations(quotes, n) for n in range(1, len(quotes) + 1))) for quotes in book]
    return [[list(quotes) for quotes in chosen] for chosen in product(*each)]


@settings(max_examples=300)
@given(books(st.integers(1, 8)), st.integers(1, 30))
def test_no_leg_is_below_its_venues_minimum_and_dust_hides_no_good_quote(
    cover: tuple[int, list[list[Quote]]], most: int
) -> None:
    k, book = cover
    limits = (0, 100_000)

    def clean(found: tuple[int, int, Legs] | Reason) -> bool:
        return not isinstance(found, Reason) and all(size >= least[key[1]] for key, (size, _, _) in found[2].items())

    least = {one.claim: one.min_size_e2 for quotes in book for one in quotes}
    result = sized(k, book, *limits, most)
    if isinstance(result, Sized):
        assert clean(as_oracle(result))
        assert as_oracle(result) in [oracle(k, chosen, *limits, most) for chosen in subsets(book)]
    elif result.reason is Reason.MIN_SIZE:
        assert 0 < result.value < result.threshold
    else:
        return
    deep = [[one for one in quotes if sum(size for _, size in one.levels) >= one.min_size_e2] for quotes in book]
    without_dust = oracle(k, deep, *limits, most)
    if clean(without_dust):
        assert as_oracle(result) == without_dust


# --- named cases ------------------------------------------------------------------------------------------------------


def test_all_claims_of_a_proposition_are_one_ladder_ordered_by_cost_with_fee() -> None:
    cheap_with_fee = quote(0, (4_000, 1_000), fee=KALSHI)  # 0.4168 with its fee
    dear_without = quote(2, (4_100, 1_000))
    result = taken(1, [[cheap_with_fee, dear_without], [quote(4, (5_500, 1_500))]])
    assert {leg.quote.claim: leg.size_e2 for leg in result.legs} == {0: 500, 2: 1_000, 4: 1_500}
    assert result.best_e6 == 1_000_000 - 410_000 - 550_000


def test_f33_equal_shares_of_every_proposition_are_bought() -> None:
    book = [[quote(0, (2_000, 9_000))], [quote(2, (7_600, 9_000))]]
    result = taken(1, book, most=1_000)
    assert [leg.size_e2 for leg in result.legs] == [1_000, 1_000]
    worst = 1_000 * 10_000 - sum(leg.cost_e6 for leg in result.legs)
    assert worst == result.edge_e6 == 400_000  # whatever happens: 10 contracts pay 10 dollars and cost 9.60
    # the mistake: the same dollars on both legs
    dollars_e6 = 4_800_000
    shares = [dollars_e6 // 2_000, dollars_e6 // 7_600]
    assert min(shares) * 10_000 - 2 * dollars_e6 < -3_000_000  # the dear side wins, and 3 dollars are lost for certain


def test_f34_minimum_size_of_one_leg_refuses_the_whole_cover() -> None:
    kalshi = quote(0, (4_000, 9_000), least=1)
    polymarket = quote(2, (5_700, 400), least=500)
    refusal = refused(1, [[kalshi], [polymarket]])
    assert refusal == Refusal(Reason.MIN_SIZE, 400, 500)
    # the mistake: the minimum of the first leg is looked at, and the second order is rejected after the first is filled
    assert taken(1, [[kalshi], [polymarket._replace(min_size_e2=kalshi.min_size_e2)]]).size_e2 == 400


def test_f30_polymarket_fee_in_sizing_is_neither_zero_nor_two_percent() -> None:
    book = [[quote(0, (5_000, 1_000))], [quote(2, (4_870, 1_000), fee=POLYMARKET)]]
    refusal = refused(1, book)
    assert (refusal.reason, refusal.value) == (Reason.EDGE, 1_000_000 - 500_000 - 487_000 - 12_492)
    # the mistake: Polymarket taken as free clears the threshold and costs 1.2 cents a contract
    assert taken(1, [book[0], [quote(2, (4_870, 1_000))]]).size_e2 == 1_000
    # at 0.05 the fee is a fraction of a cent, and "2 %" of a dollar would hide the edge
    small = [[quote(0, (9_400, 1_000))], [quote(2, (450, 1_000), fee=POLYMARKET)]]
    assert taken(1, small).edge_e6 == 10 * (1_000_000 - 940_000 - 45_000) - 21_490


def test_dust_is_left_out_and_the_good_quote_behind_it_is_found() -> None:
    dust, good = quote(0, (4_000, 30), least=500), quote(2, (4_100, 2_000), least=500)
    result = taken(1, [[dust, good], [quote(4, (5_600, 2_000))]])
    assert [(leg.quote.claim, leg.size_e2) for leg in result.legs] == [(2, 2_000), (4, 2_000)]


def test_two_claims_that_take_each_others_minimum_are_not_both_left_out() -> None:
    first, second = quote(0, (4_000, 300), least=500), quote(2, (4_100, 9_000), least=500)
    result = taken(1, [[first, second], [quote(4, (5_600, 600))]])
    assert [(leg.quote.claim, leg.size_e2) for leg in result.legs] == [(2, 600), (4, 600)]


def test_an_edge_of_exactly_the_threshold_clears_it() -> None:
    assert taken(1, [[quote(0, (4_000, 100))], [quote(2, (5_950, 100))]]).best_e6 == MIN_EDGE
    assert refused(1, [[quote(0, (4_000, 100))], [quote(2, (5_951, 100))]]) == Refusal(Reason.EDGE, 4_900, MIN_EDGE)


def test_a_proposition_without_a_quote_is_refused() -> None:
    for book in ([[], [quote(0, (1, 1))]], [[quote(0, (1, 1))], [quote(2)]]):
        assert refused(1, book).reason is Reason.NO_QUOTE


def test_both_sides_of_one_instrument_raise_the_alarm() -> None:
    crossed = [[quote(6, (4_000, 100), uid=3)], [quote(7, (5_900, 100), uid=3)]]
    assert refused(1, crossed) == Refusal(Reason.ONE_INSTRUMENT, 10_000, 0)
    # also when nothing but the sum of both is impossible, far above the largest edge
    assert refused(1, [[quote(6, (10, 1), uid=3)], [quote(7, (10, 1), uid=3)]]).reason is Reason.ONE_INSTRUMENT
    # at a dollar or more nobody would buy them
    assert refused(1, [[quote(6, (4_100, 1), uid=3)], [quote(7, (5_900, 1), uid=3)]]).reason is Reason.EDGE


def test_both_sides_of_one_instrument_are_seen_also_when_no_single_step_takes_both() -> None:
    book = [
        [quote(0, (4_000, 100), uid=1), quote(2, (4_050, 900), uid=2)],
        [quote(3, (5_700, 100), uid=2), quote(1, (5_800, 900), uid=1)],
    ]
    assert refused(1, book).reason is Reason.ONE_INSTRUMENT


def test_an_edge_that_is_too_large_raises_the_alarm() -> None:
    book = [[quote(0, (4_000, 100))], [quote(2, (5_400, 100))]]
    assert refused(1, book) == Refusal(Reason.EDGE_TOO_LARGE, 60_000, 50_000)
    assert taken(1, book, max_edge=60_000).best_e6 == 60_000


def test_a_cover_of_eight_propositions_pays_seven_dollars_for_eight_noes() -> None:
    book = [[quote(2 * n, (8_650 + n, 100 + n), fee=POLYMARKET)] for n in range(8)]
    result = taken(7, book)
    assert (result.size_e2, len(result.legs)) == (100, 8)
    assert as_oracle(result) == oracle(7, book, MIN_EDGE, MAX_EDGE, 20_000)


def test_the_walk_stops_before_a_ninth_leg() -> None:
    book = [[quote(2 * n, (8_650 + n, 100), fee=POLYMARKET)] for n in range(8)]
    book[0].append(quote(99, (8_660, 100), fee=POLYMARKET))
    for quotes in book[1:]:
        quotes[0] = quotes[0]._replace(levels=((quotes[0].levels[0][0], 200),))
    result = taken(7, book)
    assert (result.size_e2, {leg.quote.claim for leg in result.legs}) == (100, {2 * n for n in range(8)})


def test_a_remnant_at_a_silly_price_is_no_alarm_and_a_wrong_book_is_one() -> None:
    def book(remnant: int) -> list[list[Quote]]:
        return [[quote(0, (100, remnant), (4_000, 900), least=500)], [quote(2, (5_900, 900))]]

    assert taken(1, book(5)).size_e2 == 900
    assert refused(1, book(100)).reason is Reason.EDGE_TOO_LARGE


def test_a_tiny_size_whose_rounded_fees_eat_the_edge_is_refused() -> None:
    cent = FeeTerms(70_000, 1, 1, 10_000)
    book = [[quote(0, (4_850, 1), fee=cent)], [quote(2, (4_700, 1), fee=cent)]]
    refusal = refused(1, book)
    assert (refusal.reason, refusal.threshold) == (Reason.EDGE, MIN_EDGE)
    assert refusal.value == -1_000_000  # a cent for each order of a hundredth of a contract


@pytest.mark.parametrize("most", [0, 1, 99])
def test_the_largest_size_is_never_exceeded(most: int) -> None:
    result = sized(1, [[quote(0, (4_000, 100))], [quote(2, (5_700, 100))]], most=most)
    assert (result.size_e2 if isinstance(result, Sized) else 0) == most


# --- the near-miss edge -----------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(books(st.integers(1, 12)))
def test_the_edge_at_the_minimum_equals_an_independent_computation(cover: tuple[int, list[list[Quote]]]) -> None:
    k, book = cover
    size = max(one.min_size_e2 for quotes in book for one in quotes)
    best: list[int] = []
    for quotes in book:
        costs = []
        for one in quotes:
            offered = [price for price, depth in one.levels for _ in range(depth)][:size]
            if len(offered) < size:
                continue
            money = 0
            for price, same in groupby(offered):
                count = len(list(same))
                money += price * count + ceil(fee_of(one, price, count) / one.fee.quantum_e6) * one.fee.quantum_e6
            costs.append(ceil(Fraction(money, one.fee.align_e6)) * one.fee.align_e6)
        if not costs:
            depths = [sum(depth for _, depth in one.levels) for one in quotes]
            assert edge_at_minimum(k, book) == Refusal(Reason.DEPTH, max(depths), size)
            return
        best.append(min(costs))
    edge = edge_at_minimum(k, book)
    assert isinstance(edge, Edge)
    assert edge.size_e2 == size
    exact = Fraction(100 * (k * size * 10_000 - sum(best)), size)
    assert exact - 1 < edge.edge_e6 <= exact


def test_the_edge_of_a_proposition_without_a_quote_is_unknown() -> None:
    assert edge_at_minimum(1, [[quote(0, (1, 1))], []]) == Refusal(Reason.NO_QUOTE, 0, 0)
