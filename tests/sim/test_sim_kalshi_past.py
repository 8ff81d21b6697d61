"""The account as it was is what a copy taken at that moment would show, whatever happened since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.sim.kalshi_past import Past
from arbpipe.sim.kalshi_store import Books, Fill, OrderRow, Position, Status, Store

changes = st.lists(
    st.tuples(st.sampled_from(["order", "drop", "fill", "position", "cash", "undone"]), st.integers(0, 3)), max_size=25
)


def order(number: int, left: int) -> OrderRow:
    status = Status.RESTING if left else Status.CANCELED
    return OrderRow(f"o{number}", number, f"c{number}", "T", True, 5_000, 9, 0, left, status, "maker", 1, 1)


def change(store: Store, kind: str, number: int, count: int) -> None:
    with store.transaction():
        if kind == "order":
            store.put_order(order(number, count % 3))
        elif kind == "drop":
            store.drop_order(f"o{number}")
        elif kind == "fill":
            store.put_fill(Fill(f"f{count}", count, f"o{number}", "T", True, 5_000, 1, True, 0, 1, 0, -1, 1))
        elif kind == "position":
            store.put_position(Position(f"T{number}", count))
        elif kind == "cash":
            store.add_cash(count, count, number)
        else:
            store.put_position(Position("never", 1))
            raise KeyError("undone")


def picture(books: Books) -> Any:
    return (
        books.orders(),
        books.orders(Status.RESTING),
        books.fills(),
        books.fills("o1"),
        books.positions(),
        books.position("T1"),
        books.order("o2"),
        books.cash(),
        books.cash(2),
        books.shards(),
        books.settlements(),
    )


@settings(max_examples=60, deadline=None)
@given(changes)
def test_every_moment_of_the_past_is_what_it_was(steps: list[tuple[str, int]]) -> None:
    clock = {"ns": 0}
    store = Store(Path(":memory:"), 1_000, {2: 500}, lambda: clock["ns"])
    pictures = [picture(store)]
    for count, (kind, number) in enumerate(steps, 1):
        clock["ns"] = count
        if kind == "undone":
            with pytest.raises(KeyError):
                change(store, kind, number, count)
        else:
            change(store, kind, number, count)
        pictures.append(picture(store))
    assert [picture(Past(store, moment)) for moment in range(len(pictures))] == pictures
    store.close()


def test_an_older_file_gains_what_was_added_since(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    store = Store(path, 1_000)
    with store.transaction():
        store.put_order(order(1, 2))
    store._db.execute("ALTER TABLE orders DROP COLUMN post_only")
    store._db.execute("ALTER TABLE orders DROP COLUMN cancel_on_pause")
    store.close()
    again = Store(path, 1)
    assert again.orders() == [order(1, 2)]
    with again.transaction():
        again.put_order(order(2, 1))
    assert again.orders() == [order(1, 2), order(2, 1)]
    again.close()
