"""How far may the venue's clock be ahead of ours? Evidence that the venue dates is compared with our own moments.

An answer's Date header was written after we asked and is cut to the second: the venue's clock is ahead of ours by less than
that second's end less the moment of asking. Each answer is judged by its own header, so a clock that jumps misleads nobody.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

__all__ = ["MOST_SKEW_MS", "ahead_ms"]

#: What the venue accepts in a signature (kalshi.md section 1), and so what must be reckoned with where it states no time.
MOST_SKEW_MS: Final = 5_000


@lru_cache(maxsize=4)
def _second_ms(date: str) -> int | None:
    """A Date header in milliseconds since 1970; None for what is none."""
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000)
    except (ValueError, TypeError):
        return None


def ahead_ms(asked_ms: int, date: str) -> int:
    """The most by which the venue's clock is ahead of ours, in milliseconds, never below zero. ``asked_ms``: our wall clock
    when we asked; ``date``: the answer's Date header."""
    stated = _second_ms(date)
    return MOST_SKEW_MS if stated is None else max(0, stated + 1_000 - asked_ms)
