"""What is done between orders, so that an order waits for none of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kalshi_venue import PEM, QUICK, TICKER, ScriptedKalshi, order, run, signer

from arbpipe.venues.kalshi.auth import PREPARED_MS, KalshiSigner, wall_ms
from arbpipe.venues.kalshi.gateway import KalshiGateway
from arbpipe.venues.kalshi.rest import KalshiRest
from arbpipe.venues.kalshi.upkeep import Shards

PATH = "/trade-api/v2/portfolio/events/orders"


def rsa_signer() -> KalshiSigner:
    key = rsa.generate_private_key(65_537, 2_048)
    form = serialization.PrivateFormat.PKCS8
    return KalshiSigner("key-1", key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


# --- connections ------------------------------------------------------------------------------------------------------


def test_connections_are_open_before_the_first_order_and_kept_open() -> None:
    venue = ScriptedKalshi()

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> None:
        before = set(venue.connections)
        assert len(before) == 3
        await asyncio.gather(*(gateway.place(order(f"ap-1-0-{number}")) for number in range(3)))
        assert set(venue.connections) == before  # nobody had to wait for a handshake
        await asyncio.sleep(1.3)
        assert len(venue.gets("/exchange/status")) >= 3  # asked again on each

    run(venue, work, patience=replace(QUICK, warm=3, warm_s=0.2))


# --- shards -----------------------------------------------------------------------------------------------------------


def learned(venue: ScriptedKalshi, tickers: list[str], times: int = 1) -> dict[str, int | None]:
    async def main() -> dict[str, int | None]:
        async with venue.serving() as base:
            rest = KalshiRest(base, signer(), None, now_ms=wall_ms)
            await rest.start()
            try:
                shards = Shards(rest, lambda: tickers, timeout_s=1)
                for _ in range(times):
                    await shards.learn()
                return {ticker: shards.of(ticker) for ticker in tickers}
            finally:
                await rest.stop()

    return asyncio.run(main())


def test_a_shard_is_what_the_venue_states_and_nothing_is_made_up() -> None:
    venue = ScriptedKalshi()
    venue.markets = [
        {"ticker": "A", "exchange_index": 3},
        {"ticker": "B", "exchange_index": 0},
        {"ticker": "C"},
        {"ticker": "D", "exchange_index": -1},
    ]
    assert learned(venue, ["A", "B", "C", "D", "E"]) == {"A": 3, "B": 0, "C": None, "D": None, "E": None}


def test_what_the_venue_does_not_state_is_not_asked_for_every_second() -> None:
    venue = ScriptedKalshi()
    learned(venue, ["C"], times=5)
    assert len(venue.gets("/markets")) == 1


def test_many_markets_are_asked_for_a_hundred_at_a_time() -> None:
    venue = ScriptedKalshi()
    learned(venue, [f"T{number}" for number in range(250)])
    assert [len(query["tickers"].split(",")) for query in venue.gets("/markets")] == [100, 100, 50]


# --- signatures -------------------------------------------------------------------------------------------------------


def test_an_rsa_signature_is_made_ahead_and_used_while_it_is_young() -> None:
    made = rsa_signer()
    made.prepare("POST", PATH, 1_000_000)
    first = made.headers("POST", PATH, 1_000_000 + PREPARED_MS)
    assert first["KALSHI-ACCESS-TIMESTAMP"] == "1000000"
    assert made.headers("POST", PATH, 1_000_500) == first
    assert made.headers("POST", PATH, 1_000_001 + PREPARED_MS)["KALSHI-ACCESS-TIMESTAMP"] == str(
        1_000_001 + PREPARED_MS
    )
    assert made.headers("POST", PATH, 999_999)["KALSHI-ACCESS-TIMESTAMP"] == "999999"  # a clock that went back
    assert made.headers("DELETE", PATH, 1_000_100)["KALSHI-ACCESS-TIMESTAMP"] == "1000100"
    assert made.headers("POST", f"{PATH}/x", 1_000_100)["KALSHI-ACCESS-TIMESTAMP"] == "1000100"


def test_what_was_signed_ahead_is_never_handed_out_to_be_changed() -> None:
    made = rsa_signer()
    made.prepare("POST", PATH, 1_000_000)
    made.headers("POST", PATH, 1_000_000)["Content-Type"] = "application/json"
    assert "Content-Type" not in made.headers("POST", PATH, 1_000_000)


def test_an_ed25519_key_signs_as_it_sends() -> None:
    made = signer()
    made.prepare("POST", PATH, 1_000_000)
    assert made.headers("POST", PATH, 1_000_100)["KALSHI-ACCESS-TIMESTAMP"] == "1000100"


def test_the_gateway_signs_its_orders_ahead_each_second() -> None:
    venue = ScriptedKalshi()
    ahead: list[tuple[str, str]] = []

    class Noting(KalshiSigner):
        __slots__ = ()

        def prepare(self, method: str, path: str, now_ms: int | None = None) -> None:
            ahead.append((method, path))

    async def main() -> None:
        async with venue.serving() as base:
            gateway = KalshiGateway(base, Noting("key-1", PEM), None, patience=QUICK, tickers=lambda: [TICKER])
            await gateway.open()
            try:
                await asyncio.sleep(1.3)
            finally:
                await gateway.close()

    asyncio.run(main())
    assert set(ahead) == {("POST", PATH)}
    assert len(ahead) >= 2
