"""The account's file: whole transactions, nothing forgotten, nothing mixed up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arbpipe.sim.polymarket_account import AccountStore, OrderRow, Position, TradeRow
from arbpipe.sim.polymarket_auth import new_credentials

ORDER = OrderRow("0x01", 1, "key", "0xs", "0xf", "0xc", "7", 1, 5_000, 10_000_000, None, 0, 0, "GTC", 0, 0, "LIVE", 1)
TRADE = TradeRow(
    "t1", 1, "0x01", "key", "0xf", "0xc", "7", 1, 5_000, 4_000_000, 2_000_000, 10, 1, "0x02", "0x03", "MATCHED", 1, 1
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AccountStore]:
    opened = AccountStore(tmp_path / "account.sqlite")
    yield opened
    opened.close()


def test_a_transaction_that_fails_leaves_nothing(store: AccountStore) -> None:
    store.add_wallet("0xs", "0xf", 0, 5)

    def fail() -> None:
        with store.transaction():
            store.add_order(ORDER)
            store.move_cash("0xf", -3)
            store.move_shares("0xf", "7", 0, 4)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert store.order("0x01") is None
    assert store.position("0xf", "7") == Position("0xf", "7", 0, 0)
    wallet = store.wallet("0xs")
    assert wallet is not None
    assert wallet.cash_e6 == 5


def test_everything_is_there_again_after_opening_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "account.sqlite"
    first = AccountStore(path)
    credentials = new_credentials("0xs", 3)
    with first.transaction():
        first.add_wallet("0xs", "0xf", 2, 1_000)
        first.add_key(credentials)
        first.add_order(ORDER)
        first.add_trade(TRADE)
        first.move_cash("0xf", -250)
        first.move_shares("0xf", "7", 1, 2)
        first.set_heartbeat("key", "beat", 77)
    first.close()
    second = AccountStore(path)
    wallet = second.wallet("0xs")
    assert wallet is not None
    assert (wallet.funder, wallet.signature_type, wallet.opening_e6, wallet.cash_e6) == ("0xf", 2, 1_000, 750)
    assert second.key(credentials.key) == credentials
    assert second.orders({}) == [ORDER]
    assert second.unsettled() == [TRADE]
    assert second.positions("0xf") == [Position("0xf", "7", 1, 2)]
    assert second.heartbeat("key") == ("beat", 77)
    second.close()


def test_registering_a_known_wallet_again_changes_nothing(store: AccountStore) -> None:
    store.add_wallet("0xs", "0xf", 0, 100)
    store.move_cash("0xf", -40)
    store.add_wallet("0xs", "0xother", 1, 999)
    wallet = store.wallet("0xs")
    assert wallet is not None
    assert (wallet.funder, wallet.cash_e6) == ("0xf", 60)


def test_a_signer_has_one_key_for_each_nonce(store: AccountStore) -> None:
    store.add_key(new_credentials("0xs", 0))
    store.add_key(new_credentials("0xs", 1))
    with pytest.raises(sqlite3.IntegrityError):
        store.add_key(new_credentials("0xs", 0))
    assert [each.nonce for each in store.keys_of("0xs")] == [0, 1]


def test_an_order_that_is_over_has_nothing_left(store: AccountStore) -> None:
    assert ORDER.left_e6 == 10_000_000
    for status, left in (("DELAYED", 10_000_000), ("MATCHED", 0), ("CANCELED", 0), ("UNMATCHED", 0)):
        store.add_order(replace(ORDER, id=status, status=status))
        found = store.order(status)
        assert found is not None
        assert found.left_e6 == left
    assert [row.id for row in store.orders({}, open_only=True)] == ["DELAYED"]


def test_only_heartbeats_older_than_the_limit_are_overdue(store: AccountStore) -> None:
    store.set_heartbeat("old", "a", 100)
    store.set_heartbeat("new", "b", 200)
    assert store.overdue(200) == ["old"]


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "account.sqlite"
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(ValueError, match=r"schema 99.*use a new directory"):
        AccountStore(path)
