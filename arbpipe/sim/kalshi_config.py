"""What a simulated Kalshi is started with: the members of its CONFIG.json, checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from arbpipe.sim.kalshi_limits import TIERS

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
)


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
    world's start (epoch), ``seconds`` the length of its first cycle. ``faults`` is kept for later and must be empty.
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

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port {self.port} is no port: give 1 … 65535, or 0 to let the system choose")
        if self.tier not in TIERS:
            raise ConfigError(f"tier {self.tier!r} is unknown: give one of {', '.join(TIERS)}")
        if self.speed <= 0:
            raise ConfigError(f"speed {self.speed} does not move time: give a number above 0")
        if self.faults:
            raise ConfigError(f"faults {sorted(self.faults)} are not known here: leave faults empty")


def _member(table: Mapping[str, object], name: str, types: type | tuple[type, ...], where: str = "") -> object:
    value = table.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, types):
        kinds = types if isinstance(types, tuple) else (types,)
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(f"{where}{name} is {value!r}: give a value of type {wanted}")
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
    cash = str(_member(account, "cash_usd", (int, str), "account."))
    if not _CASH.match(cash):
        raise ConfigError(f"account.cash_usd is {cash!r}: give dollars with at most 6 decimals, as text or an integer")
    whole, _, fraction = cash.partition(".")
    base = path.parent
    defaults: dict[str, object] = {"port": 0, "seed": 1, "events": 8, "seconds": 60, "speed": 1, "tier": "basic"}
    merged = defaults | table
    return KalshiSimConfig(
        directory=base / str(_member(table, "directory", str)),
        started_ns=int(str(_member(table, "started_ns", int))),
        account=KalshiAccountConfig(
            key_id=str(_member(account, "key_id", str, "account.")),
            public_key_pem=str(_member(account, "public_key_pem", str, "account.")),
            cash_e6=int(whole + fraction.ljust(6, "0")),
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
    )
