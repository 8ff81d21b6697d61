"""The commands of simulated Kalshi: faults of streams, orders and reads, and what happens to the venue and its markets.

A fault is armed and used up (``times``), or lasts for ``for_s`` seconds or until it is cleared. See docs/simulators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from arbpipe.sim.kalshi_catalog import Json
from arbpipe.sim.kalshi_control import Command, ControlError, Kind, Param
from arbpipe.sim.kalshi_market_commands import MARKET_COMMANDS
from arbpipe.sim.kalshi_parts import Parts
from arbpipe.sim.kalshi_pauses import KINDS, Maintenance
from arbpipe.sim.kalshi_session import CHANNELS, NUMBERED, ErrorCode, Session

__all__ = ["COMMANDS"]


Args = dict[str, Any]
Run = Callable[[Parts, Args], Json]


def _arm(name: str) -> Run:
    """Arm a fault that is used up, or that lasts."""

    def run(parts: Parts, args: Args) -> Json:
        params = {key: value for key, value in args.items() if key not in ("times", "for_s")}
        if "for_s" in args:
            parts.faults.clear(name)  # the newest is in force
        armed = parts.faults.arm(name, params, times=args.get("times"), for_s=args.get("for_s"))
        return {"number": armed.number}

    return run


def _disarm(name: str) -> Callable[[Parts], None]:
    def clear(parts: Parts) -> None:
        parts.faults.clear(name)

    return clear


def _everywhere(name: str, act: Callable[[Session, Args], None]) -> Run:
    """Do something to every connection, or to the next one when there is none."""

    def run(parts: Parts, args: Args) -> Json:
        def one(session: Session) -> None:
            parts.faults.count(name)
            act(session, args)

        return {"connections": parts.hub.each(name, one)}

    return run


def _forget(name: str) -> Callable[[Parts], None]:
    return lambda parts: parts.hub.forget(name)


def _freeze(parts: Parts, args: Args) -> Json:
    unknown = [ticker for ticker in args["tickers"] if ticker not in parts.catalog.markets]
    if unknown:
        raise ControlError(
            f"freeze: {', '.join(unknown)} not listed: give tickers of this venue, or none for everything"
        )
    number = parts.hub.next_freeze()
    deliver = args["then"] == "deliver"

    def thaw(session: Session) -> None:
        session.tap.thaw(number, deliver=deliver)

    def freeze(session: Session) -> None:
        parts.faults.count("freeze")
        session.tap.freeze(number, frozenset(args["tickers"]))
        parts.later(args["seconds"], partial(thaw, session))

    return {"connections": parts.hub.each("freeze", freeze)}


def _pause(parts: Parts, args: Args) -> Json:
    return {"cancelled": parts.pauses.pause(args["kind"], args["exchange_index"])}


def _resume(parts: Parts, args: Args) -> Json:
    parts.pauses.resume(args["exchange_index"])
    return {}


def _maintenance(parts: Parts, args: Args) -> Json:
    start_us = parts.catalog.now_us() + round(args["in_s"] * 1e6)
    end_us = start_us + round(args["seconds"] * 1e6)
    parts.pauses.plan(Maintenance(start_us, end_us, args["kind"], args["clock_back"]))
    return {"start_us": start_us, "end_us": end_us}


def _reset(parts: Parts, args: Args) -> Json:
    cleared = parts.faults.clear()
    parts.hub.forget(None)
    parts.pauses.reset()
    parts.world.release()
    return {"cleared": cleared}


_TIMES: Final = Param(Kind.COUNT, 1)
_FOR: Final = Param(Kind.SECONDS, None)
_SECONDS: Final = Param(Kind.SECONDS)
_ON: Final = Param(Kind.TEXT, "create", ("create", "batch", "cancel", "cancel_batch", "amend", "decrease"))
_NUMBERED: Final = Param(Kind.TEXT, "orderbook_delta", tuple(sorted(NUMBERED)))
_SHARD: Final = Param(Kind.INDEX, None)
_STATUS: Final = Param(Kind.COUNT, 503, (408, 500, 502, 503, 504))
_KIND: Final = Param(Kind.TEXT, "trading", KINDS)


def _once(name: str, words: str, **params: Param) -> Command:
    return Command(words, {**params, "times": _TIMES}, _arm(name), _disarm(name))


def _lasting(name: str, words: str, **params: Param) -> Command:
    return Command(words, {**params, "for_s": _FOR}, _arm(name), _disarm(name))


COMMANDS: Final[Mapping[str, Command]] = {
    # streams
    "gap": Command(
        "the next numbered frames of a channel are lost, their numbers used",
        {"frames": Param(Kind.COUNT, 1), "channel": _NUMBERED},
        _everywhere("gap", lambda session, args: session.tap.drop(args["channel"], args["frames"])),
        _forget("gap"),
    ),
    "duplicate": Command(
        "the next numbered frames of a channel are sent twice",
        {"frames": Param(Kind.COUNT, 1), "channel": _NUMBERED},
        _everywhere("duplicate", lambda session, args: session.tap.double(args["channel"], args["frames"])),
        _forget("duplicate"),
    ),
    "freeze": Command(
        "frames of some books, or all frames, are held back; pings are answered",
        {
            "seconds": _SECONDS,
            "tickers": Param(Kind.TEXTS, []),
            "then": Param(Kind.TEXT, "deliver", ("deliver", "drop")),
        },
        _freeze,
        _forget("freeze"),
    ),
    "slow_consumer": Command(
        "every subscription ends with error 25",
        {},
        _everywhere("slow_consumer", lambda session, _: session.overflow()),
    ),
    "channel_error": Command(
        "the subscriptions of a channel, or all, end with error 10",
        {"channel": Param(Kind.TEXT, None, tuple(sorted(CHANNELS)))},
        _everywhere("channel_error", lambda session, args: session.end(ErrorCode.CHANNEL_ERROR, args["channel"])),
    ),
    "command_error": _once(
        "command_error",
        "the next WebSocket command is refused with this error code",
        code=Param(Kind.COUNT, choices=tuple(int(code) for code in ErrorCode)),
    ),
    "market_limit": _lasting(
        "market_limit", "more markets than this in a subscription get error 26", markets=Param(Kind.COUNT)
    ),
    "disconnect": Command(
        "every connection is closed, or with hard just gone",
        {"hard": Param(Kind.FLAG, False)},
        _everywhere("disconnect", lambda session, args: session.hang_up(args["hard"])),
    ),
    "garbage": Command(
        "something that is no known frame comes before the next frame",
        {"kind": Param(Kind.TEXT, "not_json", ("not_json", "unknown_type"))},
        _everywhere("garbage", lambda session, args: session.tap.spoil(args["kind"])),
        _forget("garbage"),
    ),
    # orders
    "late_ack": _once("late_ack", "done at once, answered late", seconds=_SECONDS, on=_ON),
    "fill_after_timeout": _once(
        "fill_after_timeout", "done and answered late, also when the client has hung up", seconds=_SECONDS, on=_ON
    ),
    "error_after_acceptance": _once(
        "error_after_acceptance", "done, then answered with this status", status=_STATUS, on=_ON
    ),
    "drop_after_acceptance": _once("drop_after_acceptance", "done, then the connection is aborted", on=_ON),
    "late_arrival": _once(
        "late_arrival",
        "answered with this status, or aborted without one; done only seconds later",
        seconds=_SECONDS,
        status=Param(Kind.COUNT, None, (408, 500, 502, 503, 504)),
        on=_ON,
    ),
    "status": _once(
        "status",
        "the next request is answered with this status and nothing is done",
        status=Param(
            Kind.COUNT, choices=(400, 401, 403, 404, 408, 409, 410, 413, 418, 425, 429, 500, 501, 502, 503, 504)
        ),
        method=Param(Kind.TEXT, "", ("", "GET", "POST", "PUT", "DELETE")),
        path=Param(Kind.TEXT, ""),
    ),
    # reads and clock
    "lagging_reads": _lasting(
        "lagging_reads", "reads of the account show it as it was so long ago, and say so", seconds=_SECONDS
    ),
    "stale_books": _lasting(
        "stale_books", "REST books come from a cache of that age", seconds=Param(Kind.SECONDS, 15.0)
    ),
    "clock_skew": _lasting("clock_skew", "the venue's clock is off by that much", seconds=Param(Kind.SIGNED_SECONDS)),
    "cursor_loop": _lasting("cursor_loop", "the last page of every listing leads back to the first"),
    # the venue
    "pause": Command(
        "trading, or the exchange, pauses on one shard or on all",
        {"kind": _KIND, "exchange_index": _SHARD},
        _pause,
        lambda parts: parts.pauses.resume(None),
    ),
    "resume": Command("pauses end, on one shard or on all", {"exchange_index": _SHARD}, _resume),
    "maintenance": Command(
        "a window in the schedule; when it begins trading pauses and every session is closed",
        {
            "in_s": Param(Kind.SIGNED_SECONDS, 0.0),
            "seconds": _SECONDS,
            "kind": _KIND,
            "clock_back": Param(Kind.INDEX, 1_000),
        },
        _maintenance,
        lambda parts: parts.pauses.reset(),
    ),
    "rate_limit": _lasting("rate_limit", "every request is answered with 429"),
    # markets and fees
    **MARKET_COMMANDS,
    "reset": Command("every fault, pause and set book is cleared; markets and fees stay as they are", {}, _reset),
}
