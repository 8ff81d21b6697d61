"""The one account of simulated Kalshi: orders against the matching engines, fills, fees, netting, cash.

Every operation is one transaction of the store. Positions are one signed number per market: buying against what is
held releases pairs at 1 dollar each, so selling is buying the other side and nothing is ever held twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from arbpipe.sim.exchange import End, Match, Order, Resting, SelfTrade, Tif
from arbpipe.sim.kalshi_cash import available_e6, closing_e2, held_e6, opposite_e2
from arbpipe.sim.kalshi_catalog import Catalog, Json, ListedMarket, count
from arbpipe.sim.kalshi_errors import refuse
from arbpipe.sim.kalshi_fees import DIRECT_GRID_E6, fill_fee, most_fee_e6, trade_fee_e6
from arbpipe.sim.kalshi_orders import OrderRequest
from arbpipe.sim.kalshi_position import average, moved
from arbpipe.sim.kalshi_settle import settle
from arbpipe.sim.kalshi_statement import statement
from arbpipe.sim.kalshi_store import Fill, OrderRow, Position, Status, Store
from arbpipe.sim.market import E6_PER_E2
from arbpipe.sim.units import ONE_E4

__all__ = ["Account", "Observer", "Cancelled", "moved"]

_SELF_TRADE_WORDS = {SelfTrade.TAKER: "taker_at_cross", SelfTrade.MAKER: "maker"}
ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancelled order and how much of it was left, in 1/100 contract."""

    order: OrderRow
    reduced_e2: int
    ts_ms: int


class Observer:
    """Who wants to know what happens to the account; the methods do nothing by themselves."""

    def order_changed(self, order: OrderRow) -> None:
        """An order was accepted, filled or cancelled."""

    def filled(self, fill: Fill, order: OrderRow) -> None:
        """A fill was booked."""

    def position_changed(self, position: Position) -> None:
        """A fill moved a position."""


