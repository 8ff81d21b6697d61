"""The trading rules of the simulated venue: what is accepted, what it costs, what becomes of it (polymarket.md 2 and 5).

Synchronous: REST and the upkeep of time call in, the clock is an argument. Each order is
matched and written in one transaction before anybody hears of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from arbpipe.sim.orders import End, Execution, Match, Order, Tif
from arbpipe.sim.polymarket_account import AccountStore, OrderRow, TradeRow
from arbpipe.sim.polymarket_auth import Credentials, VenueError
from arbpipe.sim.polymarket_books import Frame, MarketView
from arbpipe.sim.polymarket_checks import NO_MONEY, check_expiration, verified_id
from arbpipe.sim.polymarket_fills import fills_of, most_needed_e6
from arbpipe.sim.polymarket_limits import SignerLimits
from arbpipe.sim.polymarket_orders import OrderRequest, OrderType, Terms, terms_of
from arbpipe.sim.polymarket_shapes import order_event, posted, trade_event
from arbpipe.sim.polymarket_wire import MIN_ORDER_SIZE
from arbpipe.sim.timeline import Trade
from arbpipe.sim.units import ONE_E4

__all__ = ["Rules", "Exchange"]

_NO_BOOK: Final = "No orderbook exists for the requested token id"
_CROSSES: Final = "invalid post-only order: order crosses book"
_FOK_KILLED: Final = "order couldn't be fully filled. FOK orders are fully filled or killed."
_FAK_KILLED: Final = (
    "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."
)
_TIF: Final = {OrderType.GTC: Tif.GTC, OrderType.GTD: Tif.GTC, OrderType.FOK: Tif.FOK, OrderType.FAK: Tif.IOC}


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between simulations.

    ``settle_s``: from MATCHED to CONFIRMED, MINED half way. ``heartbeat_s``: the dead-man switch; checked every
    ``heartbeat_check_s``. ``flat_market_amounts``: see :func:`~arbpipe.sim.polymarket_orders.terms_of`.
    ``seconds_delay``: taker delay by condition id. ``rate_limits``: whether
    :class:`~arbpipe.sim.polymarket_limits.SignerLimits` refuse.
    """

    settle_s: float = 0.3
    heartbeat_s: float = 10.0
    heartbeat_check_s: float = 5.0
    flat_market_amounts: bool = True
    seconds_delay: Mapping[str, int] = field(default_factory=dict)
    rate_limits: bool = True


