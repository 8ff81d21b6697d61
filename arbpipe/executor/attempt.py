"""One attempt from its intents to its end, written so that a killed process can go on from the ledger alone.

What is held is always computed from the ledger's fills, never remembered, so :meth:`AttemptRunner.settle` is the same code
after the first send and after a restart.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from arbpipe.clock import AgeClock, wall_ns
from arbpipe.executor.aftermath import Held, Market, StepKind, StepOrder, balance, next_step
from arbpipe.executor.plan import Plan, reserve_e6
from arbpipe.executor.waiting import until_news
from arbpipe.identity import OUR_ORDERS, Side, Venue
from arbpipe.ledger.book import AttemptRecord, Closing, IntentRecord, Ledger
from arbpipe.shm.generation import Listing
from arbpipe.venues.base import Action, Fill, Gateway, Order, Outcome, OutcomeState

__all__ = ["AttemptRunner", "Policy", "Result", "intents_of", "new_attempt_id"]

_BETWEEN_STEPS_NS = 100_000_000
_LOOKUPS = 5
_PATIENCE_NS = 30_000_000_000
_DUST_PATIENCE_NS = 1_000_000_000
_BUDGET_PATIENCE_NS = 3_000_000_000


class Result(Enum):
    """How an attempt ended."""

    NONE = "none"
    BALANCED = "balanced"
    UNWOUND = "unwound"
    DUST = "dust"
    EXPOSURE = "exposure"


@dataclass(frozen=True, slots=True)
class Policy:
    """How far an attempt goes to make its legs equal."""

    complete_steps: int
    unwind_steps: int
    loss_budget_e6: int


def new_attempt_id() -> str:
    """128 random bits, never a sequence: a restored ledger must not make an id again (design 9.3)."""
    return secrets.token_hex(16)


def client_id(attempt: str, leg: int, step: int) -> str:
    """A function of (attempt, leg, step), in the alphabet both venues take (kalshi.md 3.4)."""
    return f"{OUR_ORDERS}{attempt}-{leg}-{step}"


def intents_of(attempt: str, plan: Plan) -> tuple[IntentRecord, ...]:
    """The first step's intents: every leg at its full size."""
    created_ms = wall_ns() // 1_000_000
    return tuple(
        IntentRecord(
            Order(
                client_id(attempt, number, 0),
                leg.listing.venue,
                leg.listing.uid,
                leg.listing.native_id,
                leg.side,
                Action.BUY,
                leg.size_e2,
                leg.limit_e4,
                created_ms=created_ms,
            ),
            number,
            0,
            leg.proposition,
            leg.reserve_e6,
        )
        for number, leg in enumerate(plan.legs)
    )


