"""Kalshi's frames against the venue's own AsyncAPI, and the numbering of a subscription."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sim_checker import KalshiBooks, lines_of, messages_of

from arbpipe.sim.kalshi_wire import KalshiConnection
from arbpipe.sim.listing import Venue, make_events
from arbpipe.sim.quotes import Book, BookSide, Level
from arbpipe.sim.sample import Sample

SEEDS = (1, 2, 3, 4)
SampleOf = Callable[[int], Sample]


@lru_cache
def schemas(folder: Path) -> dict[str, Any]:
    text = (folder / "kalshi" / "spec" / "asyncapi-2.0.0.yaml").read_text(encoding="utf-8")
    spec = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return dict(spec["components"]["schemas"])


def resolved(node: Any, known: dict[str, Any]) -> Any:
    """The schema with every reference replaced, and closed against keys it does not name."""
    if isinstance(node, list):
        return [resolved(item, known) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        node = {**known[node.pop("$ref").rsplit("/", 1)[1]], **node}
    closed = {key: resolved(value, known) for key, value in node.items() if key not in ("example", "examples")}
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def validator(folder: Path, name: str) -> jsonschema.Draft202012Validator:
    schema = resolved(schemas(folder)[name], schemas(folder))
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def received_kind(message: dict[str, Any]) -> str:
    if message["type"] == "ok":
        return "listSubscriptionsResponsePayload" if isinstance(message["msg"], list) else "okResponsePayload"
    return {
        "subscribed": "subscribedResponsePayload",
        "orderbook_snapshot": "orderbookSnapshotPayload",
        "orderbook_delta": "orderbookDeltaPayload",
    }[message["type"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_received_frame_satisfies_the_venues_schema(seed: int, sample_of: SampleOf, recordings: Path) -> None:
    validators: dict[str, jsonschema.Draft202012Validator] = {}
    for _, _, message in messages_of(sample_of(seed).kalshi):
        kind = received_kind(message)
        if kind not in validators:
            validators[kind] = validator(recordings, kind)
        validators[kind].validate(message)
    assert len(validators) == 5


def test_every_command_satisfies_the_venues_schema(sample_of: SampleOf, recordings: Path) -> None:
    names = {
        "subscribe": "subscribeCommandPayload",
        "update_subscription": "updateSubscriptionCommandPayload",
        "list_subscriptions": "listSubscriptionsCommandPayload",
    }
    commands = [json.loads(line["send"]) for line in lines_of(sample_of(1).kalshi) if "send" in line]
    for command in commands:
        validator(recordings, names[command["cmd"]]).validate(command)
    assert {command["cmd"] for command in commands} == set(names)
    assert [command["id"] for command in commands] == list(range(1, len(commands) + 1))


def test_the_schema_check_refuses_a_wrong_frame(sample_of: SampleOf, recordings: Path) -> None:
    delta = next(m for _, _, m in messages_of(sample_of(1).kalshi) if m["type"] == "orderbook_delta")
    check = validator(recordings, "orderbookDeltaPayload")
    assert check.is_valid(delta)
    assert not check.is_valid({**delta, "msg": {**delta["msg"], "price": "0.5"}})
    assert not check.is_valid({**delta, "msg": {**delta["msg"], "side": "ask"}})


@pytest.mark.parametrize("seed", SEEDS)
def test_seq_is_dense_per_connection_and_counts_control_frames(seed: int, sample_of: SampleOf) -> None:
    last: dict[tuple[int, int], int] = {}
    numbered_oks = 0
    for _, conn, message in messages_of(sample_of(seed).kalshi):
        if "seq" not in message:
            assert message["type"] == "subscribed" or isinstance(message["msg"], list)
            continue
        assert message["seq"] == last.get((conn, message["sid"]), 0) + 1
        last[conn, message["sid"]] = message["seq"]
        numbered_oks += message["type"] == "ok"
    assert numbered_oks >= 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_market_clock_never_goes_back_and_a_snapshot_covers_all_before_it(seed: int, sample_of: SampleOf) -> None:
    clocks: dict[str, int] = {}
    from_snapshot: dict[str, int] = {}
    shared = 0
    for _, _, message in messages_of(sample_of(seed).kalshi):
        ticker = message["msg"].get("market_ticker") if isinstance(message["msg"], dict) else None
        if message["type"] == "orderbook_snapshot":
            assert message["msg"]["clock"] == clocks.setdefault(ticker, message["msg"]["clock"])
            from_snapshot[ticker] = message["msg"]["clock"]
        elif message["type"] == "orderbook_delta":
            assert message["msg"]["clock"] > from_snapshot[ticker]
            assert message["msg"]["clock"] >= clocks[ticker]
            shared += message["msg"]["clock"] == clocks[ticker]
            clocks[ticker] = message["msg"]["clock"]
    assert shared > 0, "no two deltas of one exchange action"


@pytest.mark.parametrize("seed", SEEDS)
def test_get_snapshot_answers_bear_the_commands_id_and_equal_the_book(seed: int, sample_of: SampleOf) -> None:
    path = sample_of(seed).kalshi
    asked: dict[int, list[str]] = {}
    answered: dict[int, list[str]] = {}
    for line in lines_of(path)[1:]:
        if "send" in line:
            command = json.loads(line["send"])
            if command.get("params", {}).get("action") == "get_snapshot":
                asked[command["id"]] = command["params"]["market_tickers"]
        elif "recv" in line:
            message = json.loads(line["recv"])
            if message["type"] == "orderbook_snapshot" and "id" in message:
                answered.setdefault(message["id"], []).append(message["msg"]["market_ticker"])
    assert asked == answered
    assert len(asked) >= 5
    books = KalshiBooks(lines_of(path)[0]["use_yes_price"])
    for _, _, message in messages_of(path):
        books.apply(message)  # asserts that a later snapshot equals the book kept from deltas


def test_keys_and_number_formats_are_those_of_recorded_frames(sample_of: SampleOf, recordings: Path) -> None:
    text = (recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl").read_text(encoding="utf-8")
    recorded: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.strip():
            message = json.loads(line)
            if message["type"].startswith("orderbook"):
                keys = recorded.setdefault(message["type"], set())
                keys |= set(message["msg"])
    since = {"clock"}
    for _, _, message in messages_of(sample_of(2).kalshi):
        if message["type"] in recorded:
            assert set(message["msg"]) - since <= recorded[message["type"]]
        if message["type"] == "orderbook_delta":
            assert len(message["msg"]["price_dollars"].split(".")[1]) == 4
            assert len(message["msg"]["delta_fp"].split(".")[1]) == 2


def test_yes_price_mode_moves_only_the_price_of_no_levels() -> None:
    market = next(m for e in make_events(1, 1) for m in e.markets if m.venue is Venue.KALSHI)
    book = Book({4_800: 1_000}, {5_200: 2_050})
    told = {}
    for mode in (False, True):
        wire = KalshiConnection(use_yes_price=mode, skip_ticker_ack=True)
        wire.set_clock(market, 7)
        snapshot = json.loads(wire.snapshot(market, book.copy(), 5))
        levels = [Level(BookSide.ASK, 5_200, 1_550), Level(BookSide.ASK, 5_300, 100)]
        deltas = [
            json.loads(text)
            for text in wire.deltas(market, book.copy(), levels, tick=2, ts_ms=1_793_534_400_123, sending_ms=6)
        ]
        told[mode] = (snapshot["msg"], deltas)
        assert snapshot["msg"]["yes_dollars_fp"] == [["0.4800", "10.00"]]
        assert [(d["msg"]["delta_fp"], d["msg"]["clock"], d["seq"]) for d in deltas] == [
            ("-5.00", 9, 2),
            ("1.00", 9, 3),
        ]
        assert deltas[0]["msg"]["ts"] == "2026-11-01T12:00:00.123Z"
    assert told[False][0]["no_dollars_fp"] == [["0.4800", "20.50"]]
    assert told[True][0]["no_dollars_fp"] == [["0.5200", "20.50"]]
    assert [d["msg"]["price_dollars"] for d in told[False][1]] == ["0.4800", "0.4700"]
    assert [d["msg"]["price_dollars"] for d in told[True][1]] == ["0.5200", "0.5300"]


def test_an_empty_side_has_no_key() -> None:
    market = make_events(1, 1)[0].markets[0]
    wire = KalshiConnection(use_yes_price=False, skip_ticker_ack=False)
    message = json.loads(wire.snapshot(market, Book({}, {6_000: 100}), 1, command=4))
    assert "yes_dollars_fp" not in message["msg"]
    assert message["id"] == 4


def test_a_market_of_the_other_venue_is_refused() -> None:
    market = make_events(1, 1)[0].markets[1]
    wire = KalshiConnection(use_yes_price=False, skip_ticker_ack=False)
    with pytest.raises(TypeError, match="polymarket:0x"):
        wire.snapshot(market, Book(), 1)