class Exchange:
    """All markets and all accounts. ``on_frames`` hears what the public sees, ``on_user`` what an API key's owner sees.

    ``on_user`` is called with the API key, the condition id and the message.
    """

    def __init__(
        self, store: AccountStore, views: Sequence[MarketView], rules: Rules, now_ms: Callable[[], int]
    ) -> None:
        self.store = store
        self.views = tuple(views)
        self.by_token = {token: view for view in views for token in view.assets}
        self.by_condition = {view.listing.condition_id: view for view in views}
        self.on_frames: Callable[[Sequence[Frame]], None] = lambda frames: None
        self.on_user: Callable[[str, str, dict[str, object]], None] = lambda owner, condition, message: None
        self.now_ms = now_ms
        self.rules = rules
        self.limits = SignerLimits() if rules.rate_limits else None
        for view in self.views:
            view.seconds_delay = rules.seconds_delay.get(view.listing.condition_id, 0)
            view.engine.observe(on_match=self._on_match)

    # -- markets ------------------------------------------------------------------------------------------------------

    def view_of(self, token: str) -> MarketView:
        """The market of a token.

        Raises:
            VenueError: 404.
        """
        view = self.by_token.get(token)
        if view is None:
            raise VenueError(404, _NO_BOOK)
        return view

    def market_moved(self, key: str, trade: Trade | None) -> None:
        """The scenario changed a market's quotes: tell the public. ``key`` may be a market of another venue."""
        view = self.by_condition.get(key.partition(":")[2])
        if view is not None:
            if trade is not None:
                view.print_trade(trade)
            self._publish(view)

    def set_tick(self, condition: str, tick_e4: int) -> None:
        """Change a market's smallest price step."""
        self.on_frames(self.by_condition[condition].set_tick(tick_e4))

    def _publish(self, view: MarketView) -> None:
        frames = view.flush()
        if frames:
            self.on_frames(frames)

    # -- placing ------------------------------------------------------------------------------------------------------

    def place(self, caller: Credentials, request: OrderRequest) -> dict[str, object]:
        """Take one order; the answer of ``POST /order``.

        Raises:
            VenueError: the order is refused; nothing has changed, but for a killed FOK or FAK, which is remembered.
        """
        signed, now_ms = request.order, self.now_ms()
        view = self.view_of(signed.token_id)
        if request.owner != caller.key:
            raise VenueError(400, "the order owner has to be the owner of the API KEY")
        wallet = self.store.wallet(caller.signer)
        if wallet is None:
            raise VenueError(400, NO_MONEY)
        order_id = verified_id(request.order, view.listing, wallet)
        if self.store.order(order_id) is not None:
            raise VenueError(400, f"order {order_id} is invalid. Duplicated.")
        check_expiration(request, now_ms)
        if request.post_only and not request.order_type.rests:
            raise VenueError(400, f"invalid post-only order: {request.order_type.value} orders never rest")
        minimum_e6 = int(MIN_ORDER_SIZE) * 1_000_000
        flat = self.rules.flat_market_amounts
        terms = terms_of(request, order_id, view.tick_e4, minimum_e6, flat=flat)
        row = OrderRow(
            id=order_id,
            number=self.store.next_number("orders"),
            owner=caller.key,
            signer=caller.signer,
            funder=wallet.funder,
            condition=view.listing.condition_id,
            token=signed.token_id,
            is_buy=int(signed.is_buy),
            price_e4=terms.limit_e4,
            qty_e6=terms.qty_e6,
            cash_e6=terms.cash_e6,
            matched_e6=0,
            moved_e6=0,
            order_type=request.order_type.value,
            post_only=int(request.post_only),
            expiration=signed.expiration,
            status="LIVE",
            created_ms=now_ms,
        )
        self.check_money(row, view)
        if view.seconds_delay and not request.post_only and (not request.order_type.rests or self._meets(row, view)):
            row = replace(row, status="DELAYED")
            with self.store.transaction():
                self.store.add_order(row)
            self.tell_order(row, "PLACEMENT")
            return posted(row, "delayed", [])
        return self.match(row, view, known=False)

    def _yes_price(self, row: OrderRow, view: MarketView) -> tuple[bool, int]:
        """The order on the YES book: whether it buys YES there, and its limit."""
        is_yes = row.token == view.listing.yes_token
        return bool(row.is_buy) == is_yes, row.price_e4 if is_yes else ONE_E4 - row.price_e4

    def _reachable(self, row: OrderRow, view: MarketView) -> list[tuple[int, int]]:
        """What the order can meet now, as prices of its own token and shares, best first."""
        buys_yes, limit_e4 = self._yes_price(row, view)
        levels = view.engine.levels()[1 if buys_yes else 0]
        met = [(price, qty) for price, qty in levels if (price <= limit_e4 if buys_yes else price >= limit_e4)]
        is_yes = row.token == view.listing.yes_token
        return [(price if is_yes else ONE_E4 - price, qty) for price, qty in met]

    def _meets(self, row: OrderRow, view: MarketView) -> bool:
        return bool(self._reachable(row, view))

    def check_money(self, row: OrderRow, view: MarketView) -> None:
        """Refuse what the wallet cannot pay, fees and other open orders included (polymarket.md 2.7)."""
        others = [o for o in self.store.orders({"funder": row.funder}, open_only=True) if o.id != row.id]
        if not row.is_buy:
            held = self.store.position(row.funder, row.token).settled_e6
            promised = sum(o.left_e6 for o in others if not o.is_buy and o.token == row.token)
            if held - promised < row.qty_e6:
                raise VenueError(400, NO_MONEY)
            return
        wallet = self.store.wallet(row.signer)
        assert wallet is not None
        promised = sum(self._needed(other) for other in others if other.is_buy)
        if wallet.cash_e6 - promised < self._needed(row, self._reachable(row, view)):
            raise VenueError(400, NO_MONEY)

    def _needed(self, row: OrderRow, asks: Sequence[tuple[int, int]] = ()) -> int:
        rate_e4 = self.by_condition[row.condition].market.rate_e4
        return most_needed_e6(Terms(row.price_e4, row.left_e6, row.cash_e6), rate_e4, asks)

    # -- matching -----------------------------------------------------------------------------------------------------

    def _engine_order(self, row: OrderRow, view: MarketView) -> Order:
        buys_yes, price_e4 = self._yes_price(row, view)
        in_dollars = row.cash_e6 is not None
        return Order(
            order_id=row.id,
            account=row.funder,
            buys_yes=buys_yes,
            price_e4=price_e4,
            # the budget alone limits an order in dollars: better prices give more shares than it asked for
            qty_e6=row.cash_e6 * ONE_E4 if row.cash_e6 is not None else row.left_e6,
            tif=_TIF[OrderType(row.order_type)],
            max_cash_e6=row.cash_e6 if in_dollars else None,
            post_only=bool(row.post_only),
        )

    def match(self, row: OrderRow, view: MarketView, *, known: bool) -> dict[str, object]:
        """Give an order to the engine, write all it did in one transaction, then tell. ``known``: it was delayed."""
        execution = view.engine.execute(self._engine_order(replace(row, status="LIVE"), view))
        if execution.end is End.POST_ONLY:
            raise VenueError(400, _CROSSES)
        row, trades = self._settle_taker(row, view, execution, known=known)
        self._publish(view)
        if row.status == "UNMATCHED":
            if known:
                self.tell_order(row, "UPDATE")
            # a limit order ends so only where it meets an order of its own account
            texts = {"FOK": _FOK_KILLED, "FAK": _FAK_KILLED}
            raise VenueError(400, texts.get(row.order_type, f"order {row.id} crosses the book"))
        self.tell_order(row, "UPDATE" if known else "PLACEMENT")
        for trade in trades:
            self.tell_trade(trade)
        return posted(row, "matched" if trades else "live", trades)

    def _settle_taker(
        self, row: OrderRow, view: MarketView, execution: Execution, *, known: bool
    ) -> tuple[OrderRow, list[TradeRow]]:
        is_yes = row.token == view.listing.yes_token
        parts = [(m.price_e4 if is_yes else ONE_E4 - m.price_e4, m.qty_e6) for m in execution.matches]
        fills = fills_of(parts, is_buy=bool(row.is_buy), rate_e4=view.market.rate_e4)
        trades: list[TradeRow] = []
        if execution.end is End.RESTING:
            status = "LIVE"
        else:
            status = "MATCHED" if fills else "UNMATCHED"
        with self.store.transaction():
            number = self.store.next_number("trades")
            for offset, (fill, match) in enumerate(zip(fills, execution.matches, strict=True)):
                trade = TradeRow(
                    id=str(uuid.uuid4()),
                    number=number + offset,
                    order_id=row.id,
                    owner=row.owner,
                    funder=row.funder,
                    condition=row.condition,
                    token=row.token,
                    is_buy=row.is_buy,
                    price_e4=fill.price_e4,
                    qty_e6=fill.qty_e6,
                    cash_e6=fill.cash_e6,
                    fee_e6=fill.fee_e6,
                    is_taker=1,
                    other_order=match.maker_order_id or view.transaction_hash(match),
                    tx_hash=view.transaction_hash(match),
                    status="MATCHED",
                    match_ms=self.now_ms(),
                    update_ms=self.now_ms(),
                )
                trades.append(trade)
                self._book_trade(trade)
            row = replace(
                row,
                status=status,
                matched_e6=row.matched_e6 + sum(trade.qty_e6 for trade in trades),
                moved_e6=row.moved_e6 + sum(trade.cash_e6 for trade in trades),
            )
            if known:
                self.store.update_order(row)
            else:
                self.store.add_order(row)
        return row, trades

    def _book_trade(self, trade: TradeRow) -> None:
        """Write a trade and what it moves: dollars at once, bought shares as pending until the trade is CONFIRMED."""
        self.store.add_trade(trade)
        if trade.is_buy:
            self.store.move_cash(trade.funder, -trade.cash_e6 - trade.fee_e6)
            self.store.move_shares(trade.funder, trade.token, 0, trade.qty_e6)
        else:
            self.store.move_cash(trade.funder, trade.cash_e6 - trade.fee_e6)
            self.store.move_shares(trade.funder, trade.token, -trade.qty_e6, 0)

    def _on_match(self, match: Match) -> None:
        """Somebody took a resting order of ours: a maker's fill, without a fee."""
        row = self.store.order(match.maker_order_id) if match.maker_order_id else None
        if row is None:
            return
        view = self.by_condition[row.condition]
        is_yes = row.token == view.listing.yes_token
        price_e4 = match.price_e4 if is_yes else ONE_E4 - match.price_e4
        (fill,) = fills_of([(price_e4, match.qty_e6)], is_buy=bool(row.is_buy), rate_e4=0)
        transaction = view.transaction_hash(match)
        now_ms = self.now_ms()
        with self.store.transaction():
            trade = TradeRow(
                id=str(uuid.uuid4()),
                number=self.store.next_number("trades"),
                order_id=row.id,
                owner=row.owner,
                funder=row.funder,
                condition=row.condition,
                token=row.token,
                is_buy=row.is_buy,
                price_e4=price_e4,
                qty_e6=fill.qty_e6,
                cash_e6=fill.cash_e6,
                fee_e6=0,
                is_taker=0,
                other_order=match.taker_order_id or "0x" + transaction[:1:-1],
                tx_hash=transaction,
                status="MATCHED",
                match_ms=now_ms,
                update_ms=now_ms,
            )
            self._book_trade(trade)
            matched_e6 = row.matched_e6 + fill.qty_e6
            status = "MATCHED" if matched_e6 >= row.qty_e6 else "LIVE"
            row = replace(row, matched_e6=matched_e6, moved_e6=row.moved_e6 + fill.cash_e6, status=status)
            self.store.update_order(row)
        self.tell_trade(trade)
        self.tell_order(row, "UPDATE")

    # -- cancelling ---------------------------------------------------------------------------------------------------

    def cancel(self, owner: str, order_ids: Sequence[str], status: str = "CANCELED") -> dict[str, object]:
        """Cancel resting orders of one API key; the answer of every cancel route."""
        canceled: list[str] = []
        not_canceled: dict[str, str] = {}
        for order_id in dict.fromkeys(order_ids):
            row = self.store.order(order_id)
            if row is None or row.owner != owner or row.status not in ("LIVE", "DELAYED", "MATCHED"):
                not_canceled[order_id] = "Order not found or already canceled"
            elif row.status == "MATCHED":
                not_canceled[order_id] = "Order already matched"
            elif row.status == "DELAYED":
                not_canceled[order_id] = "Order is delayed: it cannot be canceled before it is matched"
            else:
                self.cancel_row(row, status)
                canceled.append(order_id)
        return {"canceled": canceled, "not_canceled": not_canceled}

    def cancel_row(self, row: OrderRow, status: str) -> None:
        """End a resting order with this status."""
        view = self.by_condition[row.condition]
        row = replace(row, status=status)
        with self.store.transaction():
            self.store.update_order(row)
        view.engine.cancel(row.id)
        self._publish(view)
        self.tell_order(row, "CANCELLATION")

    def cancel_all(self, owner: str, where: Mapping[str, object] | None = None) -> dict[str, object]:
        """Cancel every resting order of an API key, or those with these column values."""
        rows = self.store.orders({"owner": owner, **(where or {})}, open_only=True)
        return self.cancel(owner, [row.id for row in rows])

    def heartbeat(self, owner: str, sent: str) -> str:
        """Renew the dead-man switch; the id that the next heartbeat must carry.

        Raises:
            VenueError: 400 with the id that was expected.
        """
        known = self.store.heartbeat(owner)
        if known is not None and sent != known[0]:
            raise VenueError(
                400, "Invalid Heartbeat ID", {"heartbeat_id": known[0], "error_msg": "Invalid Heartbeat ID"}
            )
        fresh = str(uuid.uuid4())
        self.store.set_heartbeat(owner, fresh, self.now_ms())
        return fresh

    # -- telling ------------------------------------------------------------------------------------------------------

    def tell_order(self, row: OrderRow, kind: str) -> None:
        """Say on the user channel where an order stands; ``kind`` is PLACEMENT, UPDATE or CANCELLATION."""
        label = self.by_condition[row.condition].label(row.token)
        trades = self.store.trades({"order_id": row.id})
        self.on_user(row.owner, row.condition, order_event(row, label, trades, kind, self.now_ms()))

    def tell_trade(self, trade: TradeRow) -> None:
        """Say on the user channel where a trade stands."""
        label = self.by_condition[trade.condition].label(trade.token)
        self.on_user(trade.owner, trade.condition, trade_event(trade, label, self.now_ms()))
