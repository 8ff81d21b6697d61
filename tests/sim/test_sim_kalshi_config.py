"""CONFIG.json of simulated Kalshi: the members that shape the venue are read, and what makes no sense is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arbpipe.sim.kalshi_config import ConfigError, read_config

BASE: dict[str, Any] = {
    "directory": "run",
    "started_ns": 1,
    "account": {"key_id": "k", "public_key_pem": "pem", "cash_usd": "12.5"},
    "tls": {"cert": "c", "key": "k"},
    "faults": {},
}


def read(folder: Path, change: dict[str, Any]) -> Any:
    path = folder / "config.json"
    path.write_text(json.dumps(BASE | change))
    return read_config(path)


def test_what_is_left_out_is_one_funded_shard_of_a_direct_member(tmp_path: Path) -> None:
    config = read(tmp_path, {})
    assert (config.structures, config.shards, config.shard_cash_e6, config.member) == ({}, {}, {}, "direct")
    assert config.account.cash_e6 == 12_500_000


def test_shards_structures_and_the_member_kind_are_read(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        {
            "structures": {"KXSIMGAME": "tapered_deci_cent"},
            "shards": {"KXSIMGAME": 2},
            "shard_cash_usd": {"2": "500.25", "3": 7},
            "member": "non_direct",
        },
    )
    assert config.structures == {"KXSIMGAME": "tapered_deci_cent"}
    assert (config.shards, config.shard_cash_e6) == ({"KXSIMGAME": 2}, {2: 500_250_000, 3: 7_000_000})
    assert config.member == "non_direct"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"structures": "deci_cent"}, "structures is 'deci_cent': give an object"),
        ({"shards": {"KXSIMGAME": "two"}}, "shards.KXSIMGAME is 'two'"),
        ({"shard_cash_usd": {"2": "lots"}}, "shard_cash_usd.2 is 'lots'"),
        ({"shard_cash_usd": {"x": "1"}}, "shard_cash_usd is 'x'"),
        ({"member": 5}, "member is 5"),
        ({"faults": {"gap": 1}}, "leave faults empty"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read(tmp_path, change)
