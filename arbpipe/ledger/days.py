"""When a trading day begins: the one place that knows about midnights and zones."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from arbpipe.clock import wall_ns

__all__ = ["day_start_ns"]


def day_start_ns(now_ns: int | None = None, zone: str = "UTC") -> int:
    """The latest midnight of a time zone, CLOCK_REALTIME."""
    now = wall_ns() if now_ns is None else now_ns
    # whole seconds: a float cannot tell the last instant of a day from the next midnight
    local = datetime.fromtimestamp(now // 1_000_000_000, ZoneInfo(zone))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return int(midnight.timestamp()) * 1_000_000_000
