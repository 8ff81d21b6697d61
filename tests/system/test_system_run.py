"""``arbpipe sim`` in one process and ``arbpipe run`` in another: orders only where they may go, and no secret anywhere."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from live_books import VENUES, booked_in_ledger, executed_at_venues, executed_twice, simulator, without_fault
from system_support import Box, Done, Running, opened, wait_for

pytestmark = pytest.mark.system

#: What a venue must keep secret for itself, beside the key files: its own database and its own TLS key.
OWN_FILES = re.compile(r"kalshi-key\.pem|polymarket-key\.hex|(kalshi|polymarket)\.sqlite(-wal|-shm)?|venue\.key")


@dataclass(frozen=True)
class Venues:
    """Simulators that run, and the folder with what a customer needs."""

    box: Box
    sim: Running
    folder: Path
    said: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.folder / "arbpipe.toml"

    def statements(self) -> dict[str, Any]:
        """What both venues say of the account; the moment at which they were asked left out."""
        found = {}
        tls = ssl.create_default_context(cafile=self.said["ca_file"])
        for name, url in (("kalshi", self.said["kalshi"]["rest"]), ("polymarket", self.said["polymarket"]["clob"])):
            with urllib.request.urlopen(
                f"{'/'.join(url.split('/')[:3])}/sim/statement", context=tls, timeout=5
            ) as answer:
                statement = json.loads(answer.read())
            found[name] = {key: value for key, value in statement.items() if not key.startswith("at_")}
        return found

    def run(self, *args: object, config: Path | None = None) -> Running:
        segment = ("--segment", self.box.work / "segment")
        return self.box.start("run", *args, "--config", config or self.config, *segment, "--json")

    def refused(self, *args: object, config: Path) -> Done:
        """A run that must end before anything starts."""
        before = {process.pid for process in self.box.processes()}
        done = self.run(*args, config=config).wait(20)
        assert {process.pid for process in self.box.processes()} == before
        assert not (self.box.work / "segment").exists(), "a segment was made"
        assert done.err.count("\n") == 1, done.err
        return done

    def changed(self, name: str, *changes: tuple[str, str]) -> Path:
        """The configuration with some lines exchanged, beside the original."""
        text = self.config.read_text()
        for pattern, new in changes:
            text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
            assert count == 1, pattern
        path = self.folder / name
        path.write_text(text)
        return path

    def secrets(self) -> dict[str, bytes]:
        """Everything that nobody but its owner may hold, as it would look in a file."""
        lines = (self.folder / "kalshi-key.pem").read_text().splitlines()
        # an RSA key begins with its public half; the last whole line is of the private one
        found = {"kalshi.pem": lines[-3], "wallet": (self.folder / "polymarket-key.hex").read_text()}
        with closing(sqlite3.connect(f"file:{self.folder / 'polymarket.sqlite'}?mode=ro", uri=True)) as database:
            for number, (secret, passphrase) in enumerate(database.execute("SELECT secret, passphrase FROM api_keys")):
                found |= {f"api secret {number}": secret, f"api passphrase {number}": passphrase}
        assert all(len(each) >= 16 for each in found.values()), {name: len(each) for name, each in found.items()}
        raw = {"wallet in binary": bytes.fromhex(found["wallet"])}
        return {name: each.encode() for name, each in found.items()} | raw


@pytest.fixture(scope="module")
def venues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venues]:
    """Both simulators, alone."""
    with opened(tmp_path_factory.mktemp("run") / "box") as box:
        folder = box.work / "my-venues"
        sim = box.start("sim", folder, "--seed", 2, "--json")

        def told() -> dict[str, Any] | None:
            assert sim.process.poll() is None, sim.stderr
            try:
                said: dict[str, Any] = json.loads(sim.stdout)
            except ValueError:
                return None
            return said

        yield Venues(box, sim, folder, wait_for("the venues' addresses", told, 20.0))
        sim.send(signal.SIGINT)
        done = sim.wait(10)
        assert done.code == 0, done.err
        assert box.remains() == []


def test_sim_tells_what_a_customer_needs_and_nothing_secret_is_readable_by_others(venues: Venues) -> None:
    assert venues.said["config"] == str(venues.config)
    for name in ("kalshi-key.pem", "polymarket-key.hex"):
        assert (venues.folder / name).stat().st_mode & 0o077 == 0, name
    statements = venues.statements()
    assert statements["kalshi"]["positions"] == {}
    assert len(statements["polymarket"]["wallets"]) == 1
    assert f"arbpipe run --live --config {venues.config}\n" in venues.sim.stderr


def test_a_second_sim_of_the_same_directory_is_refused(venues: Venues) -> None:
    done = venues.box.run("sim", venues.folder, "--seed", 2, "--json")
    assert (done.code, done.json["error"]["name"]) == (5, "safety"), done.err
    assert f"run by pid {venues.sim.pid}" in done.err


def test_on_paper_it_trades_with_live_books_and_nothing_is_ordered(venues: Venues) -> None:
    before = venues.statements()
    done = venues.run("--paper", "--seconds", 8).wait()
    assert done.code == 0, (done.err, done.out)
    summary = done.json
    without_fault(summary)
    assert summary["mode"] == "PAPER"
    assert summary["attempts"] > 0
    assert (summary["gaps"], summary["hash_mismatches"], summary["crossed"]) == (0, 0, 0)
    assert summary["latency_us"]["opportunity_to_wire"]["count"] == 0
    assert venues.statements() == before
    assert executed_at_venues(venues.folder) == []
    assert (venues.folder / "state" / "ledger-paper.sqlite").exists()
    assert not (venues.box.work / "segment").exists()


def test_live_it_trades_the_ledger_agrees_and_no_secret_is_anywhere(venues: Venues) -> None:
    record, segment = venues.box.work / "recorded", venues.box.work / "segment"
    live = venues.run("--live", "--seconds", 60, "--record", record)

    def traded() -> bool:
        assert live.process.poll() is None, live.stderr
        return len(executed_at_venues(venues.folder)) >= 4

    wait_for("some executed orders", traded, 40.0)
    # while it runs: shared memory, the run file, what `ps` shows, and what the probes print
    secrets = venues.secrets()
    assert {name.split()[0] for name in secrets} == {"kalshi.pem", "wallet", "api"}, "there is nothing to look for"
    seen = {str(path): path.read_bytes() for path in segment.iterdir() if path.is_file()}
    assert {"segment", "run.json"} <= {Path(name).name for name in seen}
    shown = [one for process in venues.box.processes() for one in shown_of(process)]
    assert len(shown) >= 2 * 9  # sim, two venues, run, five children
    status = venues.box.run("status", "--segment", segment, "--json")
    why = venues.box.run("why", "sim-", "--segment", segment, "--json")
    assert (status.code, why.code) == (0, 0), status.out
    config = venues.box.run("config", "show", "--config", venues.config, "--json")
    live.send(signal.SIGTERM)
    done = live.wait(20)
    assert done.code == 0, (done.err, done.out)
    summary = done.json
    without_fault(summary)
    assert (summary["mode"], summary["restarts"]) == ("LIVE", 0)
    assert summary["attempts"] > 0
    assert summary["latency_us"]["opportunity_to_wire"]["count"] > 0
    ledger = venues.folder / "state" / "ledger-live.sqlite"
    assert executed_twice(venues.folder, ledger) == []
    assert booked_in_ledger(ledger) == executed_at_venues(venues.folder)
    # afterwards: logs, alerts, ledger, recordings, everything that any command said
    files = [path for path in venues.box.folder.rglob("*") if path.is_file() and not OWN_FILES.fullmatch(path.name)]
    assert {"processes.log", "ledger-live.sqlite", "kalshi.jsonl", "kalshi-sim.log", "kalshi-sim.json"} <= {
        path.name for path in files
    }
    seen |= {str(path): path.read_bytes() for path in files}
    seen |= {"ps": "\n".join(shown).encode(), "config show": (config.out + config.err).encode()}
    leaks = [f"{name} in {where}" for where, text in seen.items() for name, one in secrets.items() if one in text]
    assert leaks == []
    # and the search would find one: the venue's own database does hold them
    with closing(sqlite3.connect(venues.folder / "polymarket.sqlite")) as database:
        dump = "\n".join(database.iterdump()).encode()
    assert all(one in dump for name, one in secrets.items() if name.startswith("api"))


def shown_of(process: psutil.Process) -> tuple[str, str]:
    """What everybody (command line) and the same user (environment) sees of a process."""
    return " ".join(process.cmdline()), " ".join(f"{name}={value}" for name, value in process.environ().items())


def test_orders_need_the_switch_in_the_configuration_too(venues: Venues) -> None:
    config = venues.changed("off.toml", ("^live = true", "live = false"))
    done = venues.refused("--live", "--seconds", 5, config=config)
    assert (done.code, done.json["error"]["name"]) == (5, "safety")
    assert "executor.live = true" in done.err


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("kalshi.rest", '^rest = .*'),
        ("kalshi.ws", '^ws = .*'),
        ("polymarket.clob", '^clob = .*'),
        ("polymarket.ws_user", '^ws_user = .*'),
    ],
)  # fmt: skip
def test_orders_go_nowhere_but_to_this_machine(venues: Venues, key: str, line: str) -> None:
    name = key.split(".")[1]
    away = venues.changed("away.toml", (line, f'{name} = "https://127.0.0.1.example.com/x"'))
    done = venues.refused("--live", "--seconds", 5, config=away)
    assert (done.code, done.json["error"]["name"]) == (5, "safety")
    assert f"{key} is https://127.0.0.1.example.com/x" in done.err
    assert "loopback" in done.err


@pytest.mark.parametrize(
    ("mode", "line", "new", "named"),
    [
        ("--paper", '^key_id = .*', 'key_id = ""', "kalshi.key_id is not configured"),
        ("--paper", '^private_key_file = .*kalshi-key.*', 'private_key_file = ""', "kalshi.private_key_file"),
        ("--live", '^private_key_file = .*kalshi-key.*', 'private_key_file = "/none/k.pem"', "/none/k.pem"),
        ("--live", '^private_key_file = .*polymarket-key.*', 'private_key_file = ""', "polymarket.private_key_file"),
        ("--live", '^private_key_file = .*polymarket-key.*', 'private_key_file = "/none/w"', "/none/w"),
        ("--live", '^ca_file = .*', 'ca_file = "/none/ca.pem"', "network.ca_file /none/ca.pem"),
        ("--live", '^pairs = .*', 'pairs = "none.toml"', "none.toml"),
    ],
)  # fmt: skip
def test_without_keys_it_says_so_and_starts_nothing(venues: Venues, mode: str, line: str, new: str, named: str) -> None:
    done = venues.refused(mode, "--seconds", 5, config=venues.changed("bare.toml", (line, new)))
    assert (done.code, done.json["error"]["name"]) == (4, "environment")
    assert named in done.err


def test_a_key_file_that_holds_no_key_is_refused_without_being_quoted(venues: Venues) -> None:
    bad = venues.folder / "bad-key"
    bad.write_text("planted-5ecret-that-must-not-be-shown")
    for venue in VENUES:
        config = venues.changed("bad.toml", (f"^private_key_file = .*{venue}-key.*", f'private_key_file = "{bad}"'))
        done = venues.refused("--live", "--seconds", 5, config=config)
        assert done.code == 4
        assert "planted" not in done.err + done.out


def test_a_directory_of_venues_goes_on_with_its_accounts(box: Box) -> None:
    folder = box.work / "mine"
    assert box.run("sim", folder, "--seconds", 1, "--json").code == 0
    kept = {name: (folder / name).read_bytes() for name in ("accounts.json", "kalshi-key.pem", "polymarket-key.hex")}
    again = box.start("sim", folder, "--json")
    wait_for("the venues", lambda: again.stdout and all(simulator(box, venue) for venue in VENUES), 20.0)
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    again.send(signal.SIGTERM)
    assert again.wait(10).code == 0
    other = box.run("sim", folder, "--seed", 9, "--seconds", 1, "--json")
    assert (other.code, "give --seed 1 --events 8" in other.err) == (4, True)
    assert box.remains() == []
