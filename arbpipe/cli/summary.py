"""The end of a replay or a demo, for people."""

from __future__ import annotations

from typing import Any

from arbpipe.cli.common import lines_of

__all__ = ["near_miss_lines", "summary_lines"]


#: Everything is readable at 80 columns (design 12).
_WIDTH = 80


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def near_miss_lines(near_misses: list[dict[str, Any]], most: int) -> list[str]:
    """The best covers: edge per contract after fees, what was missing, what was taken."""
    rows = [("cover", "best edge", "size", "missing", "seen", "taken")]
    for each in near_misses[:most]:
        rows.append(
            (
                each["cover"],
                f"{float(each['best_edge_usd']) * 100:+.2f} ¢" if each["best_edge_usd"] else "-",
                f"{each['size']:g}" if each["size"] else "-",
                each["missing"] or "-",
                str(each["opportunities"]),
                str(each["taken"]),
            )
        )
    others = sum(max(len(row[column]) for row in rows) + 2 for column in range(1, len(rows[0])))
    rows = [(_cut(row[0], _WIDTH - others), *row[1:]) for row in rows]
    lines = lines_of(rows, right=(1, 2, 4, 5))
    if len(near_misses) > most:
        lines.append(f"… and {len(near_misses) - most} more covers (--json has them all)")
    return lines


def summary_lines(values: dict[str, Any]) -> list[str]:
    """Counts, near-misses, money, latencies."""
    lines = [
        f"arbpipe {values['mode']}  core: {values['core']}",
        f"{values['frames']} frames, {values['instruments']} instruments, {values['covers']} covers",
        f"gaps {values['gaps']}, crossed {values['crossed']}, bad frames {values['bad_frames']}",
        f"hashes: {values['hash_checked']} checked, {values['hash_mismatches']} wrong, "
        f"{values['hash_unchecked']} unchecked",
    ]
    if values["near_misses"]:
        lines += ["", *near_miss_lines(values["near_misses"], 12)]
    if values["covers"]:
        lines += [
            "",
            f"{values['opportunities']} opportunities, {values['attempts']} attempts: {values['balanced']} balanced, "
            f"{values['unwound']} unwound,",
            f"{values['empty']} without a fill, {values['dust']} dust, {values['unresolved']} unresolved",
            f"locked ${values['locked_pnl_usd']}, realised ${values['realised_pnl_usd']}, "
            f"dust {values['dust_contracts']:g}, exposure {values['open_exposure_contracts']:g} contracts",
            "the ledger and the venues' own books agree: difference 0"
            if values["ledger_matches_venues"]
            else "THE LEDGER AND THE VENUES DISAGREE: " + "; ".join(values["differences"]),
        ]
    rows = [("latency", "count", "p50", "p99", "max")]
    for name, one in values["latency_us"].items():
        if one["count"]:
            rows.append(
                (
                    name.replace("_", " "),
                    str(one["count"]),
                    f"{one['p50']:.0f} µs",
                    f"{one['p99']:.0f} µs",
                    f"{one['max']:.0f} µs",
                )
            )
    if len(rows) > 1:
        lines += ["", *lines_of(rows, right=(1, 2, 3, 4))]
    return lines
