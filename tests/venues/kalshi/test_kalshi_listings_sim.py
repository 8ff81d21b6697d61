"""The reader against simulated Kalshi: what is listed is read whole, over TLS, and trades as the venue charges."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "sim"))

from kalshi_support import Client, kalshi_client

from arbpipe.sim.authority import client_context
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.listing_read import Fetcher, ListingReader, Reading
from arbpipe.venues.kalshi.listing_report import parents_of, report_of
from arbpipe.venues.kalshi.listing_store import ListingStore, Scope
from arbpipe.venues.kalshi.listings import Listed
from arbpipe.venues.kalshi.pace import ANONYMOUS_READS, ReadPace
from arbpipe.venues.kalshi.rest import KalshiRest


async def read(client: Client, path: Path, now_s: int, **scope: object) -> tuple[Reading, ListingStore]:
    """One run; the store is left open for the test."""
    rest = KalshiRest(client.server.rest, None, client_context(client.ca_pem), now_ms=wall_ms)
    await rest.start()
    chosen = Scope(client.server.rest, **scope)  # type: ignore[arg-type]
    store = ListingStore(path, chosen)
    try:
        reader = ListingReader(Fetcher(rest, ReadPace(ANONYMOUS_READS)), store, chosen, lambda step: None)
        return await reader.run(now_s), store
    finally:
        await rest.stop()


def test_the_whole_listing_is_read_and_trades(tmp_path: Path) -> None:
    async def main() -> None:
        async with kalshi_client(tmp_path / "sim", events=12) as client:
            now = datetime.now(UTC)
            _, store = await read(client, tmp_path / "store", int(now.timestamp()))
            catalog = client.server.catalog
            report = report_of(store, "open", now)
            assert report.markets == len(catalog.markets) > 12
            assert (report.tradeable, report.against, report.unreadable) == (report.markets, [], [])
            parents = parents_of(store)
            for row in store.rows("market"):
                found = parents.listed(row.raw)
                assert isinstance(found, Listed)
                status, body = await client.call("GET", f"/markets/{row.ticker}", headers={})
                assert status == 200
                assert body["market"]["rules_primary"] == found.market.rules_primary
            store.close()

    asyncio.run(main())


def test_one_series_is_read_alone_and_a_second_run_refreshes(tmp_path: Path) -> None:
    async def main() -> None:
        async with kalshi_client(tmp_path / "sim", events=12) as client:
            now = datetime.now(UTC)
            series = sorted({each.series_ticker for each in client.server.catalog.markets.values()})[0]
            first, store = await read(client, tmp_path / "store", int(now.timestamp()), series=(series,))
            tickers = [row.ticker for row in store.rows("market")]
            wanted = [each.ticker for each in client.server.catalog.markets.values() if each.series_ticker == series]
            assert tickers == sorted(wanted)
            store.close()
            again, store = await read(client, tmp_path / "store", int(now.timestamp()) + 60, series=(series,))
            assert (first.run.since_s, again.run.since_s > 0) == (0, True)
            assert [row.ticker for row in store.rows("market")] == tickers
            store.close()

    asyncio.run(main())


def test_our_fastest_pace_is_never_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with kalshi_client(tmp_path / "sim") as client:
            rest = KalshiRest(client.server.rest, None, client_context(client.ca_pem), now_ms=wall_ms)
            await rest.start()
            fetcher = Fetcher(rest, ReadPace(ANONYMOUS_READS))
            try:
                await asyncio.gather(*(fetcher.get("/series") for _ in range(2 * ANONYMOUS_READS)))
            finally:
                await rest.stop()
            assert fetcher.refused == 0

    asyncio.run(main())