class Account:
    """Takes orders for the markets of ``catalog`` and keeps the books in ``store``. ``now_us`` is the venue's clock.

    While ``trading`` or ``exchange`` is False, orders are refused as in a trading pause or an exchange pause; a single shard
    is paused by its index in ``trading_paused`` or ``exchange_paused``. ``grid_e6``: the steps in which balances move.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        observer: Observer,
        now_us: Callable[[], int],
        grid_e6: int = DIRECT_GRID_E6,
    ) -> None:
        self.store = store
        self.catalog = catalog
        self.observer = observer
        self.now_us = now_us
        self._grid_e6 = grid_e6
        self.trading = True
        self.exchange = True
        self.trading_paused: set[int] = set()
        self.exchange_paused: set[int] = set()
        for ticker in catalog.markets:
            self.watch(ticker)

    def watch(self, ticker: str) -> None:
        """Book the matches of a market."""
        self.catalog.book(ticker).observe(on_match=self._on_match)

    def shard_of(self, ticker: str) -> int:
        """The exchange shard of a market; 0 for one that is not listed any more."""
        listed = self.catalog.markets.get(ticker)
        return 0 if listed is None else listed.exchange_index

    def is_active(self, index: int) -> tuple[bool, bool]:
        """Whether the exchange and trading are on, on one shard. A pause of the exchange pauses trading."""
        exchange = self.exchange and index not in self.exchange_paused
        return exchange, exchange and self.trading and index not in self.trading_paused

    # -- orders -------------------------------------------------------------------------------------------------------

    def create(self, request: OrderRequest) -> Json:
        """Accept and match an order; the answer's body.

        Raises:
            Refusal: with the status and body of the reason; a refused order leaves no trace but a killed FOK's id.
        """
        listed = self.catalog.markets.get(request.ticker)
        self.check_open(0 if listed is None else listed.exchange_index)
        if listed is None:
            raise refuse(404, "not_found")
        if request.exchange_index not in (None, -1, listed.exchange_index):
            raise refuse(400, "invalid_order", f"the market is on exchange index {listed.exchange_index}")
        self.check_trades(listed)
        if not listed.life.grid.allows(request.price_e4):
            raise refuse(400, "invalid_price")
        if request.client_order_id and self.store.is_burned(request.client_order_id):
            raise refuse(409, "order_already_exists")
        count_e2 = request.count_e2
        if request.reduce_only:
            count_e2 = min(count_e2, closing_e2(self.store, request.ticker, request.buys_yes))
        self.check_cash(listed, request.buys_yes, request.price_e4, count_e2)
        with self.store.transaction():
            order = self._new_order(request)
            killed = False
            if count_e2 == 0:
                # nothing to reduce: accepted, and cancelled at once
                order = replace(order, left_e2=0, status=Status.CANCELED, reason="ReduceOnlyCancel")
                self.store.put_order(order)
            else:
                killed = self._match(listed, request, order, count_e2)
            if request.client_order_id:
                self.store.burn(request.client_order_id)
            done = self.store.order(order.order_id)
        if killed or done is None:
            raise refuse(409, "fill_or_kill_insufficient_resting_volume")
        self.observer.order_changed(done)
        return self._created(done)

    def cancel(self, order_id: str, index: int | None = None) -> Cancelled:
        """Cancel a resting order, as its owner asks. ``index``: the shard that the request went to, None for whichever.

        Raises:
            Refusal: 404 for one that is unknown there, executed or cancelled; 409 while the exchange is paused; 400 after
                the close of its market.
        """
        order = self.store.order(order_id)
        shard = self.shard_of(order.ticker) if order is not None else index or 0
        if not self.is_active(shard)[0]:
            raise refuse(409, "exchange_is_paused")
        if order is None or order.status is not Status.RESTING or index not in (None, shard):
            raise refuse(404, "not_found")
        listed = self.catalog.markets.get(order.ticker)
        if listed is not None and listed.life.status(self.now_us()) not in ("active", "inactive"):
            raise refuse(400, "MARKET_INACTIVE")
        return self.withdraw(order, "")

    def withdraw(self, order: OrderRow, reason: str) -> Cancelled:
        """Take a resting order out of its book, whoever wants that."""
        self.catalog.book(order.ticker).cancel(order.order_id)
        now_us = self.now_us()
        done = replace(order, left_e2=0, status=Status.CANCELED, updated_us=now_us, reason=reason)
        with self.store.transaction():
            self.store.put_order(done)
        self.observer.order_changed(done)
        return Cancelled(done, order.left_e2, now_us // 1_000)

    def withdraw_all(self, reason: str, chosen: Callable[[OrderRow], bool]) -> int:
        """Take the chosen resting orders out of their books; how many."""
        gone = [order for order in self.store.orders(Status.RESTING) if chosen(order)]
        for order in gone:
            self.withdraw(order, reason)
        return len(gone)

    def expire(self) -> None:
        """Cancel what has passed its expiration time."""
        now_s = self.now_us() // 1_000_000
        self.withdraw_all("ExpiryCancel", lambda order: order.expiration_s is not None and order.expiration_s <= now_s)

    def restore(self) -> None:
        """Put the resting orders of an earlier process back into the books, oldest first; what crosses now trades."""
        for order in self.store.orders(Status.RESTING):
            listed = self.catalog.markets.get(order.ticker)
            if listed is None or listed.life.status(self.now_us()) not in ("active", "inactive"):
                continue
            with self.store.transaction():
                self.execute(listed, order, Tif.GTC, SelfTrade.TAKER, order.left_e2, post_only=False)

    def check_open(self, index: int) -> None:
        """Refuse with 409 while a shard is paused."""
        exchange, trading = self.is_active(index)
        if not exchange:
            raise refuse(409, "exchange_is_paused")
        if not trading:
            raise refuse(409, "trading_is_paused")

    def check_trades(self, listed: ListedMarket) -> None:
        """Refuse with 400 when the market takes no orders."""
        if listed.life.status(self.now_us()) != "active":
            raise refuse(400, "MARKET_INACTIVE")

    def _new_order(self, request: OrderRequest) -> OrderRow:
        now_us = self.now_us()
        return OrderRow(
            order_id=str(uuid.uuid4()),
            number=self.store.next_order_number(),
            client_order_id=request.client_order_id,
            ticker=request.ticker,
            buys_yes=request.buys_yes,
            price_e4=request.price_e4,
            count_e2=request.count_e2,
            filled_e2=0,
            left_e2=request.count_e2,
            status=Status.RESTING,
            self_trade=_SELF_TRADE_WORDS[request.self_trade],
            created_us=now_us,
            updated_us=now_us,
            expiration_s=request.expiration_s,
            cancel_on_pause=request.cancel_on_pause,
            post_only=request.post_only,
        )

    def _match(self, listed: ListedMarket, request: OrderRequest, order: OrderRow, count_e2: int) -> bool:
        """Send the order to its book inside the caller's transaction; True for a FOK that was killed."""
        self.store.put_order(order)
        end = self.execute(listed, order, request.tif, request.self_trade, count_e2, post_only=request.post_only)
        if end is End.KILLED:
            self.store.drop_order(order.order_id)
            return True
        if end is End.POST_ONLY:
            raise refuse(400, "invalid_order", "post only cross")
        return False

    def execute(
        self,
        listed: ListedMarket,
        order: OrderRow,
        tif: Tif,
        self_trade: SelfTrade,
        count_e2: int,
        *,
        post_only: bool,
        again: bool = False,
    ) -> End:
        """Send a stored order to its book inside the caller's transaction; ``again`` for one that rests there already."""
        book = self.catalog.book(listed.ticker)
        sent = Order(
            order_id=order.order_id,
            account=ACCOUNT,
            buys_yes=order.buys_yes,
            price_e4=order.price_e4,
            qty_e6=count_e2 * E6_PER_E2,
            tif=tif,
            post_only=post_only,
            self_trade=self_trade,
        )
        execution = book.replace(sent) if again else book.execute(sent)
        for resting in execution.cancelled:
            self._self_trade_cancelled(resting)
        now = self.store.order(order.order_id)
        assert now is not None, "the order was stored before it was sent"
        if execution.end in (End.CANCELLED, End.SELF_TRADE):
            reason = "SelfTradeCancel" if execution.end is End.SELF_TRADE else now.reason
            self.store.put_order(replace(now, left_e2=0, status=Status.CANCELED, reason=reason))
        elif execution.end is End.POST_ONLY and again:
            self.store.put_order(replace(now, left_e2=0, status=Status.CANCELED, reason="PostOnlyCrossCancel"))
        elif execution.end is End.FILLED and now.left_e2:
            # reduce_only capped the count: what was never sent is cancelled
            self.store.put_order(replace(now, left_e2=0, status=Status.CANCELED, reason="ReduceOnlyCancel"))
        return execution.end

    def _self_trade_cancelled(self, resting: Resting) -> None:
        order = self.store.order(resting.order.order_id)
        assert order is not None
        done = replace(order, left_e2=0, status=Status.CANCELED, updated_us=self.now_us(), reason="SelfTradeCancel")
        self.store.put_order(done)
        self.observer.order_changed(done)

    def _created(self, order: OrderRow) -> Json:
        resting = order.status is Status.RESTING
        answer: Json = {
            "order_id": order.order_id,
            "fill_count": count(order.filled_e2),
            "remaining_count": count(order.left_e2 if resting else 0),
            "ts_ms": order.updated_us // 1_000,
        }
        if order.client_order_id:
            answer["client_order_id"] = order.client_order_id
        if order.filled_e2:
            fills = self.store.fills(order.order_id)
            value_e6 = sum(fill.price_e4 * fill.count_e2 for fill in fills)
            fees_e6 = sum(fill.fee_e6 for fill in fills)
            answer["average_fill_price"] = average(value_e6, order.filled_e2)
            answer["average_fee_paid"] = average(fees_e6, order.filled_e2)
        return answer

    # -- cash ---------------------------------------------------------------------------------------------------------

    def held_e6(self) -> int:
        """What the resting orders hold back."""
        return held_e6(self.store, self.shard_of)

    def available_e6(self, index: int | None = None) -> int:
        """Cash that is not held back, of one shard or of all."""
        return available_e6(self.store, self.shard_of, index)

    def check_cash(
        self, listed: ListedMarket, buys_yes: bool, price_e4: int, count_e2: int, *, without: str = ""
    ) -> None:
        """An order must be payable at its limit with the largest fee; what it only closes pays for itself.

        ``without``: the order whose own hold does not count, because this one takes its place.

        Raises:
            Refusal: 400, the shard has too little, or was never funded.
        """
        index = listed.exchange_index
        if index not in self.store.shards():
            details = "Exchange user not found."
            raise refuse(400, "insufficient_shard_balance", details, message="insufficient shard balance")
        opening_e2 = max(0, count_e2 - closing_e2(self.store, listed.ticker, buys_yes, without=without))
        unit_e4 = price_e4 if buys_yes else ONE_E4 - price_e4
        offers = self.catalog.book(listed.ticker).levels()[1 if buys_yes else 0]
        fee_e6 = 0
        if opening_e2:
            fills = 1 + len(offers)
            fee_e6 = most_fee_e6(listed.fee_type, listed.multiplier_e2, unit_e4, opening_e2, fills, self._grid_e6)
        if unit_e4 * opening_e2 + fee_e6 > available_e6(self.store, self.shard_of, index, without=without):
            raise refuse(400, "insufficient_balance")

    # -- fills --------------------------------------------------------------------------------------------------------

    def _on_match(self, match: Match) -> None:
        listed = self.catalog.markets[match.market.split(":", 1)[1]]
        tape = listed.tape
        tape.last_e4, tape.size_e2 = match.price_e4, match.qty_e6 // E6_PER_E2
        tape.volume_e2 += tape.size_e2
        if match.taker_order_id is not None:
            self._book(listed, match, match.taker_order_id, match.taker_buys_yes, taker=True)
        if match.maker_order_id is not None:
            # a quote of the market maker met a resting order: nobody else has opened a transaction
            if match.taker_order_id is None:
                with self.store.transaction():
                    self._book(listed, match, match.maker_order_id, not match.taker_buys_yes, taker=False)
            else:
                self._book(listed, match, match.maker_order_id, not match.taker_buys_yes, taker=False)

    def _book(self, listed: ListedMarket, match: Match, order_id: str, buys_yes: bool, *, taker: bool) -> None:
        order = self.store.order(order_id)
        assert order is not None
        now_us, size_e2 = self.now_us(), match.qty_e6 // E6_PER_E2
        multiplier_e2 = listed.multiplier_at(now_us)
        unit_e4 = match.price_e4 if buys_yes else ONE_E4 - match.price_e4
        trade_fee = trade_fee_e6(listed.fee_type, multiplier_e2, match.price_e4, size_e2, taker=taker)
        fee = fill_fee(trade_fee, -unit_e4 * size_e2, order.carried_e6, self._grid_e6)
        released_e2 = min(size_e2, opposite_e2(self.store, listed.ticker, buys_yes))
        cash_e6 = ONE_E4 * released_e2 - unit_e4 * size_e2 - fee.net_e6
        position = moved(self.store.position(listed.ticker), buys_yes, unit_e4, size_e2, fee.net_e6, now_us)
        cost_e6 = unit_e4 * size_e2
        order = replace(
            order,
            filled_e2=order.filled_e2 + size_e2,
            left_e2=order.left_e2 - size_e2,
            status=Status.EXECUTED if order.left_e2 == size_e2 else Status.RESTING,
            updated_us=now_us,
            taker_cost_e6=order.taker_cost_e6 + (cost_e6 if taker else 0),
            maker_cost_e6=order.maker_cost_e6 + (0 if taker else cost_e6),
            taker_fees_e6=order.taker_fees_e6 + (fee.net_e6 if taker else 0),
            maker_fees_e6=order.maker_fees_e6 + (0 if taker else fee.net_e6),
            carried_e6=fee.carried_e6,
            reason="Trade",
        )
        fill = Fill(
            fill_id=str(uuid.uuid4()),
            number=self.store.next_fill_number(),
            order_id=order_id,
            ticker=listed.ticker,
            buys_yes=buys_yes,
            price_e4=match.price_e4,
            count_e2=size_e2,
            is_taker=taker,
            fee_e6=fee.net_e6,
            position_e2=position.position_e2,
            released_e2=released_e2,
            cash_e6=cash_e6,
            ts_us=now_us,
        )
        self.store.put_order(order)
        self.store.put_fill(fill)
        self.store.put_position(position)
        self.store.add_cash(cash_e6, now_us, listed.exchange_index)
        self.observer.filled(fill, order)
        self.observer.position_changed(position)
        if not taker:
            self.observer.order_changed(order)

    def settle(self, listed: ListedMarket, result: str, value_e4: int) -> None:
        """Pay out the position in a market; one YES pays ``value_e4``, and nothing is paid twice."""
        flat = settle(self.store, listed, result, value_e4, self.now_us())
        if flat is not None:
            self.observer.position_changed(flat)

    # -- reading ------------------------------------------------------------------------------------------------------

    def statement(self) -> Json:
        """The whole account as text decimals."""
        return statement(self.store, self.held_e6())
