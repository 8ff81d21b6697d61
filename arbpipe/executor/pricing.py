"""What an opportunity costs now: rows read again, priced, proved, and shrunk to what limits and loss bounds allow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from arbpipe.clock import AgeClock, stamp_ns
from arbpipe.config import Config
from arbpipe.executor.aftermath import Market
from arbpipe.executor.plan import Plan, Refusal, make_plan
from arbpipe.fixedpoint import parse_money_e6
from arbpipe.identity import Side, slot_of
from arbpipe.ledger.book import AttemptRecord, Ledger, Usage
from arbpipe.risk.limits import Limits, Refused, Request, UsageView, check
from arbpipe.shm.generation import CoverEntry, Generation, Listing
from arbpipe.shm.opportunity import Opportunity
from arbpipe.shm.row import Reason, Row, RowReader
from arbpipe.shm.segment import Segment
from arbpipe.shm.usable import UsableRule

__all__ = ["Pricer"]

_TRIES: Final = 3
#: A row's check (the hash of a whole book) comes right after its publication, and an opportunity may be here before it.
_CHECK_NS: Final = 10_000_000
_CHECK_POLL_S: Final = 0.0001


class Pricer:
    """Prices against one segment and one ledger's usage."""

    def __init__(self, segment: Segment, config: Config, usable: UsableRule, ledger: Ledger, clock: AgeClock) -> None:
        self._rows = RowReader(segment)
        self._usable = usable
        self._ledger = ledger
        self._clock = clock
        self._limits = Limits.of(config.limits)
        self._min_edge = parse_money_e6(config.detector.min_edge_usd)
        self._max_edge = parse_money_e6(config.detector.max_edge_usd)

    def _verified(self, slot: int, version: int) -> bool:
        """Whether the check of this version passed, or passes within a moment. A newer version is for a newer opportunity."""
        deadline = stamp_ns() + _CHECK_NS
        while self._rows.verified(slot) != version:
            if stamp_ns() >= deadline or self._rows.version(slot) != version:
                return False
            time.sleep(_CHECK_POLL_S)
        return True

    def plan(self, opportunity: Opportunity, cover: CoverEntry, generation: Generation, now_ns: int) -> Plan | Refusal:
        """Re-read every leg, verified versions only; price and prove; shrink to what bounds and limits allow."""
        rows: dict[int, Row] = {}
        for leg in opportunity.legs:
            slot = slot_of(leg.claim)
            listing = generation.by_slot[slot]
            row = self._rows.read(slot)
            reason, value, threshold = self._usable.check(listing.venue, leg.uid, slot, row, now_ns)
            if reason or row is None:
                return Refusal(reason, value, threshold)
            if not self._verified(slot, row.version):
                return Refusal(Reason.UNVERIFIED, self._rows.verified(slot), row.version)
            rows[slot] = row
        payoffs, regular = generation.payoffs(cover.group)
        size = opportunity.size_e2
        refusal: Refusal | None = None
        for _ in range(_TRIES):
            made = make_plan(
                cover,
                opportunity.legs,
                size,
                rows,
                lambda claim: generation.by_slot[slot_of(claim)],
                payoffs,
                regular,
                self._min_edge,
                self._max_edge,
            )
            if isinstance(made, Refusal):
                return made
            smaller, refusal = self._fit(made)
            if refusal is None:
                return made
            if smaller <= 0:
                return refusal
            size = smaller
        return refusal or Refusal(Reason.LIMIT_UNHEDGED)

    def _fit(self, plan: Plan) -> tuple[int, Refusal | None]:
        """Does the plan respect the loss bounds and limits? If not: the size that would, in whole contracts."""
        limits = self._limits
        for value, limit in ((plan.hard_e6, limits.unhedged), (plan.expected_e6, limits.loss_budget)):
            if value > limit:
                return plan.size_e2 * limit // value // 100 * 100, Refusal(Reason.LIMIT_UNHEDGED, value, limit)
        refused = self.check(self._ledger.usage(), plan)
        if refused is None:
            return plan.size_e2, None
        at_stake = sum(plan.cash.values())
        size = plan.size_e2 * max(0, at_stake - refused.room_e6) // at_stake
        return size // 100 * 100, Refusal(refused.reason, refused.value, refused.threshold)

    def check(self, usage: Usage, plan: Plan) -> Refused | None:
        """The exposure limits; called again in the transaction that reserves."""
        view = UsageView(usage.event, usage.venue, usage.total, usage.tail_event, usage.tail_total, usage.cash)
        cover = plan.cover
        floor = cover.floor_e6 * plan.size_e2 // 100 if cover.tails_accepted else plan.floor_e6
        return check(self._limits, view, Request(cover.event, plan.cash, cover.tails_accepted, floor))

    def markets(
        self, record: AttemptRecord, listings: Mapping[int, Listing], listed: Sequence[int] | Mapping[int, Listing]
    ) -> list[Market]:
        """Every claim of an attempt's propositions that can be traded now; ``listed`` are the uids of the generation.

        Buying needs a usable and verified row. Selling what we hold lowers risk, so a row that is merely in quarantine or
        not verified yet still shows its bids (F64); one that is stale or withdrawn shows nothing.
        """
        now = self._clock.now_ns()
        found = []
        for proposition, claims in enumerate(record.plan["claims"]):
            for text, side_number in claims:
                listing = listings.get(int(text, 16))
                if listing is None or listing.uid not in listed:
                    continue
                row = self._rows.read(listing.slot)
                reason, _, _ = self._usable.check(listing.venue, listing.uid, listing.slot, row, now)
                if row is None or row.fee is None or reason not in (Reason.NONE, Reason.QUARANTINE):
                    continue
                buyable = not reason and self._rows.verified(listing.slot) == row.version
                side = Side(side_number)
                asks = row.asks(side) if buyable else ()
                found.append(Market(proposition, listing, side, asks, row.bids(side), row.fee))
        return found
