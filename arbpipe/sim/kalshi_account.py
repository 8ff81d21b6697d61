"""The one account of simulated Kalshi: orders against the matching engines, fills, fees, netting, cash.

Every operation is one transaction of the store. Positions are one signed number per market: buying against what is
held releases pairs at 1 dollar each, so selling is buying the other side and nothing is ever held twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from arbpipe.sim.exchange import End, Match, Order, Resting, SelfTrade, Tif
from arbpipe.sim.kalshi_catalog import Catalog, Json, ListedMarket, count, dollars
from arbpipe.sim.kalshi_errors import refuse
from arbpipe.sim.kalshi_fees import fill_fee, most_fee_e6, trade_fee_e6
from arbpipe.sim.kalshi_orders import OrderRequest
from arbpipe.sim.kalshi_store import Fill, OrderRow, Position, Status, Store
from arbpipe.sim.market import E6_PER_E2
from arbpipe.sim.units import ONE_E4, fixed_text

__all__ = ["Account", "Observer", "Cancelled"]

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

    While ``trading`` or ``exchange`` is False, orders are refused as in a trading pause or an exchange pause.
    """

    def __init__(self, store: Store, catalog: Catalog, observer: Observer, now_us: Callable[[], int]) -> None:
        self._store = store
        self._catalog = catalog
        self._observer = observer
        self._now_us = now_us
        self.trading = True
        self.exchange = True
        for ticker in catalog.markets:
            catalog.book(ticker).observe(on_match=self._on_match)

    # -- orders -------------------------------------------------------------------------------------------------------

    def create(self, request: OrderRequest) -> Json:
        """Accept and match an order; the answer's body.

        Raises:
            Refusal: with the status and body of the reason; a refused order leaves no trace but a killed FOK's id.
        """
        self._check_open()
        listed = self._catalog.markets.get(request.ticker)
        if listed is None:
            raise refuse(404, "not_found")
        if request.price_e4 % listed.tick_e4:
            raise refuse(400, "invalid_price")
        if request.client_order_id and self._store.is_burned(request.client_order_id):
            raise refuse(409, "order_already_exists")
        count_e2 = request.count_e2
        if request.reduce_only:
            count_e2 = min(count_e2, self._closing_e2(request.ticker, request.buys_yes))
        self._check_cash(listed, request, count_e2)
        with self._store.transaction():
            order = self._new_order(request)
            killed = False
            if count_e2 == 0:
                # nothing to reduce: accepted, and cancelled at once
                order = replace(order, left_e2=0, status=Status.CANCELED, reason="ReduceOnlyCancel")
                self._store.put_order(order)
            else:
                killed = self._match(listed, request, order, count_e2)
            if request.client_order_id:
                self._store.burn(request.client_order_id)
            done = self._store.order(order.order_id)
        if killed or done is None:
            raise refuse(409, "fill_or_kill_insufficient_resting_volume")
        self._observer.order_changed(done)
        return self._created(done)

    def cancel(self, order_id: str, reason: str = "") -> Cancelled:
        """Cancel a resting order.

        Raises:
            Refusal: 404 for one that is unknown, executed or cancelled; 409 while the exchange is paused.
        """
        if not self.exchange:
            raise refuse(409, "exchange_is_paused")
        order = self._store.order(order_id)
        if order is None or order.status is not Status.RESTING:
            raise refuse(404, "not_found")
        self._catalog.book(order.ticker).cancel(order_id)
        now_us = self._now_us()
        done = replace(order, left_e2=0, status=Status.CANCELED, updated_us=now_us, reason=reason)
        with self._store.transaction():
            self._store.put_order(done)
        self._observer.order_changed(done)
        return Cancelled(done, order.left_e2, now_us // 1_000)

    def expire(self) -> None:
        """Cancel what has passed its expiration time."""
        now_s = self._now_us() // 1_000_000
        for order in self._store.orders(Status.RESTING):
            if order.expiration_s is not None and order.expiration_s <= now_s:
                self.cancel(order.order_id, "ExpiryCancel")

    def restore(self) -> None:
        """Put the resting orders of an earlier process back into the books, oldest first; what crosses now trades."""
        for order in self._store.orders(Status.RESTING):
            listed = self._catalog.markets.get(order.ticker)
            if listed is None:
                continue
            with self._store.transaction():
                self._execute(listed, order, Tif.GTC, SelfTrade.TAKER, order.left_e2, post_only=False)

    def _check_open(self) -> None:
        if not self.exchange:
            raise refuse(409, "exchange_is_paused")
        if not self.trading:
            raise refuse(409, "trading_is_paused")

    def _new_order(self, request: OrderRequest) -> OrderRow:
        now_us = self._now_us()
        return OrderRow(
            order_id=str(uuid.uuid4()),
            number=self._store.next_order_number(),
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
        )

    def _match(self, listed: ListedMarket, request: OrderRequest, order: OrderRow, count_e2: int) -> bool:
        """Send the order to its book inside the caller's transaction; True for a FOK that was killed."""
        self._store.put_order(order)
        end = self._execute(listed, order, request.tif, request.self_trade, count_e2, post_only=request.post_only)
        if end is End.KILLED:
            self._store.drop_order(order.order_id)
            return True
        if end is End.POST_ONLY:
            raise refuse(400, "invalid_order", "post only cross")
        return False

    def _execute(
        self, listed: ListedMarket, order: OrderRow, tif: Tif, self_trade: SelfTrade, count_e2: int, *, post_only: bool
    ) -> End:
        book = self._catalog.book(listed.ticker)
        execution = book.execute(
            Order(
                order_id=order.order_id,
                account=ACCOUNT,
                buys_yes=order.buys_yes,
                price_e4=order.price_e4,
                qty_e6=count_e2 * E6_PER_E2,
                tif=tif,
                post_only=post_only,
                self_trade=self_trade,
            )
        )
        for resting in execution.cancelled:
            self._self_trade_cancelled(resting)
        now = self._store.order(order.order_id)
        assert now is not None, "the order was stored before it was sent"
        if execution.end in (End.CANCELLED, End.SELF_TRADE):
            reason = "SelfTradeCancel" if execution.end is End.SELF_TRADE else now.reason
            self._store.put_order(replace(now, left_e2=0, status=Status.CANCELED, reason=reason))
        elif execution.end is End.FILLED and now.left_e2:
            # reduce_only capped the count: what was never sent is cancelled
            self._store.put_order(replace(now, left_e2=0, status=Status.CANCELED, reason="ReduceOnlyCancel"))
        return execution.end

    def _self_trade_cancelled(self, resting: Resting) -> None:
        order = self._store.order(resting.order.order_id)
        assert order is not None
        done = replace(order, left_e2=0, status=Status.CANCELED, updated_us=self._now_us(), reason="SelfTradeCancel")
        self._store.put_order(done)
        self._observer.order_changed(done)

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
            fills = self._store.fills(order.order_id)
            value_e6 = sum(fill.price_e4 * fill.count_e2 for fill in fills)
            fees_e6 = sum(fill.fee_e6 for fill in fills)
            answer["average_fill_price"] = _average(value_e6, order.filled_e2)
            answer["average_fee_paid"] = _average(fees_e6, order.filled_e2)
        return answer

    # -- cash ---------------------------------------------------------------------------------------------------------

    def held_e6(self) -> int:
        """What the resting orders hold back: their cost at the limit, less what they would only close."""
        closing: dict[tuple[str, bool], int] = {}
        held_e6 = 0
        for order in self._store.orders(Status.RESTING):
            key = (order.ticker, order.buys_yes)
            if key not in closing:
                closing[key] = self._opposite_e2(order.ticker, order.buys_yes)
            free_e2 = min(order.left_e2, closing[key])
            closing[key] -= free_e2
            held_e6 += order.unit_e4 * (order.left_e2 - free_e2)
        return held_e6

    def available_e6(self) -> int:
        """Cash that is not held back."""
        return self._store.cash()[0] - self.held_e6()

    def _opposite_e2(self, ticker: str, buys_yes: bool) -> int:
        """How many contracts of the other side are held."""
        position_e2 = self._store.position(ticker).position_e2
        return max(0, -position_e2 if buys_yes else position_e2)

    def _closing_e2(self, ticker: str, buys_yes: bool) -> int:
        """How many contracts an order could close, beyond what resting orders already would."""
        resting = self._store.orders(Status.RESTING)
        promised = sum(o.left_e2 for o in resting if o.ticker == ticker and o.buys_yes is buys_yes)
        return max(0, self._opposite_e2(ticker, buys_yes) - promised)

    def _check_cash(self, listed: ListedMarket, request: OrderRequest, count_e2: int) -> None:
        """An order must be payable at its limit with the largest fee; what it only closes pays for itself."""
        opening_e2 = max(0, count_e2 - self._closing_e2(request.ticker, request.buys_yes))
        unit_e4 = request.price_e4 if request.buys_yes else ONE_E4 - request.price_e4
        offers = self._catalog.book(listed.ticker).levels()[1 if request.buys_yes else 0]
        fills = 1 + len(offers)
        fee_e6 = most_fee_e6(listed.fee_type, listed.multiplier_e2, unit_e4, opening_e2, fills) if opening_e2 else 0
        if unit_e4 * opening_e2 + fee_e6 > self.available_e6():
            raise refuse(400, "insufficient_balance")

    # -- fills --------------------------------------------------------------------------------------------------------

    def _on_match(self, match: Match) -> None:
        listed = self._catalog.markets[match.market.split(":", 1)[1]]
        tape = listed.tape
        tape.last_e4, tape.size_e2 = match.price_e4, match.qty_e6 // E6_PER_E2
        tape.volume_e2 += tape.size_e2
        if match.taker_order_id is not None:
            self._book(listed, match, match.taker_order_id, match.taker_buys_yes, taker=True)
        if match.maker_order_id is not None:
            # a quote of the market maker met a resting order: nobody else has opened a transaction
            if match.taker_order_id is None:
                with self._store.transaction():
                    self._book(listed, match, match.maker_order_id, not match.taker_buys_yes, taker=False)
            else:
                self._book(listed, match, match.maker_order_id, not match.taker_buys_yes, taker=False)

    def _book(self, listed: ListedMarket, match: Match, order_id: str, buys_yes: bool, *, taker: bool) -> None:
        order = self._store.order(order_id)
        assert order is not None
        now_us, size_e2 = self._now_us(), match.qty_e6 // E6_PER_E2
        unit_e4 = match.price_e4 if buys_yes else ONE_E4 - match.price_e4
        trade_fee = trade_fee_e6(listed.fee_type, listed.multiplier_e2, match.price_e4, size_e2, taker=taker)
        fee = fill_fee(trade_fee, -unit_e4 * size_e2, order.carried_e6)
        released_e2 = min(size_e2, self._opposite_e2(listed.ticker, buys_yes))
        cash_e6 = ONE_E4 * released_e2 - unit_e4 * size_e2 - fee.net_e6
        position = moved(self._store.position(listed.ticker), buys_yes, unit_e4, size_e2, fee.net_e6, now_us)
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
            number=self._store.next_fill_number(),
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
        self._store.put_order(order)
        self._store.put_fill(fill)
        self._store.put_position(position)
        self._store.add_cash(cash_e6, now_us)
        self._observer.filled(fill, order)
        self._observer.position_changed(position)
        if not taker:
            self._observer.order_changed(order)

    # -- reading ------------------------------------------------------------------------------------------------------

    def statement(self) -> Json:
        """The whole account as text decimals, for comparison with somebody else's ledger."""
        cash_e6 = self._store.cash()[0]
        return {
            "cash": fixed_text(cash_e6, 6, 6),
            "held": fixed_text(self.held_e6(), 6, 6),
            "positions": {p.ticker: count(p.position_e2) for p in self._store.positions() if p.position_e2},
            "fills": [
                {
                    "fill_id": fill.fill_id,
                    "order_id": fill.order_id,
                    "ticker": fill.ticker,
                    "side": "yes" if fill.buys_yes else "no",
                    "yes_price": dollars(fill.price_e4),
                    "count": count(fill.count_e2),
                    "fee": fixed_text(fill.fee_e6, 6, 6),
                    "released": count(fill.released_e2),
                    "cash": fixed_text(fill.cash_e6, 6, 6),
                    "is_taker": fill.is_taker,
                    "ts_us": fill.ts_us,
                }
                for fill in self._store.fills()
            ],
            "orders": [
                {
                    "order_id": order.order_id,
                    "client_order_id": order.client_order_id,
                    "ticker": order.ticker,
                    "side": "bid" if order.buys_yes else "ask",
                    "price": dollars(order.price_e4),
                    "count": count(order.count_e2),
                    "filled": count(order.filled_e2),
                    "left": count(order.left_e2),
                    "status": order.status.value,
                }
                for order in self._store.orders()
            ],
        }


def _average(total_e6: int, count_e2: int) -> str:
    """Dollars per contract in 4 decimals, as recorded, or up to 6 where 4 would not say it exactly."""
    average_e6 = (200 * total_e6 + count_e2) // (2 * count_e2)
    text = fixed_text(average_e6, 6, 6)
    return text[:-2] + text[-2:].rstrip("0")


def moved(position: Position, buys_yes: bool, unit_e4: int, size_e2: int, fee_e6: int, now_us: int) -> Position:
    """The position after buying ``size_e2`` of one side at ``unit_e4`` a contract: closes what it can, then opens."""
    sign = 1 if buys_yes else -1
    held_e2 = abs(position.position_e2)
    closed_e2 = min(size_e2, held_e2) if position.position_e2 * sign < 0 else 0
    gone_e6 = position.cost_e6 * closed_e2 // held_e2 if closed_e2 else 0
    opened_e2 = size_e2 - closed_e2
    return Position(
        ticker=position.ticker,
        position_e2=position.position_e2 + sign * size_e2,
        cost_e6=position.cost_e6 - gone_e6 + unit_e4 * opened_e2,
        traded_e6=position.traded_e6 + unit_e4 * size_e2,
        realized_e6=position.realized_e6 + (ONE_E4 - unit_e4) * closed_e2 - gone_e6,
        fees_e6=position.fees_e6 + fee_e6,
        volume_e2=position.volume_e2 + size_e2,
        updated_us=now_us,
    )
