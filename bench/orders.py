"""How long from an opportunity to both requests written, step by step, on warm connections to the simulated venues?

Two legs, again and again: limits checked, reservation and intents stored in one SQLite transaction (*record*), then each
venue's order signed and written (*kalshi*, *polymarket*: from the call to the moment the body was handed to the kernel). What
lies before that, re-reading and proving, is the stage ``opportunity_to_intent`` of every demo. The ledger lies in a temporary
folder; its durability is named in the case. The venues are servers on this machine and share its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sqlite3
import tempfile
import time
from pathlib import Path

import uvloop

from arbpipe.config import Config
from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import AttemptRecord, IntentRecord, Ledger
from arbpipe.ledger.store import LedgerStore
from arbpipe.live import kalshi_signer, tls_context
from arbpipe.shm.generation import Listing
from arbpipe.simulated import SimulatedVenues
from arbpipe.venues.base import Action, Gateway, Order, Outcome, OutcomeState
from arbpipe.venues.kalshi.gateway import KalshiGateway
from arbpipe.venues.polymarket.gateway import PolymarketGateway
from arbpipe.venues.polymarket.signing import OrderFields, OrderSigner
from bench.report import Report


def _listings(venues: SimulatedVenues) -> dict[int, Listing]:
    found = {}
    for number, i in enumerate(venues.instruments):
        found[i.uid] = Listing(
            number,
            i.uid,
            number,
            i.venue,
            i.native_id,
            i.title,
            i.yes_label,
            i.no_label,
            i.yes_token,
            i.no_token,
            i.version,
            i.neg_risk,
            i.min_size_text,
            i.tradeable,
            i.reason,
            i.tick_e4,
            i.min_size_e2,
            i.fee or FeeTerms(0, 1, 1, 1),
            -1,
        )
    return found


def _order(listing: Listing, attempt: str, leg: int) -> Order:
    """A buy of a hundred contracts at a cent: it meets nothing, so the account stays as it is."""
    return Order(
        f"ap-{attempt}-{leg}-0",
        listing.venue,
        listing.uid,
        listing.native_id,
        Side.YES,
        Action.BUY,
        10_000,
        100,
        created_ms=time.time_ns() // 1_000_000,
    )


async def _run(venues: SimulatedVenues, folder: Path, rounds: int, report: Report) -> None:
    config = venues.configured(Config())
    listings = _listings(venues)
    tls = tls_context(config)
    wallet = OrderSigner(
        bytes.fromhex((venues.directory / "polymarket-key.hex").read_text()), funder="", signature_type=0
    )
    signer = kalshi_signer(config)
    gateways: dict[Venue, Gateway] = {
        Venue.KALSHI: KalshiGateway(config.kalshi.rest, signer, tls),
        Venue.POLYMARKET: PolymarketGateway(
            config.polymarket.clob, "", wallet, tls, listing=listings.get, max_order_e6=10**12
        ),
    }
    for gateway in gateways.values():
        await gateway.open()
    store = LedgerStore(folder / "ledger-demo.sqlite", "DEMO")
    ledger = Ledger(store)
    ledger.open_account({venue: await each.cash_e6() for venue, each in gateways.items()})
    pick = {venue: next(each for each in listings.values() if each.venue is venue) for venue in Venue}
    record_us: list[float] = []
    sign_us: dict[str, list[float]] = {"kalshi": [], "polymarket": []}
    wire_us: dict[str, list[float]] = {"kalshi": [], "polymarket": []}
    both_us: list[float] = []
    for number in range(rounds):
        attempt = secrets.token_hex(16)
        orders = [_order(pick[venue], attempt, leg) for leg, venue in enumerate(Venue)]
        began = time.monotonic_ns()
        ledger.begin(
            AttemptRecord(attempt, number, "bench", "bench", 1, 500, 0, False, {}),
            [IntentRecord(order, leg, 0, leg, 1) for leg, order in enumerate(orders)],
            lambda _usage: None,
        )
        recorded = time.monotonic_ns()
        outcomes: list[Outcome] = await asyncio.gather(*(gateways[order.venue].place(order) for order in orders))
        for leg, (order, outcome) in enumerate(zip(orders, outcomes, strict=True)):
            ledger.outcome(attempt, IntentRecord(order, leg, 0, leg, 1), outcome)
        if any(outcome.state is not OutcomeState.NONE for outcome in outcomes):
            raise RuntimeError(f"an order met something, or was refused: {outcomes}")
        sent = {order.venue: gateways[order.venue].sent_ns for order in orders}
        if number < 5:
            continue  # connections and caches warm up
        record_us.append((recorded - began) / 1000)
        for venue, at in sent.items():
            wire_us[venue.label].append((at - recorded) / 1000)
        both_us.append((max(sent.values()) - began) / 1000)
        began = time.monotonic_ns()
        signer.headers("POST", "/trade-api/v2/portfolio/events/orders")
        signed = time.monotonic_ns()
        token = int(pick[Venue.POLYMARKET].yes_token)
        wallet.sign(OrderFields(number, token, 1_000_000, 1_000_000, True, 1), neg_risk=True, version="v1")
        sign_us["kalshi"].append((signed - began) / 1000)
        sign_us["polymarket"].append((time.monotonic_ns() - signed) / 1000)
        await asyncio.sleep(0.11)  # Kalshi's Basic tier takes ten orders a second
    for gateway in gateways.values():
        await gateway.close()
    store.close()
    mode = f"WAL, synchronous=NORMAL, SQLite {sqlite3.sqlite_version}"
    report.add(f"record reservation and two intents ({mode})", "us", record_us)
    for name, samples in sign_us.items():
        report.add(f"{name}: sign alone", "us", samples)
    for name, samples in wire_us.items():
        report.add(f"{name}: from the call to the request written", "us", samples)
    case = report.add("both: from the opportunity to both requests written", "us", both_us)
    report.aim("both requests written, p50", 350, case.p50, "us")
    report.aim("both requests written, p99", 2000, case.p99, "us")


def main(argv: list[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench orders", description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = Report("orders")
    with (
        tempfile.TemporaryDirectory() as scratch,
        SimulatedVenues(Path(scratch) / "venues", seed=1, events=4) as venues,
    ):
        os.makedirs(Path(scratch) / "state")
        uvloop.run(_run(venues, Path(scratch) / "state", options.rounds, report))
    report.show(as_json=options.json)
    return 0
