"""The configuration: one TOML file, checked whole, with the origin of every value in force.

Order: flag, environment, file, default. A key nobody declared is refused, in the file and under our environment prefix,
naming the nearest known one: a mistyped limit must never fall back to a default (failures.md F67). Dollars and contracts
are strings, so that no float stands between the file and the money.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from arbpipe.errors import EnvironmentRefused
from arbpipe.fixedpoint import FixedPointError, parse_money_e6, parse_size_e2

__all__ = ["Config", "ENVIRONMENT", "Loaded", "SECTIONS", "default_toml", "to_toml", "load", "find_config"]

_PREFIX: Final = "ARBPIPE_"
#: Names under our prefix that are not configuration keys.
ENVIRONMENT: Final = {
    "ARBPIPE_CONFIG": "path of the configuration file",
    "ARBPIPE_SEGMENT": "directory of the segment",
    "ARBPIPE_NATIVE": "auto, require or python: which core to use",
    "ARBPIPE_RECORDINGS": "folder of recordings, read by the tests",
    "ARBPIPE_LONG": "set by hand: the tests' long form",
}


class SegmentConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Size of the shared memory. lock_memory keeps it from being paged out, and needs RLIMIT_MEMLOCK of that size."""

    slots: int = 2048
    connections: int = 64
    log_capacity: int = 4096
    ring_capacity: int = 128
    covers: int = 4096
    lock_memory: bool = False


class PathsConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where things lie. Relative paths are relative to the configuration file."""

    pairs: str = "pairs.toml"
    state: str = "~/.local/state/arbpipe"


class FreshnessConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The staleness rule (design 6)."""

    max_confirm_age_ms: int = 15_000
    max_lag_ms: int = 1_000
    max_heartbeat_age_ms: int = 2_000


class DetectorConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What counts as an opportunity. Edges are dollars per contract, after fees. wait: block (spin briefly, then sleep) or
    spin, which takes a core of its own named in cpus."""

    min_edge_usd: str = "0.005"
    max_edge_usd: str = "0.05"
    max_size: str = "200"
    expiry_ms: int = 250
    repush_ms: int = 1_000
    sweep_ms: int = 100
    wait: str = "block"
    cpus: tuple[int, ...] = ()


class FeedsConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The feed processes."""

    kalshi_cpus: tuple[int, ...] = ()
    polymarket_cpus: tuple[int, ...] = ()


class ExecutorConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How opportunities are taken. live must be true before `arbpipe run --live` sends an order."""

    live: bool = False
    cooldown_ms: int = 1_000
    complete_steps: int = 3
    unwind_steps: int = 3
    kalshi_direct_member: bool = True
    cpus: tuple[int, ...] = ()


class LimitsConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Exposure limits, in dollars of cash at risk. They refuse; the breaker's causes stand in ``[breaker]``."""

    max_event_usd: str = "500"
    max_venue_usd: str = "2000"
    max_total_usd: str = "4000"
    max_unhedged_usd: str = "100"
    max_tail_event_usd: str = "0"
    max_tail_total_usd: str = "0"
    loss_budget_usd: str = "5"


class BreakerConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What trips the breaker; only a person resets it. day_zone: whose midnight begins a new day for max_daily_loss_usd."""

    day_zone: str = "UTC"
    max_daily_loss_usd: str = "50"
    max_consecutive_errors: int = 5
    max_unresolved: int = 3
    max_attempts_per_minute: int = 120


class PaperConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The paper venue: what it holds and how it misbehaves (per mille of orders)."""

    kalshi_cash_usd: str = "10000"
    polymarket_cash_usd: str = "10000"
    delay_ms: int = 30
    reject_permille: int = 5
    partial_permille: int = 30
    seed: int = 1


class KalshiConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Kalshi: endpoints and the key. The private key is read from its file by the processes that sign, and nowhere kept."""

    rest: str = "https://external-api.kalshi.com/trade-api/v2"
    ws: str = "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
    key_id: str = ""
    private_key_file: str = ""


class PolymarketConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Polymarket: endpoints and the wallet. signature_type: 0 EOA, 1 proxy, 2 Safe (polymarket.md 1.5)."""

    clob: str = "https://clob.polymarket.com"
    data: str = "https://data-api.polymarket.com"
    ws_market: str = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    ws_user: str = "wss://ws-subscriptions-clob.polymarket.com/ws/user"
    private_key_file: str = ""
    funder: str = ""
    signature_type: int = 0


class NetworkConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """TLS: ca_file names the authority to trust instead of the system's (the simulators' own)."""

    ca_file: str = ""


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Everything that can be configured."""

    segment: SegmentConfig = SegmentConfig()
    paths: PathsConfig = PathsConfig()
    freshness: FreshnessConfig = FreshnessConfig()
    detector: DetectorConfig = DetectorConfig()
    feeds: FeedsConfig = FeedsConfig()
    executor: ExecutorConfig = ExecutorConfig()
    limits: LimitsConfig = LimitsConfig()
    breaker: BreakerConfig = BreakerConfig()
    paper: PaperConfig = PaperConfig()
    kalshi: KalshiConfig = KalshiConfig()
    polymarket: PolymarketConfig = PolymarketConfig()
    network: NetworkConfig = NetworkConfig()


SECTIONS: Final = {field.name: field.type for field in msgspec.structs.fields(Config)}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each value came from (``section.key`` → ``default``, a file, or an environment name)."""

    config: Config
    origins: Mapping[str, str]
    path: Path | None

    def resolve(self, text: str) -> Path:
        """A path of the configuration: ``~`` expanded, relative to the file's folder."""
        path = Path(text).expanduser()
        return path if path.is_absolute() or self.path is None else self.path.parent / path


def _env_name(section: str, key: str) -> str:
    return f"{_PREFIX}{section}_{key}".upper()


def _keys() -> dict[str, tuple[str, str, Any]]:
    """Environment name → (section, key, type)."""
    return {
        _env_name(section, field.name): (section, field.name, field.type)
        for section, struct in SECTIONS.items()
        for field in msgspec.structs.fields(struct)
    }


def check_environment(environ: Mapping[str, str]) -> None:
    """Refuse a name under our prefix that nobody reads.

    Raises:
        EnvironmentRefused: naming the nearest known one.
    """
    known = {*_keys(), *ENVIRONMENT}
    for name in environ:
        # click's completion sets _ARBPIPE_COMPLETE, which does not begin with the prefix
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f": did you mean {near[0]}?" if near else ": unset it"
            raise EnvironmentRefused(f"the environment has {name}, which arbpipe does not know{hint}")


