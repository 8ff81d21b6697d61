"""The life of simulated Kalshi's markets: opened, halted, closed, determined, settled (kalshi.md sections 2.6, 3.3, 6).

Opening and closing happen by the clock and nobody is told. Everything else is driven by a command and told on the channel
``market_lifecycle_v2``, whose moments are seconds. Kept in the store, so a server that is started again knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_catalog import Catalog, Json, ListedMarket, NewMarket, dollars
from arbpipe.sim.kalshi_quoting import Ladder, QuotedWorld
from arbpipe.sim.kalshi_store import Store
from arbpipe.sim.kalshi_terms import Life, Phase
from arbpipe.sim.kalshi_ticks import STRUCTURES
from arbpipe.sim.units import ONE_E4

__all__ = ["EVENTS", "Lifecycle", "WrongMoment"]

_CHANNEL: Final = "market_lifecycle_v2"
_METADATA: Final = ("strike_type", "floor_strike", "cap_strike", "yes_sub_title")


class WrongMoment(ValueError):
    """The market is not in a state in which that can happen to it."""


class Lifecycle:
    """What happens to markets. ``announce`` tells the lifecycle channel, ``watch`` whoever follows a new market's book."""

    def __init__(
        self,
        catalog: Catalog,
        store: Store,
        account: Account,
        world: QuotedWorld,
        announce: Callable[[str, Json], None],
        watch: Callable[[str], None],
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._account = account
        self._world = world
        self._announce = announce
        self._watch = watch
        self._active = {ticker: catalog.status(ticker) == "active" for ticker in catalog.markets}

    def restore(self) -> None:
        """Put back what the store knows: markets that were listed later, and where each one stood."""
        for text in self._store.documents("market").values():
            saved = json.loads(text)
            self._enter(NewMarket(**saved["market"]), {(side, price): size for side, price, size in saved["quotes"]})
        for ticker, text in self._store.documents("life").items():
            if ticker in self._catalog.markets:
                saved_life = Life.from_text(text)
                life = self._catalog.markets[ticker].life
                for name in Life.__slots__:
                    setattr(life, name, getattr(saved_life, name))
                self._world.regrid(ticker)
                self._active[ticker] = self._catalog.status(ticker) == "active"
                if not self._active[ticker]:
                    self._world.withdraw(ticker)

    # -- commands -----------------------------------------------------------------------------------------------------

    def list_market(self, new: NewMarket, quotes: Ladder) -> ListedMarket:
        """A market appears.

        Raises:
            ValueError: its ticker is taken, its structure unknown, or a quote off the grid.
        """
        first = not self._catalog.tickers_of(new.event_ticker)
        listed = self._enter(new, quotes)
        with self._store.transaction():
            saved = [(side, price, size) for (side, price), size in quotes.items()]
            self._store.put_document("market", new.ticker, json.dumps({"market": asdict(new), "quotes": saved}))
        event = self._catalog.event(new.event_ticker, nested=False)
        if first:
            self._announce(
                "event_lifecycle",
                {
                    "event_ticker": new.event_ticker,
                    "exchange_index": new.exchange_index,
                    "title": event["title"],
                    "subtitle": event["sub_title"],
                    "collateral_return_type": event["collateral_return_type"],
                    "series_ticker": new.series_ticker,
                },
            )
        market = self._catalog.market(new.ticker)
        details: Json = {
            "name": market["title"],
            **{name: market[name] for name in ("title", "yes_sub_title", "no_sub_title", "rules_primary")},
            **{name: market[name] for name in ("rules_secondary", "can_close_early", "event_ticker")},
            "expected_expiration_ts": new.close_us // 1_000_000,
        }
        self._tell(
            listed,
            "created",
            exchange_index=new.exchange_index,
            open_ts=new.open_us // 1_000_000,
            close_ts=new.close_us // 1_000_000,
            additional_metadata=details,
            price_level_structure=listed.life.grid.name,
            price_ranges=listed.life.grid.shown(),
        )
        return listed

    def _enter(self, new: NewMarket, quotes: Ladder) -> ListedMarket:
        if new.structure in STRUCTURES:
            off = [price for _, price in quotes if not STRUCTURES[new.structure].allows(price)]
            if off:
                raise ValueError(f"{new.ticker}: quotes at {off} (1/10,000 dollar) are off the grid of {new.structure}")
        listed = self._catalog.add(new)
        self._active[new.ticker] = self._catalog.status(new.ticker) == "active"
        self._account.watch(new.ticker)
        self._watch(new.ticker)
        self._world.set_ladder(new.ticker, quotes)
        return listed

    def happen(self, ticker: str, event: str, params: Mapping[str, Any]) -> None:
        """Something happens to a market.

        Raises:
            WrongMoment: it cannot happen now. KeyError: no such market or event.
        """
        listed = self._catalog.markets[ticker]
        EVENTS[event](self, listed, params)
        listed.life.updated_us = self._catalog.now_us()
        self._save(listed)

    def waive(self, ticker: str, until_us: int) -> None:
        """Fills of a market cost nothing until then."""
        listed = self._catalog.markets[ticker]
        listed.life.waiver_us = until_us
        self._save(listed)

    def _save(self, listed: ListedMarket) -> None:
        with self._store.transaction():
            self._store.put_document("life", listed.ticker, listed.life.to_text())

    def _tell(self, listed: ListedMarket, event: str, **members: object) -> None:
        self._announce(_CHANNEL, {"market_ticker": listed.ticker, "event_type": event, **members})

    def _need(self, listed: ListedMarket, event: str, *statuses: str) -> None:
        status = self._catalog.status(listed.ticker)
        if status not in statuses:
            raise WrongMoment(f"{listed.ticker} is {status}: {event} needs a market that is {' or '.join(statuses)}")

    def _deactivated(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        self._need(listed, "deactivated", "active")
        listed.life.deactivated = True
        self._active[listed.ticker] = False
        self._tell(listed, "deactivated", is_deactivated=True)

    def _activated(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        """Trading goes on with an empty book: whatever rested is cancelled, and the market maker quotes anew."""
        self._need(listed, "activated", "inactive", "active")
        self._account.withdraw_all("HaltCancel", lambda order: order.ticker == listed.ticker)
        self._world.withdraw(listed.ticker)
        listed.life.deactivated = False
        self._active[listed.ticker] = False
        self._tell(listed, "activated", is_deactivated=False)
        self._follow(listed, self._catalog.now_us())

    def _close_date_updated(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        """The close moves, in either direction. One that has closed and gets a later date waits for ``activated``."""
        self._need(listed, "close_date_updated", "initialized", "active", "inactive", "closed")
        life, now_us = listed.life, self._catalog.now_us()
        was_closed = now_us >= life.close_us
        life.close_us = now_us + round(params["close_in_s"] * 1e6)
        if was_closed and life.close_us > now_us:
            life.swept = False
            life.deactivated = True
        self._tell(listed, "close_date_updated", close_ts=life.close_us // 1_000_000)
        self._follow(listed, now_us)

    def _determined(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        """A result, provisional until the timer is over. A market that still trades closes early first."""
        self._need(listed, "determined", "active", "inactive", "closed")
        now_us = self._catalog.now_us()
        if now_us < listed.life.close_us:
            listed.life.close_us = now_us
            self._tell(listed, "close_date_updated", close_ts=now_us // 1_000_000)
        self._follow(listed, now_us)
        self._decide(listed, params, Phase.DETERMINED)
        self._tell(
            listed,
            "determined",
            result=listed.life.result,
            settlement_value=dollars(listed.life.value_e4 or 0),
            determination_ts=now_us // 1_000_000,
        )

    def _disputed(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        """The timer stops; REST shows it and no frame is known for it."""
        self._need(listed, "disputed", "determined")
        listed.life.phase = Phase.DISPUTED
        listed.life.settle_us = None

    def _amended(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        """Another result, and the timer starts again; no frame is known for it."""
        self._need(listed, "amended", "determined", "disputed")
        self._decide(listed, params, Phase.AMENDED)

    def _decide(self, listed: ListedMarket, params: Mapping[str, Any], phase: Phase) -> None:
        life, now_us = listed.life, self._catalog.now_us()
        if params.get("timer_s") is not None:
            life.timer_s = params["timer_s"]
        life.result = params["result"]
        life.value_e4 = {"yes": ONE_E4, "no": 0}.get(life.result, params.get("value_e4"))
        if life.value_e4 is None:
            raise WrongMoment(f"{listed.ticker}: a scalar result needs value, dollars that one YES pays")
        life.phase = phase
        life.determined_us = now_us
        life.settle_us = now_us + round(life.timer_s * 1e6)

    def _settled(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        """The account is paid and the market is final."""
        self._need(listed, "settled", "determined", "amended", "disputed")
        life, now_us = listed.life, self._catalog.now_us()
        assert life.value_e4 is not None, "a determination gave it"
        self._account.settle(listed, life.result, life.value_e4)
        life.phase = Phase.FINALIZED
        life.settled_us = now_us
        life.settle_us = None
        self._tell(listed, "settled", settled_ts=now_us // 1_000_000)

    def _regrid(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        grid = STRUCTURES[params["structure"]]
        listed.life.grid = grid
        self._tell(listed, "price_level_structure_updated", price_level_structure=grid.name, price_ranges=grid.shown())
        self._world.regrid(listed.ticker)

    def _metadata_updated(self, listed: ListedMarket, params: Mapping[str, Any]) -> None:
        given = {name: params[name] for name in _METADATA if params.get(name) is not None}
        listed.life.metadata.update(given)
        self._tell(listed, "metadata_updated", **given)

    # -- time ---------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """What the clock brings: markets open and close, and determined ones are paid."""
        now_us = self._catalog.now_us()
        for listed in list(self._catalog.markets.values()):
            self._follow(listed, now_us)
            due_us = listed.life.settle_us
            if due_us is not None and due_us <= now_us:
                self.happen(listed.ticker, "settled", {})

    def _follow(self, listed: ListedMarket, now_us: int) -> None:
        """Empty the book of a market that closed, and let the market maker into one that opened."""
        ticker, life = listed.ticker, listed.life
        if now_us >= life.close_us and not life.swept:
            life.swept = True
            self._account.withdraw_all("CloseCancel", lambda order: order.ticker == ticker)
            self._world.withdraw(ticker)
            self._save(listed)
        active = life.status(now_us) == "active"
        if active and not self._active[ticker]:
            self._world.refresh(ticker)
        self._active[ticker] = active


EVENTS: Final[Mapping[str, Callable[[Lifecycle, ListedMarket, Mapping[str, Any]], None]]] = {
    "activated": Lifecycle._activated,
    "deactivated": Lifecycle._deactivated,
    "close_date_updated": Lifecycle._close_date_updated,
    "determined": Lifecycle._determined,
    "disputed": Lifecycle._disputed,
    "amended": Lifecycle._amended,
    "settled": Lifecycle._settled,
    "price_level_structure_updated": Lifecycle._regrid,
    "metadata_updated": Lifecycle._metadata_updated,
}
