"""Writes on simulated Kalshi: create, amend, decrease, cancel, alone and in batches, with the faults that befall them.

A request is read and paid first; then it is done at once, late, or later than its answer, as the armed faults say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aiohttp import web

from arbpipe.sim.kalshi_account import Cancelled
from arbpipe.sim.kalshi_amend import amend, decrease
from arbpipe.sim.kalshi_catalog import Json, count
from arbpipe.sim.kalshi_errors import Refusal, plain, refuse, refuse_query
from arbpipe.sim.kalshi_faults import Armed
from arbpipe.sim.kalshi_orders import parse_body, parse_order, parse_orders
from arbpipe.sim.kalshi_rest import Answer, Rest, Route, body_of, json_answer

__all__ = ["OrderAnswers"]

_V2_ORDERS: Final = "https://docs.kalshi.com/api-reference/orders/create-order-v2"
#: Does what was asked, now: the answer, or a refusal.
Act = Callable[[], Answer]


class OrderAnswers:
    """What the account's owner may do."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._account = rest.account

    def routes(self) -> list[Route]:
        """Verb, path and handler."""
        orders = "/portfolio/events/orders"
        return [
            ("POST", "/portfolio/orders", self.retired),
            ("DELETE", "/portfolio/orders/{order_id}", self.retired),
            ("POST", orders, self.create),
            ("DELETE", orders, self.cancel_all),
            ("POST", f"{orders}/batched", self.create_batch),
            ("DELETE", f"{orders}/batched", self.cancel_batch),
            ("DELETE", f"{orders}/{{order_id}}", self.cancel),
            ("POST", f"{orders}/{{order_id}}/amend", self.amend),
            ("POST", f"{orders}/{{order_id}}/decrease", self.decrease),
        ]

    # -- faults on the way --------------------------------------------------------------------------------------------

    async def _perform(self, request: web.Request, on: str, act: Act) -> Answer:
        """Do it, as an armed fault for this kind of write wants it done."""
        faults = self._rest.faults
        for name, ending in _ENDINGS.items():
            armed = faults.find(name, lambda each: each["on"] == on)
            if armed is not None:
                return await ending(self, request, armed, act)
        return act()

    async def _late_ack(self, request: web.Request, armed: Armed, act: Act) -> Answer:
        self._rest.faults.use(armed)
        try:
            return act()
        finally:
            await asyncio.sleep(armed.params["seconds"])

    async def _fill_after_timeout(self, request: web.Request, armed: Armed, act: Act) -> Answer:
        self._rest.faults.use(armed)
        # shielded: it is done even when nobody waits for the answer any more
        return await asyncio.shield(self._rest.spawn(_later(armed.params["seconds"], act)))

    async def _error_after_acceptance(self, request: web.Request, armed: Armed, act: Act) -> Answer:
        act()  # what is refused was not accepted: the fault waits for the next one
        self._rest.faults.use(armed)
        raise plain(int(armed.params["status"]))

    async def _drop_after_acceptance(self, request: web.Request, armed: Armed, act: Act) -> Answer:
        act()
        self._rest.faults.use(armed)
        return _hang_up(request)

    async def _late_arrival(self, request: web.Request, armed: Armed, act: Act) -> Answer:
        async def arrive() -> None:
            with contextlib.suppress(Refusal):
                await _later(armed.params["seconds"], act)

        self._rest.faults.use(armed)
        self._rest.spawn(arrive())
        if armed.params["status"] is not None:
            raise plain(int(armed.params["status"]))
        return _hang_up(request)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def retired(self, request: web.Request) -> Answer:
        """Orders of the first version are gone."""
        raise refuse(410, "deprecated_v1_order_endpoint", _V2_ORDERS, message="Please switch to the V2 endpoints")

    def _pay(self, request: web.Request, shard: int | None, times: int = 1) -> None:
        self._rest.charge(request, signed=True, shard=shard, times=times)

    async def create(self, request: web.Request) -> Answer:
        """Create an order."""
        text = await body_of(request)
        try:
            body = parse_body(text, "CreateOrderV2Request")
        except Refusal:
            self._pay(request, 0)
            raise
        self._pay(request, _route(body.get("exchange_index")))
        order = parse_order(body, self._now_s())
        return await self._perform(request, "create", lambda: json_answer(self._account.create(order), status=201))

    def _now_s(self) -> int:
        return self._rest.clock.now_ns() // 10**9

    async def create_batch(self, request: web.Request) -> Answer:
        """Create orders one by one; the whole batch must fit into the bucket."""
        orders = parse_orders(await body_of(request), "BatchCreateOrdersV2Request")
        self._pay(request, 0, times=len(orders))

        def act() -> Answer:
            answers: list[Json] = []
            for order in orders:
                try:
                    answers.append(self._account.create(parse_order(order, self._now_s())))
                except Refusal as refusal:
                    answers.append({"client_order_id": order.get("client_order_id"), "error": _error(refusal)})
            return json_answer({"orders": answers}, status=201)

        return await self._perform(request, "batch", act)

    async def cancel(self, request: web.Request) -> Answer:
        """Cancel one order on the shard that the query names, by index or by ticker, or else on shard 0."""
        index, paid = self._shard(request.query)
        self._pay(request, paid)
        order_id = request.match_info["order_id"]
        return await self._perform(request, "cancel", lambda: _cancelled(self._account.cancel(order_id, index)))

    async def amend(self, request: web.Request) -> Answer:
        """Change a resting order."""
        return await self._change(request, "amend", "AmendOrderV2Request", "ticker", amend)

    async def decrease(self, request: web.Request) -> Answer:
        """Make a resting order smaller."""
        return await self._change(request, "decrease", "DecreaseOrderV2Request", "market_ticker", decrease)

    async def _change(
        self, request: web.Request, on: str, structure: str, ticker_member: str, run: Callable[..., Json]
    ) -> Answer:
        try:
            body = parse_body(await body_of(request), structure)
        except Refusal:
            self._pay(request, 0)
            raise
        given = {"exchange_index": body.get("exchange_index"), "market_ticker": body.get(ticker_member)}
        index, paid = self._shard({name: str(value) for name, value in given.items() if value is not None})
        self._pay(request, paid)
        return await self._perform(
            request, on, partial(run, self._account, request.match_info["order_id"], body, index)
        )

    def _shard(self, query: Mapping[str, str]) -> tuple[int, int | None]:
        """(shard that a request about an order goes to, who pays: see :meth:`Limits.charge`)."""
        given, ticker = query.get("exchange_index", ""), query.get("market_ticker", "")
        if given not in ("", "-1"):
            if not given.isdigit() or not given.isascii():
                raise refuse_query("CancelOrderV2", "ExchangeIndex", "numeric")
            return int(given), int(given)
        if ticker:
            return self._account.shard_of(ticker), None
        return 0, 0

    async def cancel_batch(self, request: web.Request) -> Answer:
        """Cancel the named orders one by one."""
        orders = parse_orders(await body_of(request), "BatchCancelOrdersV2Request")
        self._pay(request, 0, times=len(orders))

        def act() -> Answer:
            answers: list[Json] = []
            for order in orders:
                order_id = str(order.get("order_id", ""))
                try:
                    named = ("exchange_index", "market_ticker")
                    index, _ = self._shard({name: str(order[name]) for name in named if order.get(name) is not None})
                    done = self._account.cancel(order_id, index)
                    answers.append({"order_id": order_id, "reduced_by": count(done.reduced_e2), "ts_ms": done.ts_ms})
                except Refusal as refusal:
                    answers.append({"order_id": order_id, "reduced_by": count(0), "error": _error(refusal)})
            return {"orders": answers}

        return await self._perform(request, "cancel_batch", act)

    async def cancel_all(self, request: web.Request) -> Answer:
        """Cancel every resting order, on every shard."""
        self._pay(request, 0)
        if not self._account.exchange:
            raise refuse(409, "exchange_is_paused")
        self._account.withdraw_all("", lambda _: True)
        return web.Response(status=204)


#: What can happen to a write on its way, in the order in which armed ones are looked for.
_ENDINGS: Final = {
    "late_arrival": OrderAnswers._late_arrival,
    "fill_after_timeout": OrderAnswers._fill_after_timeout,
    "late_ack": OrderAnswers._late_ack,
    "error_after_acceptance": OrderAnswers._error_after_acceptance,
    "drop_after_acceptance": OrderAnswers._drop_after_acceptance,
}


async def _later(seconds: float, act: Act) -> Answer:
    await asyncio.sleep(seconds)
    return act()


def _hang_up(request: web.Request) -> web.Response:
    """End the connection without an answer; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _route(given: object) -> int | None:
    """Who pays for a new order: an explicit shard, or every one when the venue has to find it."""
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None


def _cancelled(done: Cancelled) -> Json:
    answer: Json = {"order_id": done.order.order_id, "reduced_by": count(done.reduced_e2), "ts_ms": done.ts_ms}
    if done.order.client_order_id:
        answer["client_order_id"] = done.order.client_order_id
    return answer


def _error(refusal: Refusal) -> object:
    """The reason of a refusal as a member of a batch's answer."""
    return refusal.body.get("error", refusal.body)
