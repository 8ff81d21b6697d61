"""What the client sends is what the venue's own specification allows: every request, every parameter, every command."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from feed_bench import Bench
from jsonschema import Draft202012Validator
from kalshi_simulated import Scene, simulated
from kalshi_sockets import LiveBench, ScriptedSockets, living

from arbpipe.venues.base import Action, TimeInForce
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.checks import check_account
from arbpipe.venues.kalshi.rest import KalshiRest
from arbpipe.venues.kalshi.standing import Standing
from arbpipe.venues.kalshi.watch import KalshiWatch

PREFIX = "/trade-api/v2"


def _strict(node: Any) -> Any:
    """As JSON Schema, in which no member may be invented."""
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    out = {name: _strict(value) for name, value in node.items() if name not in ("nullable", "example", "examples")}
    if isinstance(out.get("properties"), dict) and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") is True else out


@cache
def document(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def resolved(whole: Any, node: Any) -> Any:
    while "$ref" in node:
        found = whole
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def faults(whole: Any, schema: Any, value: Any) -> list[str]:
    checked = {**_strict(schema), "components": _strict(whole["components"])}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(checked).iter_errors(value)]


def operation(whole: Any, method: str, path: str) -> Any:
    """The operation that serves a path; the one with the fewest placeholders where several match."""
    parts = path.removeprefix(PREFIX).split("/")
    found = []
    for template, methods in whole["paths"].items():
        names = template.split("/")
        if len(names) == len(parts) and method.lower() in methods:
            open_names = sum(name.startswith("{") for name in names)
            if all(name == part or name.startswith("{") for name, part in zip(names, parts, strict=True)):
                found.append((open_names, template))
    assert found, f"{method} {path} is in no specification"
    return whole["paths"][min(found)[1]][method.lower()]


def check_request(whole: Any, method: str, path: str, query: dict[str, str], body: bytes) -> None:
    wanted = operation(whole, method, path)
    known = {}
    for given in wanted.get("parameters", ()):
        parameter = resolved(whole, given)
        if parameter["in"] == "query":
            known[parameter["name"]] = resolved(whole, parameter["schema"])
    for name, value in query.items():
        assert name in known, f"{method} {path}: no parameter {name!r}, there are {sorted(known)}"
        kind = known[name].get("type")
        typed: Any = int(value) if kind == "integer" else value
        assert not faults(whole, known[name], typed), f"{method} {path}: {name}={value}"
    if "requestBody" in wanted:
        schema = wanted["requestBody"]["content"]["application/json"]["schema"]
        assert not faults(whole, schema, json.loads(body)), f"{method} {path}: {body!r}"
    else:
        assert not body


async def everything(scene: Scene) -> None:
    """Every kind of request that the live side makes."""
    gateway = scene.gateway
    rests = scene.order("ap-0-0-0", price_e4=4_000, time_in_force=TimeInForce.GTC)
    await gateway.place(rests)
    await gateway.cancel(rests)
    await gateway.place(scene.order("ap-0-0-1", time_in_force=TimeInForce.FOK))
    await gateway.place(scene.order("ap-0-0-2", action=Action.SELL, price_e4=4_000, reduce_only=True))
    both = [scene.order(f"ap-0-1-{n}", price_e4=4_000, time_in_force=TimeInForce.GTC) for n in range(2)]
    await gateway.place_batch(both)
    await gateway.cancel_batch(both)
    await gateway.lookup(scene.order("ap-0-9-9"))  # never sent: the fence
    await gateway.positions()
    await gateway.cash_e6()
    rest = KalshiRest(scene.server.rest, scene.signer, scene.tls, now_ms=wall_ms)
    await rest.start()
    try:
        await check_account(rest, scene.signer, "ap-", lambda: wall_ms() / 1000)
        standing = Standing(strict=True)
        standing.list([scene.ticker])
        watch = KalshiWatch(rest, standing, lambda text: None, lambda ticker: None)
        await watch.read_status()
        await watch.read_calendar()
        await watch.read_markets()
        await watch.read_fees()
    finally:
        await rest.stop()


def test_every_request_is_one_that_the_specification_allows(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = document(recordings / "kalshi" / "spec" / "openapi-3.34.0.yaml")
    sent: list[tuple[str, str, dict[str, str], bytes]] = []
    ask = KalshiRest.ask

    async def noting(self: KalshiRest, method: str, path: str, query: Any = None, body: Any = None, **more: Any) -> Any:
        asked = {name: str(value) for name, value in (query or {}).items()}
        sent.append((method, path, asked, body or b""))
        return await ask(self, method, path, query, body, **more)

    monkeypatch.setattr(KalshiRest, "ask", noting)

    async def main() -> None:
        async with simulated(tmp_path, shards={"KXSIMRATE": 1}, shard_cash_e6={1: 100_000_000}) as scene:
            await everything(scene)

    asyncio.run(main())
    for each in sent:
        check_request(whole, *each)
    kinds = {(method, operation(whole, method, path)["operationId"]) for method, path, _, _ in sent}
    assert {name for method, name in kinds if method != "GET"} == {
        "CreateOrderV2",
        "CancelOrderV2",
        "BatchCreateOrdersV2",
        "BatchCancelOrdersV2",
    }
    assert len(kinds) >= 16


def test_a_request_of_before_would_be_noticed(recordings: Path) -> None:
    whole = document(recordings / "kalshi" / "spec" / "openapi-3.34.0.yaml")
    order = {"ticker": "A", "side": "yes", "action": "buy", "count": 1, "yes_price": 52, "type": "limit"}
    with pytest.raises(AssertionError):
        check_request(whole, "POST", "/portfolio/events/orders", {}, json.dumps(order).encode())
    with pytest.raises(AssertionError, match="no parameter 'client_order_id'"):
        check_request(whole, "GET", "/portfolio/orders", {"client_order_id": "x"}, b"")
    with pytest.raises(AssertionError, match="in no specification"):
        check_request(whole, "POST", "/portfolio/buy", {}, b"{}")


COMMANDS = {
    "subscribe": "subscribeCommandPayload",
    "update_subscription": "updateSubscriptionCommandPayload",
}


def test_every_command_is_one_that_the_specification_allows(kalshi_bench: Bench, recordings: Path) -> None:
    whole = document(recordings / "kalshi" / "spec" / "asyncapi-2.0.0.yaml")
    venue = ScriptedSockets()

    async def work(made: LiveBench) -> None:
        made.list("A", "C")
        await made.until(lambda: made.quoted("C"))
        made.peer.lose_a_frame()
        await made.peer.delta("A", "0.4000", "1.00")
        await made.until(lambda: made.peer.actions("get_snapshot"))
        await made.until(lambda: made.quoted("A"))

    async def main() -> None:
        async with living(kalshi_bench, "A", "B", venue=venue) as made:
            await work(made)

    asyncio.run(main())
    commands = [command for peer in venue.peers for command in peer.commands]
    assert {c["params"].get("action", c["cmd"]) for c in commands} == {
        "subscribe",
        "add_markets",
        "delete_markets",
        "get_snapshot",
    }
    for command in commands:
        schema = {"$ref": f"#/components/schemas/{COMMANDS[command['cmd']]}"}
        assert not faults(whole, schema, command), command
    assert faults(whole, {"$ref": "#/components/schemas/subscribeCommandPayload"}, {"id": 1, "cmd": "subscribe"})
