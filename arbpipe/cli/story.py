"""One attempt told from the ledger: what was planned, sent, filled, and what it came to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from arbpipe.fixedpoint import format_price, format_size, format_usd
from arbpipe.ledger.store import LedgerStore

__all__ = ["best_attempt", "events_of", "find_attempt", "story_lines"]


def find_attempt(store: LedgerStore, text: str) -> str | None:
    """The attempt whose id begins with ``text``, if there is exactly one."""
    rows = store.db.execute(
        "SELECT id FROM attempts WHERE substr(id, 1, length(?)) = ? LIMIT 2", (text, text)
    ).fetchall()
    return rows[0][0] if len(rows) == 1 else None


def best_attempt(store: LedgerStore) -> str | None:
    """The attempt that locked most; ``None`` when nothing was taken."""
    row = store.db.execute(
        "SELECT id FROM attempts WHERE balanced_e6 > 0 ORDER BY locked_e6 DESC, opened_ns LIMIT 1"
    ).fetchone()
    return row[0] if row else None


def events_of(store: LedgerStore, attempt: str) -> list[dict[str, Any]]:
    """The attempt's events in order: ``at_ns``, ``kind`` and the event's own members."""
    return [
        {"seq": seq, "at_ns": at, "kind": kind, **msgspec.json.decode(body)}
        for seq, at, kind, body in store.db.execute(
            "SELECT seq, at_ns, kind, body FROM events WHERE attempt = ? ORDER BY seq", (attempt,)
        )
    ]


def story_lines(store: LedgerStore, attempt: str) -> list[str]:
    """The attempt as a timeline for people."""
    lines: list[str] = []
    begun = 0
    for event in events_of(store, attempt):
        at = event["at_ns"]
        begun = begun or at
        when = f"+{(at - begun) / 1e6:8.2f} ms"
        if event["kind"] == "attempt":
            clock = datetime.fromtimestamp(at / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]
            lines.append(
                f"attempt {attempt[:8]} at {clock} UTC: {event['cover']}, {format_size(event['size_e2'])} sets, "
                f"each pays ${event['k']}"
            )
            lines += [f"{when}  planned   {_order(intent)}" for intent in event["intents"]]
        elif event["kind"] == "step":
            lines += [f"{when}  then      {_order(intent)}" for intent in event["intents"]]
        elif event["kind"] == "resized":
            lines.append(f"{when}  resized   {_leg(event['client_id'])} to {format_size(event['size_e2'])}")
        elif event["kind"] == "outcome":
            lines.append(f"{when}  {event['state']:<9} {_leg(event['client_id'])} {event['reason']}".rstrip())
            lines += [
                f"{'':13}    {fill['qty_e6'] / 1e6:g} at {format_price(fill['price_e4'])}, "
                f"fee ${format_usd(fill['fee_e6'])}, cash ${format_usd(fill['cash_e6'])}"
                for fill in event["fills"]
            ]
        elif event["kind"] == "closed":
            lines.append(
                f"{when}  {event['result']:<9} {event['balanced_e6'] / 1e6:g} sets held, locked "
                f"${format_usd(event['locked_e6'])}, realised ${format_usd(event['realised_e6'])}"
            )
    return lines


def _leg(client_id: str) -> str:
    _, _, leg, step = client_id.split("-")
    return f"leg {int(leg) + 1}" + (f" (step {step})" if step != "0" else "")


def _order(intent: dict[str, Any]) -> str:
    return (
        f"{_leg(intent['client_id'])}: {intent['action']} {format_size(intent['size_e2'])} {intent['side']} of "
        f"{intent['venue']}:{_short(intent['native_id'])} at {format_price(intent['price_e4'])} or better"
    )


def _short(native_id: str) -> str:
    return native_id if len(native_id) <= 30 else f"{native_id[:10]}…{native_id[-4:]}"
