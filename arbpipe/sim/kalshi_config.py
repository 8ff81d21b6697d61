"""What a simulated Kalshi is started with: the members of its CONFIG.json, checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from arbpipe.sim.kalshi_limits import TIERS
from arbpipe.sim.kalshi_ticks import STRUCTURES

__all__ = ["ConfigError", "KalshiAccountConfig", "KalshiSimConfig", "read_config"]

_CASH: Final = re.compile(r"\d{1,12}(\.\d{1,6})?\Z", re.ASCII)
_MEMBERS: Final = (
    "directory",
    "port",
    "seed",
    "events",
    "seconds",
    "started_ns",
    "speed",
    "tier",
    "account",
    "tls",
    "faults",
    "structures",
    "shards",
    "shard_cash_usd",
    "member",
)
_MEMBERS_OF_EXCHANGE: Final = ("direct", "non_direct")
_MOST_SHARD: Final = 100


class ConfigError(ValueError):
    """A member of the configuration is missing, unknown or makes no sense."""


@dataclass(frozen=True, slots=True)
class KalshiAccountConfig:
    """The one account: its key and, for a new account, its cash in micro-dollars."""

    key_id: str
    public_key_pem: str
    cash_e6: int


@dataclass(frozen=True, slots=True)
class KalshiSimConfig:
    """Everything a server needs.

    ``directory`` keeps the account and receives ``kalshi.json``. ``port`` 0 lets the system choose. ``started_ns`` is the
    world's start (epoch), ``seconds`` the length of its first cycle. ``faults`` must be empty: they are commanded while the
    server runs. ``structures``: grid by series, event or market ticker. ``shards``: exchange shard by series; the account's
    cash is on shard 0, and on the others what ``shard_cash_e6`` says (micro-dollars; a shard that is absent was never funded).
    ``member``: ``direct`` members' balances move in 1/100 cent, those of others (``non_direct``) in cents.
    """

    directory: Path
    started_ns: int
    account: KalshiAccountConfig
    cert: Path
    key: Path
    port: int = 0
    seed: int = 1
    events: int = 8
    seconds: float = 60.0
    speed: float = 1.0
    tier: str = "basic"
    faults: Mapping[str, object] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)
    shards: Mapping[str, int] = field(default_factory=dict)
    shard_cash_e6: Mapping[int, int] = field(default_factory=dict)
    member: str = "direct"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port {self.port} is no port: give 1 … 65535, or 0 to let the system choose")
        if self.tier not in TIERS:
            raise ConfigError(f"tier {self.tier!r} is unknown: give one of {', '.join(TIERS)}")
        if self.speed <= 0:
            raise ConfigError(f"speed {self.speed} does not move time: give a number above 0")
        if self.faults:
            raise ConfigError(f"faults {sorted(self.faults)} are not known here: leave faults empty")
        unknown = sorted(set(self.structures.values()) - set(STRUCTURES))
        if unknown:
            raise ConfigError(f"structures names {', '.join(unknown)}: choose from {', '.join(STRUCTURES)}")
        wrong = [index for index in (*self.shards.values(), *self.shard_cash_e6) if not 0 <= index <= _MOST_SHARD]
        if wrong or 0 in self.shard_cash_e6:
            raise ConfigError(
                f"shards {sorted(self.shards.values())} with cash on {sorted(self.shard_cash_e6)} make no sense: "
                f"a shard is 0 … {_MOST_SHARD}, and the cash of shard 0 is account.cash_usd"
            )
        if self.member not in _MEMBERS_OF_EXCHANGE:
            raise ConfigError(f"member {self.member!r} is unknown: give {' or '.join(_MEMBERS_OF_EXCHANGE)}")


def _member(table: Mapping[str, object], name: str, types: type | tuple[type, ...], where: str = "") -> object:
    value = table.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, types):
        kinds = types if isinstance(types, tuple) else (types,)
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(f"{where}{name} is {value!r}: give a value of type {wanted}")
    return value


def _cash(value: object, name: str) -> int:
    """Dollars as micro-dollars."""
    text = str(value)
    if isinstance(value, bool) or not _CASH.match(text):
        raise ConfigError(f"{name} is {text!r}: give dollars with at most 6 decimals, as text or an integer")
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(6, "0"))


def _index(value: object, name: str) -> int:
    """An exchange index, as an integer or as the text that a JSON key has to be."""
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{name} is {value!r}: give an exchange index, 0 or above")
    return int(text)


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}: give an object")
    return value


def read_config(path: Path) -> KalshiSimConfig:
    """Read a CONFIG.json. Paths in it count from the file's own folder.

    Raises:
        ConfigError: the file is no JSON object, or a member is missing, unknown or of the wrong type.
        OSError: the file cannot be read.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{path} holds {type(table).__name__}: write one JSON object")
    unknown = sorted(set(table) - set(_MEMBERS))
    if unknown:
        raise ConfigError(f"{path}: unknown members {', '.join(unknown)}: known are {', '.join(_MEMBERS)}")
    account = _member(table, "account", dict)
    tls = _member(table, "tls", dict)
    assert isinstance(account, dict)
    assert isinstance(tls, dict)
    cash_e6 = _cash(_member(account, "cash_usd", (int, str), "account."), "account.cash_usd")
    base = path.parent
    defaults: dict[str, object] = {"port": 0, "seed": 1, "events": 8, "seconds": 60, "speed": 1, "tier": "basic"}
    merged = defaults | table
    return KalshiSimConfig(
        directory=base / str(_member(table, "directory", str)),
        started_ns=int(str(_member(table, "started_ns", int))),
        account=KalshiAccountConfig(
            key_id=str(_member(account, "key_id", str, "account.")),
            public_key_pem=str(_member(account, "public_key_pem", str, "account.")),
            cash_e6=cash_e6,
        ),
        cert=base / str(_member(tls, "cert", str, "tls.")),
        key=base / str(_member(tls, "key", str, "tls.")),
        port=int(str(_member(merged, "port", int))),
        seed=int(str(_member(merged, "seed", int))),
        events=int(str(_member(merged, "events", int))),
        seconds=float(str(_member(merged, "seconds", (int, float)))),
        speed=float(str(_member(merged, "speed", (int, float)))),
        tier=str(_member(merged, "tier", str)),
        faults=table.get("faults") or {},
        structures={name: str(value) for name, value in _table(table, "structures").items()},
        shards={name: _index(value, f"shards.{name}") for name, value in _table(table, "shards").items()},
        shard_cash_e6={
            _index(name, "shard_cash_usd"): _cash(value, f"shard_cash_usd.{name}")
            for name, value in _table(table, "shard_cash_usd").items()
        },
        member=str(_member({"member": "direct"} | table, "member", str)),
    )