def find_config(flag: str | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file in force: the flag, ``ARBPIPE_CONFIG``, ``./arbpipe.toml`` if it exists, else none.

    Raises:
        EnvironmentRefused: a file was named and is not there.
    """
    named = flag or environ.get("ARBPIPE_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise EnvironmentRefused(f"no configuration file at {path}: create one with `arbpipe config init {path}`")
        return path.resolve()
    here = Path("arbpipe.toml")
    return here.resolve() if here.is_file() else None


def _from_text(text: str, kind: Any, name: str) -> Any:
    """An environment value as the type of its key."""
    try:
        if kind is str:
            return text
        if kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower() == "true"
        if kind is int:
            return int(text)
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        what = {bool: "true or false", int: "a whole number"}.get(kind, "whole numbers with commas")
        raise EnvironmentRefused(f"{name}={text!r}: {what} expected") from None


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read, merge and check the configuration. ``flags`` maps ``section.key`` to a value given on the command line.

    Raises:
        EnvironmentRefused: unreadable or invalid; the message names file, key, value and what to do.
    """
    environ = os.environ if environ is None else environ
    check_environment(environ)
    merged: dict[str, dict[str, Any]] = {}
    origins = {
        f"{section}.{field.name}": "default"
        for section, struct in SECTIONS.items()
        for field in msgspec.structs.fields(struct)
    }
    if path is not None:
        merged = _read(path)
        for section, values in merged.items():
            for key in values:
                origins[f"{section}.{key}"] = str(path)
    for name, (section, key, kind) in _keys().items():
        if name in environ:
            merged.setdefault(section, {})[key] = _from_text(environ[name], kind, name)
            origins[f"{section}.{key}"] = name
    for dotted, value in (flags or {}).items():
        section, _, key = dotted.partition(".")
        merged.setdefault(section, {})[key] = value
        origins[dotted] = "command line"
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise EnvironmentRefused(f"{path or 'configuration'}: {error}") from None
    _check_values(config, path)
    return Loaded(config, origins, path)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvironmentRefused(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EnvironmentRefused(f"{path} is not valid TOML: {error}") from None
    for section, values in data.items():
        if section not in SECTIONS:
            near = difflib.get_close_matches(section, SECTIONS, 1, 0.5)
            hint = f": did you mean [{near[0]}]?" if near else f"; there are {', '.join(SECTIONS)}"
            raise EnvironmentRefused(f"{path}: unknown section [{section}]{hint}")
        if not isinstance(values, dict):
            raise EnvironmentRefused(f"{path}: {section} must be a section [{section}]")
        known = {field.name for field in msgspec.structs.fields(SECTIONS[section])}
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.5)
                hint = f": did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(known))}"
                raise EnvironmentRefused(f"{path}: unknown key {key} in [{section}]{hint}")
    return data


def _check_values(config: Config, path: Path | None) -> None:
    where = path or "configuration"
    for section in SECTIONS:
        struct = getattr(config, section)
        for field in msgspec.structs.fields(type(struct)):
            value = getattr(struct, field.name)
            name = f"{where}: {section}.{field.name} = {value!r}"
            try:
                if field.name.endswith("_usd") and parse_money_e6(value) < 0:
                    raise EnvironmentRefused(f"{name}: it must not be negative")
                if field.name == "max_size" and parse_size_e2(value) <= 0:
                    raise EnvironmentRefused(f"{name}: it must be positive")
            except FixedPointError as error:
                raise EnvironmentRefused(f"{name}: {error}") from None
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, int) and each < 0 for each in numbers):
                raise EnvironmentRefused(f"{name}: it must not be negative")
    try:
        ZoneInfo(config.breaker.day_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EnvironmentRefused(
            f"{where}: breaker.day_zone = {config.breaker.day_zone!r} is no time zone that this machine knows"
        ) from None
    for dotted in ("freshness.max_confirm_age_ms", "detector.sweep_ms", "detector.expiry_ms"):
        section, _, key = dotted.partition(".")
        if getattr(getattr(config, section), key) <= 0:
            raise EnvironmentRefused(f"{where}: {dotted} must be positive")
    _check_wait(config, where)
    if parse_money_e6(config.detector.max_edge_usd) <= parse_money_e6(config.detector.min_edge_usd):
        raise EnvironmentRefused(f"{where}: detector.max_edge_usd must be above detector.min_edge_usd")


def _check_wait(config: Config, where: Path | str) -> None:
    """A spinning detector on a core that another process needs makes both of them late."""
    detector = config.detector
    if detector.wait not in ("block", "spin"):
        raise EnvironmentRefused(f'{where}: detector.wait = "{detector.wait}": use block or spin')
    if detector.wait == "spin":
        shared = {*config.feeds.kalshi_cpus, *config.feeds.polymarket_cpus, *config.executor.cpus}
        if len(detector.cpus) != 1 or detector.cpus[0] in shared or len(os.sched_getaffinity(0)) < 2:
            raise EnvironmentRefused(
                f'{where}: detector.wait = "spin" with detector.cpus = {list(detector.cpus)}: name one core there that no '
                "feed and not the executor is pinned to, on a machine with two or more; else use block"
            )


def default_toml() -> str:
    """A complete configuration file with every default, section by section, as ``arbpipe config init`` writes it."""
    return to_toml(
        Config(), "arbpipe configuration; every key is shown with its default. Dollars and contracts are strings."
    )


def to_toml(config: Config, comment: str) -> str:
    """A configuration as a file."""
    lines = [f"# {comment}"]
    for section, struct in SECTIONS.items():
        doc = " ".join((struct.__doc__ or "").split())
        lines += ["", f"# {doc}", f"[{section}]"]
        for field in msgspec.structs.fields(struct):
            lines.append(f"{field.name} = {_toml(getattr(getattr(config, section), field.name))}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)
