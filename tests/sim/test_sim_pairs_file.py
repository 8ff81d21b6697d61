"""The written catalog has the form that docs/pairs-toml.md shows, key by key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from arbpipe.sim.listing import make_events
from arbpipe.sim.pairs_file import pairs_toml

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "pairs-toml.md"
WRITTEN = tomllib.loads(pairs_toml(make_events(1, 24)))


def documented() -> dict[str, Any]:
    block = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return tomllib.loads(block.group(1))


def test_every_table_has_the_documented_keys_in_the_documented_order() -> None:
    example = documented()
    assert WRITTEN["schema"] == example["schema"]
    shapes = {each["venue"]: each for each in example["instrument"]}
    for instrument in WRITTEN["instrument"]:
        shape = shapes[instrument["venue"]]
        assert [key for key in instrument if key != "title"] == [key for key in shape if key != "title"]
        assert list(instrument["fee"]) == list(shape["fee"])
        for side in ("yes", "no"):
            assert list(instrument.get(side, {})) == list(shape.get(side, {}))
    for table in ("pair", "partition", "ladder"):
        for each in WRITTEN[table]:
            assert list(each) == list(example[table][0])


def test_numbers_are_strings_where_the_document_has_strings() -> None:
    for instrument in WRITTEN["instrument"]:
        assert isinstance(instrument["tick"], str)
        assert isinstance(instrument["min_size"], str)
        assert all(isinstance(value, str) for key, value in instrument["fee"].items() if key != "exponent")


def test_claims_name_declared_labels_and_names_are_unique() -> None:
    labels = {}
    for each in WRITTEN["instrument"]:
        labels[f"{each['venue']}:{each['id']}"] = {each.get(s, {}).get("label", s.title()) for s in ("yes", "no")}
    claims = [pair[side] for pair in WRITTEN["pair"] for side in ("a", "b")]
    claims += [claim for table in ("partition", "ladder") for each in WRITTEN[table] for claim in each["claims"]]
    for claim in claims:
        key, label = claim.split("#")
        assert label in labels[key]
    names = [each["name"] for table in ("pair", "partition", "ladder") for each in WRITTEN[table]]
    assert len(set(names)) == len(names)


def test_games_are_paired_as_opposite_and_all_else_as_same() -> None:
    for pair in WRITTEN["pair"]:
        assert pair["relation"] == ("opposite" if "-game-" in pair["event"] else "same")


def test_one_pair_of_the_file_accepts_tails() -> None:
    assert [pair["event"] for pair in WRITTEN["pair"] if pair["tails"] == "accepted"] == [
        "sim-pair-004",
        "sim-pair-020",
    ]
