"""A matching engine for one binary market: pure, synchronous, deterministic; no clock, no I/O, no venue, no money.

There is one book per market, in YES prices. Buying NO at p is selling YES at 1 - p: the same book, the other side.
Prices are integers of 1/10,000 dollar (``_e4``), quantities of 1/1,000,000 contract (``_e6``), cash of 1/1,000,000
dollar (``_e6``). Fees, balances and positions belong to the venue that owns the book.

Two kinds of interest rest in a book. *Orders* of accounts stand in price-time priority. The *quote* of the scenario's
market maker is one absolute size per level and always stands behind the orders of accounts at the same price.

**A taken quote stays taken.** What an order takes from a quote is remembered as long as the maker keeps the same
intended size at that level: saying the same size again refills nothing. Any other size, zero included, is a new quote
and is shown in full. So a planned arbitrage can be taken once, and the next change of the level brings it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from arbpipe.sim.orders import ONE_E4, End, Execution, LevelChange, Match, Order, Resting, SelfTrade, Tif

__all__ = ["ONE_E4", "Tif", "SelfTrade", "End", "Order", "Resting", "Match", "LevelChange", "Execution", "Book"]


@dataclass(slots=True)
class _Quote:
    """The market maker's intended size at a level, and how much of it was taken since it was set."""

    intended_e6: int = 0
    taken_e6: int = 0

    @property
    def shown_e6(self) -> int:
        return max(0, self.intended_e6 - self.taken_e6)


@dataclass(slots=True)
class _Level:
    orders: list[Resting] = field(default_factory=list)
    quote: _Quote = field(default_factory=_Quote)

    @property
    def total_e6(self) -> int:
        return sum(resting.left_e6 for resting in self.orders) + self.quote.shown_e6

    @property
    def idle(self) -> bool:
        return not self.orders and self.quote.intended_e6 == 0


@dataclass(slots=True)
class _Need:
    """What an incoming order still wants: quantity, and cash in 10^-10 dollar when it has a budget."""

    qty_e6: int
    cash_e10: int | None
    lot_e6: int
    spent_up: bool = False

    def take(self, offered_e6: int, unit_e4: int) -> int:
        """How much of an offer at ``unit_e4`` the order takes; takes it off."""
        qty_e6 = min(self.qty_e6, offered_e6)
        if self.cash_e10 is not None:
            affordable_e6 = self.cash_e10 // unit_e4
            if affordable_e6 < qty_e6:
                qty_e6 = affordable_e6 - affordable_e6 % self.lot_e6
                self.spent_up = True
            self.cash_e10 -= qty_e6 * unit_e4
            self.spent_up = self.spent_up or self.cash_e10 == 0
        self.qty_e6 -= qty_e6
        return qty_e6

    @property
    def done(self) -> bool:
        return self.qty_e6 == 0 or self.spent_up