class AttemptRunner:
    """Sends, records and settles. ``markets`` gives the usable claims of a cover's propositions at this moment."""

    def __init__(
        self,
        ledger: Ledger,
        gateways: Mapping[Venue, Gateway],
        policy: Policy,
        clock: AgeClock,
        sleep_until: Callable[[int], Awaitable[None]],
        markets: Callable[[AttemptRecord], Sequence[Market]],
        listing: Callable[[int], Listing | None],
    ) -> None:
        self._ledger = ledger
        self._gateways = gateways
        self._policy = policy
        self._clock = clock
        self._sleep_until = sleep_until
        self._markets = markets
        self._listing = listing
        #: Attempt → when the last request of its first step was written (0 on paper); whoever reads it removes it.
        self.sent_ns: dict[str, int] = {}

    async def run(self, record: AttemptRecord, intents: Sequence[IntentRecord], *, concurrent: bool) -> Closing:
        """Send the recorded legs and bring the attempt to its end."""
        if concurrent:
            await asyncio.gather(*(self._send(record.attempt, intent) for intent in intents))
        else:
            await self._send_in_turn(record, intents)
        self.sent_ns[record.attempt] = max(self._gateways[intent.order.venue].sent_ns for intent in intents)
        return await self.settle(record)

    async def settle(self, record: AttemptRecord) -> Closing:
        """From whatever the ledger says: look up what is unknown, make the legs equal, close."""
        await self.look_up(record)
        propositions = int(record.plan["propositions"])
        intents = self._ledger.intents(record.attempt)
        step = max((intent.step for intent, _ in intents), default=0)
        completes = unwinds = 0
        began_ns = self._clock.now_ns()
        while True:
            await self._refresh(record)
            held, unresolved, unlisted = self._held(record)
            final = self._all_final(record)
            if not final:
                began_ns = self._clock.now_ns()  # patience is with what can be traded
            if unresolved or unlisted:
                break
            may_complete = completes < self._policy.complete_steps
            may_unwind = unwinds < self._policy.unwind_steps
            wanted = next_step(
                record.k,
                propositions,
                held,
                self._markets(record),
                loss_budget_e6=self._policy.loss_budget_e6,
                may_complete=may_complete,
                may_unwind=may_unwind,
                lost_e6=self._lost(record),
                must=self._clock.now_ns() - began_ns > _BUDGET_PATIENCE_NS,
            )
            if wanted.kind is StepKind.DONE:
                if final:
                    break
                # MATCHED is not final: until the venue says so the attempt keeps its group (design 9.7)
                await self._pause(record)
                continue
            if wanted.kind is StepKind.STUCK:
                # nothing can be done at this moment; what no order is small enough for waits a second, no longer
                patience_ns = _DUST_PATIENCE_NS if self._only_dust(propositions, held) else _PATIENCE_NS
                tired = not (may_complete or may_unwind) or self._clock.now_ns() - began_ns > patience_ns
                if tired and final:
                    break
                await self._pause(record)
                continue
            if wanted.kind is StepKind.COMPLETE:
                completes += 1
            else:
                unwinds += 1
            step += 1
            created_ms = wall_ns() // 1_000_000
            orders = [
                IntentRecord(
                    Order(
                        client_id(record.attempt, number, step),
                        order.listing.venue,
                        order.listing.uid,
                        order.listing.native_id,
                        order.side,
                        order.action,
                        order.size_e2,
                        order.limit_e4,
                        order.action is Action.SELL,
                        created_ms,
                    ),
                    number,
                    step,
                    order.proposition,
                    _reserve(order),
                )
                for number, order in enumerate(wanted.orders)
            ]
            if not self._ledger.add_intents(record.attempt, orders):
                await self._pause(record)
                continue
            await asyncio.gather(*(self._send(record.attempt, intent) for intent in orders))
            await self.look_up(record)
        return self._close(record, propositions)

    # -- sending -----------------------------------------------------------------------------------------------------

    async def _send(self, attempt: str, intent: IntentRecord) -> Outcome:
        outcome = await self._gateways[intent.order.venue].place(intent.order)
        self._ledger.outcome(attempt, intent, outcome)
        return outcome

    async def _send_in_turn(self, record: AttemptRecord, intents: Sequence[IntentRecord]) -> None:
        """Polymarket first, then Kalshi for what was really received; each proposition for the least so far."""
        order = sorted(
            {intent.proposition for intent in intents},
            key=lambda p: (
                not any(i.proposition == p and i.order.venue is Venue.POLYMARKET for i in intents),
                min(i.order.size_e2 for i in intents if i.proposition == p),
                p,
            ),
        )
        target = record.size_e2
        for proposition in order:
            left = target
            sends = []
            for intent in (i for i in intents if i.proposition == proposition):
                size = min(left, intent.order.size_e2)
                left -= size
                sends.append(self._send_resized(record.attempt, intent, size))
            outcomes = await asyncio.gather(*sends)
            target = min(target, sum(outcome.qty_e6 for outcome in outcomes) // 10_000)

    async def _send_resized(self, attempt: str, intent: IntentRecord, size_e2: int) -> Outcome:
        listing = self._listing(intent.order.uid)
        least = listing.min_size_e2 if listing else 0
        if size_e2 <= 0 or size_e2 < least:
            outcome = Outcome(OutcomeState.NONE, (), "not sent: the legs before it received less than it needs")
            self._ledger.outcome(attempt, intent, outcome)
            return outcome
        if size_e2 < intent.order.size_e2:
            # no share of the old reservation: rounding weighs more on a smaller order
            reserved = intent.reserved_e6
            if listing is not None and listing.fee is not None:
                reserved = min(reserved, reserve_e6(listing, listing.fee, size_e2, intent.order.price_e4))
            intent = replace(intent, order=replace(intent.order, size_e2=size_e2), reserved_e6=reserved)
            self._ledger.resize(attempt, intent.order.client_id, size_e2, reserved)
        return await self._send(attempt, intent)

    async def look_up(self, record: AttemptRecord) -> None:
        """Ask the venues about every order whose outcome is not known; unknown stays reserved at its worst."""
        for number in range(_LOOKUPS):
            open_intents = [
                intent for intent, state in self._ledger.intents(record.attempt) if state is None or not state.settled
            ]
            if not open_intents:
                return
            if number:
                await self._pause(record)
            for intent in open_intents:
                outcome = await self._gateways[intent.order.venue].lookup(intent.order)
                if outcome.state.settled:
                    self._ledger.outcome(record.attempt, intent, outcome)

    async def _pause(self, record: AttemptRecord) -> None:
        """A moment before anything is asked again, cut short by news of an order that is not settled or not final yet."""
        fills = self._ledger.fills(record.attempt)
        orders = [
            intent.order
            for intent, state in self._ledger.intents(record.attempt)
            if state is None or not state.settled or not all(f.final for f in fills.get(intent.order.client_id, ()))
        ]
        moment = self._sleep_until(self._clock.now_ns() + _BETWEEN_STEPS_NS)
        await until_news(self._gateways, orders, moment, _BETWEEN_STEPS_NS / 1_000_000_000)

    def _all_final(self, record: AttemptRecord) -> bool:
        """Whether the venues can take nothing back any more, neither a purchase nor a sale."""
        return all(fill.final for fills in self._ledger.fills(record.attempt).values() for fill in fills)

    async def _refresh(self, record: AttemptRecord) -> None:
        """Ask again about fills that are not final yet; only news is written down."""
        fills = self._ledger.fills(record.attempt)
        for intent, state in self._ledger.intents(record.attempt):
            mine = fills.get(intent.order.client_id, ())
            if state is None or not state.settled or all(fill.final for fill in mine):
                continue
            outcome = await self._gateways[intent.order.venue].lookup(intent.order)
            open_ids = {fill.fill_id for fill in mine if not fill.final}
            final_ids = {fill.fill_id for fill in outcome.fills if fill.final}
            if outcome.state.settled and (open_ids & final_ids or open_ids & set(outcome.reverted)):
                self._ledger.outcome(record.attempt, intent, outcome)

    # -- accounting --------------------------------------------------------------------------------------------------

    def _held(self, record: AttemptRecord) -> tuple[list[Held], bool, int]:
        """What the attempt holds by its fills, whether an order of it is still unknown, and how many contracts (e6) it
        holds of instruments that nobody lists any more: they can be neither sold nor completed, and are never nothing."""
        fills = self._ledger.fills(record.attempt)
        positions: dict[tuple[int, int, Side], list[int]] = {}
        final: dict[tuple[int, int, Side], bool] = {}
        unresolved, unlisted = False, 0
        for intent, state in self._ledger.intents(record.attempt):
            unresolved |= state is None or not state.settled
            key = (intent.proposition, intent.order.uid, intent.order.side)
            sums = positions.setdefault(key, [0, 0, 0, 0])
            for fill in fills.get(intent.order.client_id, ()):
                _add(sums, intent.order.action, fill)
                final[key] = final.get(key, True) and fill.final
        held = []
        for (proposition, uid, side), (bought, cost, sold, _proceeds) in positions.items():
            listing = self._listing(uid)
            if listing is None:
                unlisted += max(0, bought - sold)
            elif bought > sold:
                basis = cost * (bought - sold) // bought
                held.append(
                    Held(proposition, listing, side, bought - sold, basis, final.get((proposition, uid, side), True))
                )
        return held, unresolved, unlisted

    def _lost(self, record: AttemptRecord) -> int:
        """What the attempt's sales lost so far: the cost of what was sold less what it brought."""
        traded: dict[tuple[int, int, Side], list[int]] = {}
        fills = self._ledger.fills(record.attempt)
        for intent, _state in self._ledger.intents(record.attempt):
            sums = traded.setdefault((intent.proposition, intent.order.uid, intent.order.side), [0, 0, 0, 0])
            for fill in fills.get(intent.order.client_id, ()):
                _add(sums, intent.order.action, fill)
        return sum(-(-sums[1] * sums[2] // sums[0]) - sums[3] for sums in traded.values() if sums[0] and sums[2])

    def _close(self, record: AttemptRecord, propositions: int) -> Closing:
        fills = self._ledger.fills(record.attempt)
        intents = self._ledger.intents(record.attempt)
        held, unresolved, unlisted = self._held(record)
        _filled, low, _high = balance(propositions, held) if held else ([], 0, 0)
        traded: dict[tuple[int, int, Side], list[int]] = {}
        for intent, _state in intents:
            sums = traded.setdefault((intent.proposition, intent.order.uid, intent.order.side), [0, 0, 0, 0])
            for fill in fills.get(intent.order.client_id, ()):
                _add(sums, intent.order.action, fill)
        spent = sum(cost for _, cost, _, _ in traded.values())
        proceeds = sum(sums[3] for sums in traded.values())
        sold_basis = sum(-(-sums[1] * sums[2] // sums[0]) for sums in traded.values() if sums[0] and sums[2])
        dust, exposure, loose_basis = self._loose(propositions, held, low)
        exposure += unlisted
        if unresolved:
            # of a sale too, which reserves no cash: contracts, like all exposure
            unknown = (intent.order for intent, state in intents if state is None or not state.settled)
            exposure += sum(order.size_e2 * 10_000 for order in unknown)
        realised = proceeds - sold_basis - loose_basis
        total = record.k * low + proceeds - spent
        closing = Closing(
            _result(low, sold_basis, dust, exposure, any(fills.values())).value,
            low,
            total - realised,
            realised,
            dust,
            exposure,
        )
        self._ledger.close(record.attempt, closing)
        return closing

    def _only_dust(self, propositions: int, held: Sequence[Held]) -> bool:
        """Whether what is unequal is too small for every order that could be sent."""
        _filled, low, _high = balance(propositions, held)
        return self._loose(propositions, held, low)[1] == 0

    @staticmethod
    def _loose(propositions: int, held: Sequence[Held], low: int) -> tuple[int, int, int]:
        """What is held beyond the balanced sets: dust and exposure (both in e6 contracts) and what it has cost."""
        dust = exposure = basis = 0
        for proposition in range(propositions):
            mine = [each for each in held if each.proposition == proposition]
            excess = sum(each.qty_e6 for each in mine) - low
            for each in sorted(mine, key=lambda each: each.qty_e6):
                part = min(excess, each.qty_e6)
                if part <= 0:
                    continue
                excess -= part
                basis += -(-each.cost_e6 * part // each.qty_e6)
                if part < max(each.listing.min_size_e2 * 10_000, 10_000):
                    dust += part
                else:
                    exposure += part
        return dust, exposure, basis


def _reserve(order: StepOrder) -> int:
    """The most cash a step's order can take; the quotes it was priced at may be gone when it arrives."""
    if order.action is Action.SELL:
        return 0
    fee = order.listing.fee
    return max(
        -order.cash_e6, reserve_e6(order.listing, fee, order.size_e2, order.limit_e4) if fee else order.size_e2 * 10_000
    )


def _add(sums: list[int], action: Action, fill: Fill) -> None:
    cash = fill.cash_e6 - fill.released_e6
    if action is Action.BUY:
        sums[0] += fill.qty_e6
        sums[1] -= cash
    else:
        sums[2] += fill.qty_e6
        sums[3] += cash


def _result(balanced: int, sold: int, dust: int, exposure: int, filled: bool) -> Result:
    if exposure:
        return Result.EXPOSURE
    if balanced:
        return Result.BALANCED
    if sold:
        return Result.UNWOUND
    if dust:
        return Result.DUST
    return Result.UNWOUND if filled else Result.NONE
