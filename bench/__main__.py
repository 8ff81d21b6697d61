"""``python -m bench [NAME] [--json] …``: list the benches, or run one."""

from __future__ import annotations

import importlib
import sys

BENCHES = {
    "row": "a row's write and read, a push and a ring, in both cores",
    "handover": "a publication to the opportunity in the ring, between two cores",
    "detect": "one changed claim, a full sweep, and a blocked detector's CPU",
    "feed": "a frame from a socket to a published row, per venue: time, frames a second, loss",
    "orders": "an opportunity to both requests written, split by step, on warm connections",
}


def main(argv: list[str]) -> int:
    """Run the named bench with the rest of the arguments."""
    if not argv or argv[0] in ("-h", "--help"):
        for name, text in BENCHES.items():
            print(f"python -m bench {name:<10} {text}")
        return 0
    if argv[0] not in BENCHES:
        print(f"there is no bench {argv[0]!r}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    result: int = importlib.import_module(f"bench.{argv[0]}").main(argv[1:])
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