class Book:
    """The book of one market. Invariant: after every call the best bid is below the best ask.

    ``on_level`` is called for each level whose total size changed, after the whole action, bids before asks and prices
    upwards; ``on_match`` for each trade, in order, before the levels. Neither may call the book.
    """

    def __init__(
        self,
        market: str,
        on_level: Callable[[LevelChange], None] | None = None,
        on_match: Callable[[Match], None] | None = None,
    ) -> None:
        self.market = market
        self._on_level: list[Callable[[LevelChange], None]] = [on_level] if on_level else []
        self._on_match: list[Callable[[Match], None]] = [on_match] if on_match else []
        self._bids: dict[int, _Level] = {}
        self._asks: dict[int, _Level] = {}
        self._resting: dict[str, Resting] = {}
        self._seen: set[str] = set()
        self._before: dict[tuple[bool, int], int] = {}
        self._pending: list[Match] = []
        self._matches = 0
        self._actions = 0

    def observe(
        self,
        on_level: Callable[[LevelChange], None] | None = None,
        on_match: Callable[[Match], None] | None = None,
    ) -> None:
        """Add observers."""
        if on_level is not None:
            self._on_level.append(on_level)
        if on_match is not None:
            self._on_match.append(on_match)

    # -- reading ------------------------------------------------------------------------------------------------------

    def levels(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks) as ``(price_e4, qty_e6)``, best first; orders and quotes together; no empty level."""
        return (
            [(price, level.total_e6) for price, level in self._walk(buys_yes=True) if level.total_e6],
            [(price, level.total_e6) for price, level in self._walk(buys_yes=False) if level.total_e6],
        )

    def level_e6(self, buys_yes: bool, price_e4: int) -> int:
        """The total size at one price of one side; 0 when there is nothing."""
        level = self._side(buys_yes).get(price_e4)
        return level.total_e6 if level is not None else 0

    def best(self, buys_yes: bool) -> int | None:
        """The best price of a side, None when it is empty."""
        return next((price for price, level in self._walk(buys_yes) if level.total_e6), None)

    def open_orders(self, account: str) -> list[Resting]:
        """The account's resting orders, oldest first, as copies."""
        return [Resting(r.order, r.left_e6) for r in self._resting.values() if r.order.account == account]

    def quotes(self, buys_yes: bool) -> dict[int, int]:
        """The market maker's intended sizes of a side by price, taken or not."""
        side = self._side(buys_yes)
        return {price: level.quote.intended_e6 for price, level in side.items() if level.quote.intended_e6}

    # -- acting -------------------------------------------------------------------------------------------------------

    def set_quote(self, buys_yes: bool, price_e4: int, qty_e6: int) -> list[Match]:
        """The market maker's own size at one level; 0 withdraws it. A quote that crosses orders of accounts trades.

        The same size as before changes nothing, not even what was taken of it. The returned trades have the maker as
        their taker.

        Raises:
            ValueError: the price is not between 0 and 1 dollar, the size is negative, or the maker crosses itself.
        """
        if not 0 < price_e4 < ONE_E4 or qty_e6 < 0:
            raise ValueError(
                f"{self.market}: no quote of {qty_e6} at {price_e4}: give 1 … {ONE_E4 - 1} and a size from 0 on"
            )
        against = [p for p in self.quotes(not buys_yes) if self._reaches(buys_yes, price_e4, p)]
        if qty_e6 and against:
            raise ValueError(
                f"{self.market}: a quote at {price_e4} crosses the maker's own at {against}: withdraw those first"
            )
        level = self._side(buys_yes).get(price_e4)
        if (level.quote.intended_e6 if level is not None else 0) == qty_e6:
            return []
        need = _Need(qty_e6, None, 1)
        matches = self._cross(None, None, SelfTrade.ALLOW, buys_yes, price_e4, need, []) if qty_e6 else []
        self._touch(buys_yes, price_e4)
        level = self._side(buys_yes).setdefault(price_e4, _Level())
        level.quote = _Quote(qty_e6, qty_e6 - need.qty_e6)
        self._publish(None)
        return matches

    def submit(self, order: Order) -> list[Match]:
        """:meth:`execute`, only its matches. A killed FOK and a refused post-only order give none."""
        return list(self.execute(order).matches)

    def execute(self, order: Order) -> Execution:
        """Match an order against the book by price, then time; what is left rests (GTC) or is gone.

        Raises:
            ValueError: the order id was used in this book before.
        """
        if order.order_id in self._seen:
            raise ValueError(f"{self.market}: order id {order.order_id} was used before: give each order its own")
        if order.post_only and any(True for _ in self._offers(order.buys_yes, order.price_e4)):
            return Execution(End.POST_ONLY, (), order.qty_e6)
        if order.tif is Tif.FOK and not self._fillable(order):
            return Execution(End.KILLED, (), order.qty_e6)
        self._seen.add(order.order_id)
        need = self._need(order)
        removed: list[Resting] = []
        matches = self._cross(
            order.order_id, order.account, order.self_trade, order.buys_yes, order.price_e4, need, removed
        )
        end = End.FILLED if need.done else End.CANCELLED
        if not need.done and self._meets_itself(order):
            end = End.SELF_TRADE
        elif not need.done and order.tif is Tif.GTC:
            end = End.RESTING
            self._touch(order.buys_yes, order.price_e4)
            resting = Resting(order, need.qty_e6)
            self._side(order.buys_yes).setdefault(order.price_e4, _Level()).orders.append(resting)
            self._resting[order.order_id] = resting
        self._publish(order.order_id)
        return Execution(end, tuple(matches), need.qty_e6, tuple(removed))

    def replace(self, order: Order) -> Execution:
        """Give the resting order of that id new terms: it leaves its place and is matched anew, all in one action.

        A post-only order that would trade is gone, with the end ``POST_ONLY``.

        Raises:
            ValueError: no such order rests, or the new terms would not let it rest (only GTC).
        """
        resting = self._resting.get(order.order_id)
        if resting is None or order.tif is not Tif.GTC:
            raise ValueError(
                f"{self.market}: {order.order_id} ({order.tif.value}) cannot be replaced: only resting GTC orders"
            )
        self._remove(resting)
        self._seen.discard(order.order_id)
        execution = self.execute(order)
        if execution.end is End.POST_ONLY:
            self._seen.add(order.order_id)
            self._publish(order.order_id)
        return execution

    def cancel(self, order_id: str) -> int | None:
        """Remove a resting order; how much was left of it, or None when no such order rests."""
        resting = self._resting.get(order_id)
        if resting is None:
            return None
        self._remove(resting)
        self._publish(order_id)
        return resting.left_e6

    def reduce(self, order_id: str, qty_e6: int) -> int | None:
        """Make what is left of a resting order smaller by ``qty_e6``, keeping its place; what is left then, or None.

        Raises:
            ValueError: less than one unit, or not less than what is left (cancel it instead).
        """
        resting = self._resting.get(order_id)
        if resting is None:
            return None
        if not 0 < qty_e6 < resting.left_e6:
            raise ValueError(
                f"{self.market}: cannot take {qty_e6} off {resting.left_e6} of {order_id}: cancel the order"
            )
        self._touch(resting.order.buys_yes, resting.order.price_e4)
        resting.left_e6 -= qty_e6
        self._publish(order_id)
        return resting.left_e6

    # -- inside -------------------------------------------------------------------------------------------------------

    def _side(self, buys_yes: bool) -> dict[int, _Level]:
        return self._bids if buys_yes else self._asks

    def _walk(self, buys_yes: bool) -> Iterator[tuple[int, _Level]]:
        side = self._side(buys_yes)
        return ((price, side[price]) for price in sorted(side, reverse=buys_yes))

    @staticmethod
    def _reaches(buys_yes: bool, limit_e4: int, price_e4: int) -> bool:
        """Whether an incoming order with that limit may trade at a resting price."""
        return price_e4 <= limit_e4 if buys_yes else price_e4 >= limit_e4

    @staticmethod
    def _unit(buys_yes: bool, price_e4: int) -> int:
        """What the taker pays for one contract of the side it buys, in 1/10,000 dollar."""
        return price_e4 if buys_yes else ONE_E4 - price_e4

    @staticmethod
    def _need(order: Order) -> _Need:
        cash_e10 = None if order.max_cash_e6 is None else order.max_cash_e6 * ONE_E4
        return _Need(order.qty_e6, cash_e10, order.lot_e6)

    def _offers(self, buys_yes: bool, limit_e4: int) -> Iterator[tuple[int, Resting | _Quote]]:
        """What an incoming order meets, in priority order: best price first, orders by age, then the quote."""
        for price, level in self._walk(not buys_yes):
            if not self._reaches(buys_yes, limit_e4, price):
                return
            for resting in list(level.orders):
                yield price, resting
            if level.quote.shown_e6:
                yield price, level.quote

    def _fillable(self, order: Order) -> bool:
        need = self._need(order)
        for price, offer in self._offers(order.buys_yes, order.price_e4):
            if isinstance(offer, Resting) and offer.order.account == order.account:
                if order.self_trade is SelfTrade.TAKER:
                    return False
                if order.self_trade is SelfTrade.MAKER:
                    continue
            offered_e6 = offer.left_e6 if isinstance(offer, Resting) else offer.shown_e6
            need.take(offered_e6, self._unit(order.buys_yes, price))
            if need.done:
                return True
        return False

    def _meets_itself(self, order: Order) -> bool:
        """Whether the next thing the order would meet is an order of its own account that it may not trade with."""
        if order.self_trade is not SelfTrade.TAKER:
            return False
        offer = next((offer for _, offer in self._offers(order.buys_yes, order.price_e4)), None)
        return isinstance(offer, Resting) and offer.order.account == order.account

    def _cross(
        self,
        order_id: str | None,
        account: str | None,
        self_trade: SelfTrade,
        buys_yes: bool,
        limit_e4: int,
        need: _Need,
        removed: list[Resting],
    ) -> list[Match]:
        matches: list[Match] = []
        for price, offer in self._offers(buys_yes, limit_e4):
            if need.done:
                break
            own = isinstance(offer, Resting) and account is not None and offer.order.account == account
            if own and self_trade is SelfTrade.TAKER:
                break
            if own and self_trade is SelfTrade.MAKER:
                assert isinstance(offer, Resting)
                self._remove(offer)
                removed.append(offer)
                continue
            offered_e6 = offer.left_e6 if isinstance(offer, Resting) else offer.shown_e6
            qty_e6 = need.take(offered_e6, self._unit(buys_yes, price))
            if qty_e6 == 0:
                break
            self._touch(not buys_yes, price)
            self._matches += 1
            maker = offer.order if isinstance(offer, Resting) else None
            match = Match(
                number=self._matches,
                market=self.market,
                taker_order_id=order_id,
                taker_account=account,
                maker_order_id=maker.order_id if maker else None,
                maker_account=maker.account if maker else None,
                taker_buys_yes=buys_yes,
                price_e4=price,
                qty_e6=qty_e6,
            )
            if isinstance(offer, Resting):
                offer.left_e6 -= qty_e6
                if offer.left_e6 == 0:
                    self._remove(offer)
            else:
                offer.taken_e6 += qty_e6
            matches.append(match)
        self._pending.extend(matches)
        return matches

    def _remove(self, resting: Resting) -> None:
        order = resting.order
        self._touch(order.buys_yes, order.price_e4)
        self._side(order.buys_yes)[order.price_e4].orders.remove(resting)
        del self._resting[order.order_id]

    def _touch(self, buys_yes: bool, price_e4: int) -> None:
        """Remember a level's size before this action first changes it."""
        self._before.setdefault((buys_yes, price_e4), self.level_e6(buys_yes, price_e4))

    def _publish(self, order_id: str | None) -> None:
        """Tell the observers what the action changed, and drop levels that hold nothing."""
        before, pending = self._before, self._pending
        self._before, self._pending = {}, []
        self._actions += 1
        for match in pending:
            for on_match in self._on_match:
                on_match(match)
        for (buys_yes, price), old_e6 in sorted(before.items(), key=lambda item: (not item[0][0], item[0][1])):
            new_e6 = self.level_e6(buys_yes, price)
            level = self._side(buys_yes).get(price)
            if level is not None and level.idle:
                del self._side(buys_yes)[price]
            if new_e6 != old_e6:
                change = LevelChange(self.market, buys_yes, price, new_e6, new_e6 - old_e6, self._actions, order_id)
                for on_level in self._on_level:
                    on_level(change)
