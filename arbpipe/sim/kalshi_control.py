"""Commands to a running simulated Kalshi: what can be told, how it is read, and what is wrong with it when it is refused.

``POST /sim/control`` takes ``{"do": NAME, ...}`` and ``GET /sim/control`` says what is armed. Without a signature: the server
listens on loopback only and is a test tool. The commands themselves are in :mod:`arbpipe.sim.kalshi_commands`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from aiohttp import web

from arbpipe.sim.kalshi_catalog import Json

__all__ = ["REQUIRED", "Command", "Control", "ControlError", "Kind", "Param"]

_DECIMAL: Final = re.compile(r"\d{1,9}(\.\d{1,4})?\Z", re.ASCII)


class ControlError(ValueError):
    """A command that makes no sense; the text says what, and what would."""


class Kind(Enum):
    """What a parameter is, in words."""

    SECONDS = "a number of seconds above 0"
    SIGNED_SECONDS = "a number of seconds, negative for the past"
    COUNT = "an integer from 1 on"
    INDEX = "an integer from 0 on"
    FLAG = "true or false"
    TEXT = "text"
    TEXTS = "a list of texts"
    NUMBER = "a number"
    E2 = "a number with at most 2 decimals, as text or as a number"
    E4 = 'dollars with at most 4 decimals, as text ("0.5600")'
    LEVELS = 'a list of [price, size] texts ([["0.4000", "100.00"]])'


REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a command. ``choices``: the only values that it may have."""

    kind: Kind
    default: Any = REQUIRED
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its parameters, what it does (given what was read) and how ``"clear": true`` undoes it."""

    words: str
    params: Mapping[str, Param]
    run: Callable[[Any, dict[str, Any]], Json]
    clear: Callable[[Any], None] | None = None


def _fixed(value: object, decimals: int) -> int | None:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not _DECIMAL.match(text):
        return None
    whole, _, fraction = text.partition(".")
    if len(fraction) > decimals:
        return None
    return int(whole + fraction.ljust(decimals, "0"))


def _levels(value: object) -> dict[int, int] | None:
    """Price in 1/10,000 dollar to size in 1/100 contract."""
    if not isinstance(value, list):
        return None
    found: dict[int, int] = {}
    for each in value:
        if not isinstance(each, list) or len(each) != 2:
            return None
        price_e4, size_e2 = _fixed(each[0], 4), _fixed(each[1], 2)
        if price_e4 is None or size_e2 is None or not 0 < price_e4 < 10_000 or size_e2 == 0:
            return None
        found[price_e4] = size_e2
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _read(kind: Kind, value: Any) -> Any:
    """The value as the command wants it; None when it is of another kind."""
    match kind:
        case Kind.SECONDS:
            return float(value) if _number(value) and value > 0 else None
        case Kind.SIGNED_SECONDS:
            return float(value) if _number(value) else None
        case Kind.COUNT | Kind.INDEX:
            return value if _whole(value, 1 if kind is Kind.COUNT else 0) else None
        case Kind.FLAG:
            return value if isinstance(value, bool) else None
        case Kind.TEXT:
            return value if isinstance(value, str) else None
        case Kind.TEXTS:
            return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else None
        case Kind.NUMBER:
            return value if _number(value) else None
        case Kind.E2:
            return _fixed(value, 2)
        case Kind.E4:
            return _fixed(value, 4)
        case Kind.LEVELS:
            return _levels(value)


class Control:
    """Takes commands for ``parts``, the venue's, from the table ``commands``."""

    def __init__(self, parts: Any, commands: Mapping[str, Command]) -> None:
        self._parts = parts
        self._commands = commands

    def do(self, command: Mapping[str, Any]) -> Json:
        """Carry a command out; ``{"ok": true, ...}``.

        Raises:
            ControlError: unknown, or a parameter is missing, unknown or of the wrong kind, or it cannot be done now.
        """
        name = command.get("do")
        known = self._commands.get(name) if isinstance(name, str) else None
        if known is None:
            raise ControlError(f"no command {name!r}: give do, one of {', '.join(self._commands)}")
        given = {key: value for key, value in command.items() if key != "do"}
        if given.pop("clear", False) is True:
            if known.clear is None:
                raise ControlError(f"{name} cannot be cleared: it is over when it is done")
            known.clear(self._parts)
            return {"ok": True, "do": name, "cleared": True}
        return {"ok": True, "do": name, **known.run(self._parts, self._arguments(str(name), known, given))}

    def _arguments(self, name: str, known: Command, given: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(given) - set(known.params))
        if unknown:
            raise ControlError(f"{name} has no {', '.join(unknown)}: it takes {', '.join(known.params) or 'nothing'}")
        read: dict[str, Any] = {}
        for key, param in known.params.items():
            value = given.get(key)
            if value is None:
                if param.default is REQUIRED:
                    raise ControlError(f"{name} needs {key}: {param.kind.value}")
                read[key] = param.default
                continue
            read[key] = _read(param.kind, value)
            if read[key] is None:
                raise ControlError(f"{name}: {key} is {value!r}: give {param.kind.value}")
            if param.choices and read[key] not in param.choices:
                choices = ", ".join(str(each) for each in param.choices)
                raise ControlError(f"{name}: {key} is {value!r}: give one of {choices}")
        return read

    def shown(self) -> Json:
        """What is armed and what was used, what is to happen to the streams, who is paused, and what can be told."""
        return {
            **self._parts.faults.shown(),
            "streams": self._parts.hub.shown(),
            "exchange": self._parts.pauses.status(),
            "commands": {name: [command.words, sorted(command.params)] for name, command in self._commands.items()},
        }

    async def post(self, request: web.Request) -> web.Response:
        """``POST /sim/control``."""
        try:
            try:
                command = json.loads(await request.read())
            except ValueError as error:
                raise ControlError(f'the body is no JSON ({error}): send {{"do": NAME, ...}}') from None
            if not isinstance(command, dict):
                raise ControlError('send a JSON object: {"do": NAME, ...}')
            return web.json_response(self.do(command))
        except ValueError as error:
            return web.json_response({"ok": False, "error": str(error), "names": list(self._commands)}, status=400)

    async def get(self, request: web.Request) -> web.Response:
        """``GET /sim/control``."""
        return web.json_response(self.shown())
