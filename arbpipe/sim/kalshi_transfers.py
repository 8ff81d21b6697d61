"""Cash between exchange shards of simulated Kalshi: asked for now, moved a moment later in one step (kalshi.md section 3.5).

Amounts on the wire are integers of 1/10,000 dollar ("centicents"). A transfer whose cash is gone when its time comes waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_catalog import Catalog, Json, money
from arbpipe.sim.kalshi_errors import refuse
from arbpipe.sim.kalshi_orders import check_types
from arbpipe.sim.kalshi_store import Store, Transfer

__all__ = ["TRANSFER_S", "Transfers"]

#: How long a transfer takes, in seconds.
TRANSFER_S: Final = 0.3
_REQUEST: Final = "IntraExchangeInstanceTransferRequest"
_TYPES: Final = {
    "source": "string",
    "destination": "string",
    "amount": "int64",
    "source_exchange_shard": "int",
    "destination_exchange_shard": "int",
    "client_transfer_id": "string",
}


class Transfers:
    """The transfers of the one account."""

    def __init__(self, store: Store, catalog: Catalog, account: Account) -> None:
        self._store = store
        self._catalog = catalog
        self._account = account

    def request(self, body: Mapping[str, object]) -> str:
        """Note a transfer; its id.

        Raises:
            Refusal: 400 for what makes no sense or is not there, 409 for an id that was used before or during a pause.
        """
        given = check_types(body, _TYPES, _REQUEST)
        missing = [name for name in ("source", "destination", "amount") if name not in given]
        if missing:
            raise refuse(400, "missing_parameters", ", ".join(missing))
        if (given["source"], given["destination"]) != ("event_contract", "event_contract"):
            raise refuse(400, "invalid_parameters", "source and destination must be event_contract")
        source, destination = (_integer(given.get(f"{end}_exchange_shard")) for end in ("source", "destination"))
        amount_e6 = _integer(given["amount"]) * 100
        shards = sorted({*self._catalog.shards(), *self._store.shards()})
        if amount_e6 <= 0 or source == destination or source not in shards or destination not in shards:
            raise refuse(400, "invalid_parameters", f"give an amount above 0 and two different shards of {shards}")
        if not all(self._account.is_active(index)[0] for index in (source, destination)):
            raise refuse(409, "exchange_is_paused")
        name = str(given.get("client_transfer_id", ""))
        if name:
            try:
                uuid.UUID(name)
            except ValueError:
                raise refuse(400, "invalid_parameters", "client_transfer_id must be a UUID") from None
            if any((each.source, each.client_transfer_id) == (source, name) for each in self._store.transfers()):
                raise refuse(409, "transfer_already_exists")
        if self._account.available_e6(source) < amount_e6:
            raise refuse(400, "insufficient_balance")
        now_us = self._account.now_us()
        transfer = Transfer(
            transfer_id=str(uuid.uuid4()),
            number=self._store.next_transfer_number(),
            client_transfer_id=name,
            source=source,
            destination=destination,
            amount_e6=amount_e6,
            complete=False,
            created_us=now_us,
            due_us=now_us + round(TRANSFER_S * 1e6),
        )
        with self._store.transaction():
            self._store.put_transfer(transfer)
        return transfer.transfer_id

    def tick(self) -> None:
        """Move what is due and still there."""
        now_us = self._account.now_us()
        for each in self._store.transfers():
            if each.complete or each.due_us > now_us or self._account.available_e6(each.source) < each.amount_e6:
                continue
            with self._store.transaction():
                self._store.add_cash(-each.amount_e6, now_us, each.source)
                self._store.add_cash(each.amount_e6, now_us, each.destination)
                self._store.put_transfer(replace(each, complete=True))

    def shown(self) -> list[Json]:
        """All transfers as the venue shows them, newest first."""
        return [
            {
                "transfer_id": each.transfer_id,
                **({"client_transfer_id": each.client_transfer_id} if each.client_transfer_id else {}),
                "source": "event_contract",
                "destination": "event_contract",
                "source_exchange_shard": each.source,
                "destination_exchange_shard": each.destination,
                "amount": money(each.amount_e6),
                "status": "complete" if each.complete else "pending",
                "created_ts": each.created_us // 1_000_000,
            }
            for each in reversed(self._store.transfers())
        ]


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
