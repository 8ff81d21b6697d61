"""Orders at Kalshi: placed, cancelled, looked up, and stated in the venue's own figures (kalshi.md 3.4 … 3.7).

One order is one signed request, never repeated. What its answer leaves open is UNKNOWN (F40), and so is a client id that the
venue says exists (F41): both are looked up. Cancelled is only ever one order by its id and its market, never all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Sequence

import msgspec

from arbpipe.errors import EnvironmentRefused
from arbpipe.fixedpoint import FixedPointError, parse_qty_e6
from arbpipe.identity import Venue
from arbpipe.venues.base import Order, Outcome, OutcomeState, Position, TimeInForce
from arbpipe.venues.kalshi.account import KalshiAccount, KalshiPatience, unknown
from arbpipe.venues.kalshi.auth import KalshiSigner, wall_ms
from arbpipe.venues.kalshi.budget import CANCEL_COST, READ_COST, WRITE_COST, Bucket, WriteBudget
from arbpipe.venues.kalshi.lookup import Fence, Lookup
from arbpipe.venues.kalshi.orders import (
    BATCH_PATH,
    ORDERS_PATH,
    BatchAnswer,
    BatchEntry,
    Cancelled,
    batch_body,
    batch_cancel_body,
    fence_body,
    order_body,
    order_refusal,
)
from arbpipe.venues.kalshi.outcomes import ALREADY_EXISTS, INACTIVE, entry_refusal, refusal
from arbpipe.venues.kalshi.private import KalshiPrivate
from arbpipe.venues.kalshi.rest import Answer, CreatedOrder, KalshiRest, Limits, NoAnswer, NotConnected, VenueRefused
from arbpipe.venues.kalshi.upkeep import Shards, Upkeep
from arbpipe.venues.news import News

__all__ = ["KalshiGateway", "KalshiPatience"]


def _rejected(why: str) -> Outcome:
    return Outcome(OutcomeState.REJECTED, (), f"not sent: {why}")


class KalshiGateway:
    """The live gateway; implements :class:`arbpipe.venues.base.Gateway`."""

    venue = Venue.KALSHI

    def __init__(
        self,
        rest_url: str,
        signer: KalshiSigner,
        tls: ssl.SSLContext | None,
        *,
        ws_url: str = "",
        tickers: Callable[[], Collection[str]] = tuple,
        now_ms: Callable[[], int] = wall_ms,
        patience: KalshiPatience | None = None,
    ) -> None:
        """``ws_url``: the private stream; without it nobody tells any news. ``tickers``: the markets that may be traded,
        whose shards are learned before they are needed; others the venue routes. ``now_ms``: wall clock, for signatures and
        for when an order was sent.

        Raises:
            EnvironmentRefused: ``rest_url`` is no address.
        """
        self._rest = KalshiRest(rest_url, signer, tls, now_ms=now_ms)
        self._now_ms = now_ms
        self._patience = patience or KalshiPatience()
        self._budget: WriteBudget | None = None
        self._news = News()
        self._account = KalshiAccount(self._rest, self._patience, self._news, now_ms)
        self._lookup = Lookup(self._account, self._news, self._patience, now_ms, self._fence)
        self._signer = signer
        self._tls = tls
        self._ws_url = ws_url
        self.shards = Shards(self._rest, tickers, timeout_s=self._patience.read_s)
        self._upkeep = Upkeep(
            self._rest,
            signer,
            self.shards,
            now_ms=now_ms,
            connections=self._patience.warm,
            every_s=self._patience.warm_s,
            timeout_s=self._patience.read_s,
        )
        self.stream: KalshiPrivate | None = None

    # -- connection --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, check the key, read the rate limits, the shards, and the positions that netting starts from.

        Raises:
            EnvironmentRefused: the venue refuses the key (401, 403).
            ArbpipeError: it cannot be reached, or answers something else than it should.
        """
        await self._rest.start()
        try:
            status = await self._rest.ask("GET", "/exchange/status", timeout_s=self._patience.read_s)
            if status.status != 200:
                raise VenueRefused(f"kalshi's exchange status is HTTP {status.status}: wait until it is up again")
            limits = await self._signed("/account/limits", Limits)
            try:
                self._budget = WriteBudget(limits.write.refill_rate, limits.write.bucket_capacity)
                self._rest.reads = Bucket(limits.read.refill_rate, limits.read.bucket_capacity, least=READ_COST)
            except ValueError as error:
                raise VenueRefused(f"kalshi's account limits cannot be right: {error}") from None
            await self._account.seed()
            await self._upkeep.begin()
            if self._ws_url:
                self.stream = KalshiPrivate(self._ws_url, self._signer, self._tls, self._news.tell, now_ms=self._now_ms)
                self.stream.start()
        except BaseException:
            await self.close()
            raise

    async def _signed(self, path: str, kind: type[Limits]) -> Limits:
        answer = await self._rest.ask("GET", path, timeout_s=self._patience.read_s)
        if answer.status in (401, 403):
            _, error = refusal(answer.status, answer.body)
            raise EnvironmentRefused(
                f"kalshi refuses the key with {answer.status} ({error}): check kalshi.key_id, the key file and the clock"
            )
        if answer.status != 200:
            raise VenueRefused(f"kalshi answered GET {path} with {answer.status}: try again later")
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            raise VenueRefused(f"kalshi's answer to GET {path} cannot be read: {error}") from None

    async def close(self) -> None:
        """Let go of the connections; nothing is cancelled."""
        await self._upkeep.end()
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.stop()
        await self._rest.stop()

    # -- placing -----------------------------------------------------------------------------------------------------

    async def place(self, order: Order) -> Outcome:
        """Send an order once, signed on sending; see :class:`~arbpipe.venues.base.Gateway`."""
        wrong = order_refusal(order)
        if wrong:
            return _rejected(wrong)
        budget = self._budget
        if budget is None:
            return _rejected("the gateway is not open")
        if self._lookup.is_open(order):
            return await self.lookup(order)  # it was sent, and a refusal of a second one would say nothing about it
        shard = self.shards.of(order.native_id)
        if order.reduce_only:
            may = await budget.wait(shard, self._patience.budget_s)
        else:
            may = budget.take(shard, lowers_risk=False)
        if not may:
            return _rejected("rate budget")
        body = order_body(order, shard, reduce_only=self._reduces(order))
        sent = self._lookup.sending(order)
        self._news.asked(order.client_id)
        try:
            answer = await self._rest.ask("POST", ORDERS_PATH, body=body, timeout_s=self._patience.order_s)
        except NotConnected as error:
            return self._lookup.done(order, _rejected(str(error)))
        except NoAnswer as error:
            return unknown(str(error))
        finally:
            sent.last_ms = self._now_ms()
        if answer.status in (200, 201):
            return self._lookup.done(order, await self._accepted(order, answer.body))
        state, said = refusal(answer.status, answer.body)
        if answer.status == 429:
            budget.empty(shard)
        if said.code == ALREADY_EXISTS:
            return await self._lookup.find(order, exists=True)
        return self._lookup.done(order, Outcome(state, (), f"HTTP {answer.status}: {said}"))

    def _reduces(self, order: Order) -> bool:
        # what was netted against another lot is not there to be reduced: selling it is buying the other side back
        return order.reduce_only and self._account.holds(order)

    async def _accepted(self, order: Order, body: bytes) -> Outcome:
        """The venue took the order: what it filled, in its own figures."""
        try:
            made = msgspec.json.decode(body, type=CreatedOrder)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return unknown(f"the answer to the order cannot be read: {error}")
        return await self._made(order, made)

    async def _made(self, order: Order, made: CreatedOrder) -> Outcome:
        try:
            filled, left = parse_qty_e6(made.fill_count), parse_qty_e6(made.remaining_count)
        except FixedPointError as error:
            return unknown(f"the answer to the order cannot be read: {error}")
        if made.client_order_id not in (None, "", order.client_id):
            return unknown(f"the answer is about client id {made.client_order_id!r}, not {order.client_id}")
        if left and order.time_in_force is not TimeInForce.GTC:
            return unknown(
                f"order {made.order_id} left {left / 1e6} resting although it was {order.time_in_force.value}"
            )
        if left:
            self._lookup.resting[order.client_id] = made.order_id
        return await self._account.filled(order, made.order_id, filled, sent_here=True, resting=left > 0)

    async def place_batch(self, orders: Sequence[Order]) -> tuple[Outcome, ...]:
        """Send several orders in one request; an outcome for each, in their order. Not atomic: each stands for itself.

        A batch that does not fit into the rate budget is not sent at all.
        """
        outcomes = {at: _rejected(wrong) for at, order in enumerate(orders) if (wrong := order_refusal(order))}
        going = [(at, order) for at, order in enumerate(orders) if at not in outcomes]
        open_ones = [(at, order) for at, order in going if self._lookup.is_open(order)]
        going = [(at, order) for at, order in going if not self._lookup.is_open(order)]
        budget, cost = self._budget, WRITE_COST * len(going)
        if budget is None:
            outcomes.update((at, _rejected("the gateway is not open")) for at, _ in [*going, *open_ones])
            return tuple(outcomes[at] for at in range(len(orders)))
        if going and all(order.reduce_only for _, order in going):
            may = await budget.wait(0, self._patience.budget_s, cost)
        else:
            may = budget.take(0, lowers_risk=False, cost=cost)
        if not may:
            outcomes.update((at, _rejected(f"rate budget for a batch of {len(going)}")) for at, _ in going)
        elif going:
            answers = await self._send_batch(budget, [order for _, order in going])
            outcomes.update((at, outcome) for (at, _), outcome in zip(going, answers, strict=True))
        for at, order in open_ones:
            outcomes[at] = await self.lookup(order)
        return tuple(outcomes[at] for at in range(len(orders)))

    async def _send_batch(self, budget: WriteBudget, orders: Sequence[Order]) -> list[Outcome]:
        body = batch_body([(order, self.shards.of(order.native_id), self._reduces(order)) for order in orders])
        sent = [self._lookup.sending(order) for order in orders]
        self._news.asked(*(order.client_id for order in orders))
        try:
            answer = await self._rest.ask("POST", BATCH_PATH, body=body, timeout_s=self._patience.order_s)
        except NotConnected as error:
            return [self._lookup.done(order, _rejected(str(error))) for order in orders]
        except NoAnswer as error:
            return [unknown(str(error)) for _ in orders]
        finally:
            for each in sent:
                each.last_ms = self._now_ms()
        if answer.status not in (200, 201):
            state, said = refusal(answer.status, answer.body)
            if answer.status == 429:
                budget.empty(0)
            why = f"HTTP {answer.status}: {said}"
            if said.code == ALREADY_EXISTS:
                state = OutcomeState.UNKNOWN  # of which of them, it does not say
            return [self._lookup.done(order, Outcome(state, (), why)) for order in orders]
        entries = _in_order([order.client_id for order in orders], _entries(answer))
        if entries is None:
            return [unknown("the batch's answer does not say which entry is about which order") for _ in orders]
        return list(await asyncio.gather(*map(self._entry, orders, entries)))

    async def _entry(self, order: Order, entry: BatchEntry) -> Outcome:
        """One order's part of a batch's answer."""
        if entry.error is not None and (entry.order_id or entry.fill_count):
            return unknown("the batch's answer names an order and an error at once")
        if entry.error is not None:
            state = entry_refusal(entry.error.code)
            if entry.error.code == ALREADY_EXISTS:
                return await self._lookup.find(order, exists=True)
            why = f"in the batch: {entry.error.code or 'no code'} {entry.error.message} {entry.error.details}".rstrip()
            return self._lookup.done(order, Outcome(state, (), why))
        if entry.order_id is None or entry.fill_count is None or entry.remaining_count is None:
            return unknown("the batch's answer says neither what was filled nor why not")
        made = CreatedOrder(entry.order_id, entry.fill_count, entry.remaining_count, entry.client_order_id)
        return self._lookup.done(order, await self._made(order, made))

    # -- cancelling --------------------------------------------------------------------------------------------------

    async def cancel(self, order: Order) -> Outcome:
        """Take what rests of one of our orders out of the book, and say what it filled until then.

        That there was nothing to cancel (404) never says that nothing was filled (F50): then it is looked up.
        """
        order_id = self._lookup.resting.get(order.client_id)
        if order_id is None:
            found = await self.lookup(order)
            order_id = self._lookup.resting.get(order.client_id)
            if order_id is None:
                return found
        shard = self.shards.of(order.native_id)
        if self._budget is None or not await self._budget.wait(shard, self._patience.budget_s, CANCEL_COST):
            return unknown("not cancelled: the gateway is not open, or the rate budget is used up")
        query: dict[str, str | int] = {"market_ticker": order.native_id, "subaccount": 0}
        if shard is not None:
            query["exchange_index"] = shard
        self._news.asked(order.client_id)
        try:
            answer = await self._rest.ask(
                "DELETE", f"{ORDERS_PATH}/{order_id}", query, timeout_s=self._patience.order_s
            )
        except NoAnswer:
            return await self.lookup(order)
        if answer.status == 429:
            self._budget.empty(shard)
        if answer.status != 200:
            return await self.lookup(order)
        try:
            done = msgspec.json.decode(answer.body, type=Cancelled)
            reduced = parse_qty_e6(done.reduced_by)
        except (msgspec.MsgspecError, UnicodeDecodeError, FixedPointError):
            return await self.lookup(order)
        return await self._cancelled(order, order_id, reduced)

    async def _cancelled(self, order: Order, order_id: str, reduced_e6: int) -> Outcome:
        filled = order.size_e2 * 10_000 - reduced_e6
        return self._lookup.done(order, await self._account.filled(order, order_id, filled, sent_here=True))

    async def cancel_batch(self, orders: Sequence[Order]) -> tuple[Outcome, ...]:
        """Cancel these orders, each by its id, in as few requests as the rate budget allows; an outcome for each. One whose
        cancellation is not confirmed is looked up; one that we do not know to rest is only looked up."""
        rests = self._lookup.resting
        names = [(rests[o.client_id], o.native_id, self.shards.of(o.native_id)) for o in orders if o.client_id in rests]
        entries: dict[str, BatchEntry] = {}
        at_once = self._budget.capacity // CANCEL_COST if self._budget is not None else 0
        for first in range(0, len(names), max(at_once, 1)):
            some = names[first : first + at_once]
            if self._budget is None or not await self._budget.wait(0, self._patience.budget_s, CANCEL_COST * len(some)):
                break
            try:
                answer = await self._rest.ask(
                    "DELETE", BATCH_PATH, body=batch_cancel_body(some), timeout_s=self._patience.order_s
                )
            except NoAnswer:
                continue
            if answer.status == 200:
                entries |= {entry.order_id: entry for entry in _entries(answer) if entry.order_id is not None}

        async def ended(order: Order) -> Outcome:
            name = rests.get(order.client_id, "")
            entry = entries.get(name)
            if entry is None or entry.error is not None or entry.reduced_by is None:
                return await self.lookup(order)
            try:
                return await self._cancelled(order, name, parse_qty_e6(entry.reduced_by))
            except FixedPointError:
                return await self.lookup(order)

        return tuple(await asyncio.gather(*map(ended, orders)))

    # -- looking up --------------------------------------------------------------------------------------------------

    async def lookup(self, order: Order) -> Outcome:
        """What became of an order, by the venue's listings; bounded, UNKNOWN where they do not decide. An order that is not
        listed is NONE only after its client id was used up, so that it cannot arrive later."""
        return await self._lookup.find(order, exists=order.client_id in self._lookup.resting)

    async def _fence(self, order: Order) -> tuple[Fence, str]:
        """Use up an order's client id with one that fills nothing; what the venue answered."""
        shard = self.shards.of(order.native_id)
        if self._budget is None or not self._budget.take(shard, lowers_risk=True):
            return Fence.OPEN, "it could still arrive: its client id could not be used up (rate budget)"
        try:
            answer = await self._rest.ask(
                "POST", ORDERS_PATH, body=fence_body(order, shard), timeout_s=self._patience.order_s
            )
        except NoAnswer as error:
            return Fence.OPEN, f"it could still arrive: whether its client id is used up is not known ({error})"
        if answer.status in (200, 201):
            try:
                made = msgspec.json.decode(answer.body, type=CreatedOrder)
                if made.client_order_id in (None, "", order.client_id) and not parse_qty_e6(made.fill_count):
                    return Fence.CLOSED, f"order {made.order_id} used up its client id"
            except (msgspec.MsgspecError, UnicodeDecodeError, FixedPointError):
                pass
            return Fence.EXISTS, "the order that was to use up its client id says something else: look again"
        _, said = refusal(answer.status, answer.body)
        if answer.status == 429:
            self._budget.empty(shard)
        if said.code == ALREADY_EXISTS:
            return Fence.EXISTS, "its client id is used"
        if said.code == INACTIVE:
            return Fence.INACTIVE, "its market took no orders any more when its client id was to be used up"
        return (
            Fence.OPEN,
            f"it could still arrive: the venue took nothing under its client id (HTTP {answer.status}: {said})",
        )

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        """Wait until the private stream has news of one of these orders; see :class:`~arbpipe.venues.base.Gateway`."""
        await self._news.wait([order.client_id for order in orders] or None, timeout_s)

    # -- statements --------------------------------------------------------------------------------------------------

    async def positions(self) -> tuple[Position, ...]:
        """Everything the account holds, as the venue states it.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; never an empty tuple instead.
        """
        return await self._account.positions()

    @property
    def sent_ns(self) -> int:
        """When the latest order's request was written (CLOCK_MONOTONIC)."""
        return self._rest.sent.ns

    async def cash_e6(self) -> int:
        """The account's cash over all shards, as the venue states it.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; never 0 instead.
        """
        return await self._account.cash_e6()


def _entries(answer: Answer) -> list[BatchEntry]:
    """What a batch says of each of its orders; nothing where it cannot be read."""
    try:
        return msgspec.json.decode(answer.body, type=BatchAnswer).orders
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


def _in_order(names: Sequence[str], entries: Sequence[BatchEntry]) -> list[BatchEntry] | None:
    """The entries in the order of ``names``: by the client ids that they state, or all as they stand where they state none.
    None where that does not say which is whose: nothing promises an order."""
    if len(entries) != len(names):
        return None
    stated = {entry.client_order_id: entry for entry in entries if entry.client_order_id}
    silent = [entry for entry in entries if not entry.client_order_id]
    if len(stated) + len(silent) != len(entries) or not set(stated) <= set(names):
        return None
    if all(
        not entry.client_order_id or entry.client_order_id == name for name, entry in zip(names, entries, strict=True)
    ):
        return list(entries)
    return [stated[name] for name in names] if not silent else None
