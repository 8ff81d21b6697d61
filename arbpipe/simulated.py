"""The simulated venues, as processes of their own: started, watched, restarted, asked for their own statement.

Everything they need is made up on the spot: a throw-away authority, keys, accounts. They listen on loopback only. What they
print and what they remember lies in one directory, and a directory that holds accounts goes on with them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import msgspec

from arbpipe.catalog.pairs import load_pairs
from arbpipe.config import Config, KalshiConfig, NetworkConfig, PolymarketConfig
from arbpipe.errors import EnvironmentRefused, SafetyRefused, TimedOut
from arbpipe.fixedpoint import format_usd, parse_money_e6, parse_qty_e6
from arbpipe.identity import Venue, instrument_uid
from arbpipe.instances import make_folder
from arbpipe.ledger.book import Ledger
from arbpipe.ledger.reconcile import compare
from arbpipe.sim.authority import make_authority
from arbpipe.sim.pairs_file import pairs_toml
from arbpipe.sim.scenario import make_scenario
from arbpipe.venues.base import Position

__all__ = ["SimulatedVenues", "statement_differences"]

_READY_S: Final = 20.0
_AGAIN_S: Final = 0.5
_LOCK_S: Final = 4.0
_STATEMENT_S: Final = 10.0
#: Whose accounts a directory holds: seed and number of events, key id and public key, wallet. Nothing secret.
_ACCOUNTS: Final = "accounts.json"
_KALSHI_KEY: Final = "kalshi-key.pem"
_WALLET_KEY: Final = "polymarket-key.hex"
_MODULES: Final = {Venue.KALSHI: "arbpipe.sim.kalshi_server", Venue.POLYMARKET: "arbpipe.sim.polymarket_server"}


class SimulatedVenues:
    """Both venues over one seeded scenario. Use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        seed: int,
        events: int,
        cash_usd: int = 10_000,
        lead_s: float = 4.0,
        cycle_s: float = 20.0,
    ) -> None:
        """Write authority, keys and configurations to ``directory``; the scenario begins ``lead_s`` from now.

        A directory that holds accounts goes on with them: the same keys, cash, positions and orders.

        Raises:
            EnvironmentRefused: no directory can be made there, its accounts belong to another seed or number of events, or
                their keys are gone.
            SafetyRefused: somebody runs the simulated venues of this directory.
        """
        self.directory = directory
        make_folder(directory, "the simulated venues")
        self._processes: dict[Venue, subprocess.Popen[bytes]] = {}
        self._due: dict[Venue, float] = {}
        self.restarts = 0
        self._lock = _lock(directory)
        try:
            self._prepare(seed, events, cash_usd, lead_s, cycle_s)
        except BaseException:
            os.close(self._lock)
            raise

    def _prepare(self, seed: int, events: int, cash_usd: int, lead_s: float, cycle_s: float) -> None:
        directory = self.directory
        accounts = _known_accounts(directory, seed, events) or _new_accounts(directory, seed, events, cash_usd)
        self._key_id: str = accounts["kalshi"]["key_id"]
        self._wallet_address: str = accounts["polymarket"]["address"]
        # anew each time, because certificates expire: who connects reads ca.pem when it starts
        authority = make_authority(directory / "tls")
        files = authority.issue("venue")
        self._ca = authority.ca_pem
        self._common = {
            "directory": str(directory),
            "seed": seed,
            "events": events,
            "seconds": cycle_s,
            "started_ns": time.time_ns() + int(lead_s * 1e9),
            "speed": 1.0,
            "tls": {"cert": str(files.cert), "key": str(files.key)},
            "faults": {},
        }
        self._accounts = {venue: accounts[venue.label] for venue in Venue}
        self.cycle_s = cycle_s
        self._ports = dict.fromkeys(Venue, 0)
        scenario = make_scenario(seed=seed, events=events, seconds=cycle_s)
        self.arbitrages = len(scenario.arbitrages)
        self.pairs = directory / "pairs.toml"
        self.pairs.write_text(pairs_toml(scenario.events), encoding="utf-8")
        self.instruments = load_pairs(self.pairs).instruments

    # -- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> SimulatedVenues:
        try:
            for venue in Venue:
                self._ready_file(venue).unlink(missing_ok=True)  # a killed venue leaves its own
                self._start(venue)
            deadline = time.monotonic() + _READY_S
            for venue in Venue:
                while not self._ready_file(venue).exists():
                    code = self._processes[venue].poll()
                    if code is not None or time.monotonic() > deadline:
                        raise TimedOut(
                            f"the simulated {venue.label} did not start (exit code {code}): see {self._log(venue)}"
                        )
                    time.sleep(0.01)
                self._ports[venue] = int(self._endpoints(venue)["port"])
        except BaseException:  # also a person's Ctrl-C: nothing may stay behind
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _log(self, venue: Venue) -> Path:
        return self.directory / f"{venue.label}-sim.log"

    def _ready_file(self, venue: Venue) -> Path:
        return self.directory / f"{venue.label}.json"

    def _endpoints(self, venue: Venue) -> dict[str, Any]:
        endpoints: dict[str, Any] = json.loads(self._ready_file(venue).read_text())
        return endpoints

    def _start(self, venue: Venue) -> None:
        # a restarted venue keeps its port: whoever was connected finds it again
        config = {**self._common, "account": self._accounts[venue], "port": self._ports[venue]}
        path = self.directory / f"{venue.label}-sim.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        with open(self._log(venue), "ab") as log:
            self._processes[venue] = subprocess.Popen(
                [sys.executable, "-m", _MODULES[venue], str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                process_group=0,  # Ctrl-C ends who trades first, and the venues after it
                pass_fds=(self._lock,),  # so the directory is free when the last venue ended, however the command did
            )

    def watch(self) -> None:
        """Start a venue again that ended: an outage, as its customers see it."""
        now = time.monotonic()
        for venue, process in self._processes.items():
            if process.poll() is None:
                continue
            due = self._due.setdefault(venue, now + _AGAIN_S)
            if now >= due:
                del self._due[venue]
                self.restarts += 1
                self._start(venue)
                break

    def pid(self, venue: Venue) -> int:
        """The pid of a venue's process."""
        return self._processes[venue].pid

    def kill(self) -> None:
        """End both at once. Safe in a signal handler."""
        for process in self._processes.values():
            # not Popen.kill: it takes a lock that the interrupted code may hold
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        for process in self._processes.values():
            if process.returncode is None:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, 0)
                process.returncode = -signal.SIGKILL

    def stop(self) -> None:
        """End both; what they remember stays in the directory. Idempotent."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- for whoever trades with them --------------------------------------------------------------------------------

    def configured(self, config: Config) -> Config:
        """The configuration with their endpoints, keys and authority in it."""
        kalshi, polymarket = self._endpoints(Venue.KALSHI), self._endpoints(Venue.POLYMARKET)
        return msgspec.structs.replace(
            config,
            kalshi=KalshiConfig(
                rest=kalshi["rest"],
                ws=kalshi["ws"],
                key_id=self._key_id,
                private_key_file=str(self.directory / _KALSHI_KEY),
            ),
            polymarket=PolymarketConfig(
                clob=polymarket["clob"],
                data=polymarket["data"],
                ws_market=polymarket["ws_market"],
                ws_user=polymarket["ws_user"],
                private_key_file=str(self.directory / _WALLET_KEY),
                funder=self._wallet_address,
                signature_type=0,
            ),
            network=NetworkConfig(ca_file=str(self._ca)),
        )

    def statement(self, venue: Venue) -> dict[str, Any]:
        """The venue's own statement of the account: cash, positions, fills.

        Raises:
            TimedOut: the venue did not answer; one that is being started again is waited for.
        """
        context = ssl.create_default_context(cafile=str(self._ca))
        deadline = time.monotonic() + _STATEMENT_S
        while True:
            url = f"https://127.0.0.1:{self._ports[venue]}/sim/statement"
            try:
                with urllib.request.urlopen(url, context=context, timeout=5) as answer:
                    statement: dict[str, Any] = json.loads(answer.read())
                return statement
            except OSError as error:
                if time.monotonic() > deadline:
                    raise TimedOut(
                        f"the simulated {venue.label} states no account at {url} ({error}): see {self._log(venue)}"
                    ) from None
            self.watch()
            time.sleep(0.05)


def statement_differences(ledger: Ledger, venues: SimulatedVenues) -> list[str]:
    """Where the ledger and the simulators' own books differ: cash and fees to the micro-dollar, positions to the last
    contract, and every fill once."""
    ours = ledger.cash()
    found: list[str] = []
    kalshi = venues.statement(Venue.KALSHI)
    positions = []
    for ticker, text in kalshi["positions"].items():
        held = parse_qty_e6(text)
        positions.append(Position(instrument_uid("kalshi", ticker), max(held, 0), max(-held, 0)))
    found += [
        difference.what
        for difference in compare(
            "kalshi",
            ledger.positions(Venue.KALSHI),
            positions,
            ours.get(Venue.KALSHI, 0),
            parse_money_e6(kalshi["cash"]),
        )
    ]
    wallet = venues.statement(Venue.POLYMARKET)["wallets"][0]
    listed = {token: (i.uid, side) for i in venues.instruments for side, token in enumerate((i.yes_token, i.no_token))}
    held_by_uid: dict[int, list[int]] = {}
    for position in wallet["positions"]:
        uid, side = listed[position["token"]]
        held_by_uid.setdefault(uid, [0, 0])[side] += position["settled_e6"] + position["pending_e6"]
    found += [
        difference.what
        for difference in compare(
            "polymarket",
            ledger.positions(Venue.POLYMARKET),
            [Position(uid, *sides) for uid, sides in held_by_uid.items() if any(sides)],
            ours.get(Venue.POLYMARKET, 0),
            wallet["cash_e6"],
        )
    ]
    fees = ledger.fees()
    stated = {
        Venue.KALSHI: (len(kalshi["fills"]), sum(parse_money_e6(fill["fee"]) for fill in kalshi["fills"])),
        Venue.POLYMARKET: (
            sum(trade["status"] != "FAILED" for trade in wallet["trades"]),
            sum(trade["fee_e6"] for trade in wallet["trades"] if trade["status"] != "FAILED"),
        ),
    }
    for venue, (count, fee) in stated.items():
        mine = fees.get(venue, (0, 0))
        if mine != (count, fee):
            found.append(
                f"{venue.label}: the ledger has {mine[0]} fills with ${format_usd(mine[1])} of fees, "
                f"the venue {count} with ${format_usd(fee)}"
            )
    return found


_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the child before exec: SIGTERM when whoever started it is gone, so that no venue outlives a killed demo."""
    _libc.prctl(1, signal.SIGTERM, 0, 0, 0)


def _lock(directory: Path) -> int:
    """The right to run the venues of a directory, as a descriptor that they inherit and thereby hold."""
    path = directory / "venues.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # venues whose command was killed end within a moment
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise SafetyRefused(
                f"the simulated venues in {directory} are run by pid {holder or 'unknown'}: stop that process first, "
                "or name another directory"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return fd


def _known_accounts(directory: Path, seed: int, events: int) -> dict[str, Any] | None:
    """The accounts that a directory holds, ``None`` when it is new."""
    path = directory / _ACCOUNTS
    try:
        known: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        left = [each.name for each in directory.glob("*.sqlite")]
        if left:
            raise EnvironmentRefused(
                f"{directory} holds {', '.join(sorted(left))} without {_ACCOUNTS}, which says whose accounts they are: "
                "name another directory, or remove them"
            ) from None
        return None
    except (OSError, ValueError) as error:
        raise EnvironmentRefused(f"{path} cannot be read ({error}): name another directory, or remove it") from None
    if (known["seed"], known["events"]) != (seed, events):
        raise EnvironmentRefused(
            f"{directory} holds accounts of seed {known['seed']} with {known['events']} events, not of seed {seed} with "
            f"{events}: give --seed {known['seed']} --events {known['events']} to go on with them, or name another directory"
        )
    for key in (_KALSHI_KEY, _WALLET_KEY):
        if not (directory / key).is_file():
            raise EnvironmentRefused(f"{directory} holds accounts, but not their key {key}: name another directory")
    return known


def _new_accounts(directory: Path, seed: int, events: int, cash_usd: int) -> dict[str, Any]:
    """Make keys, and write down last whose accounts these are: a directory holds accounts whole or not at all."""
    public = _kalshi_key(directory / _KALSHI_KEY, ed25519=bool(seed % 2))
    address = _wallet(directory / _WALLET_KEY)
    accounts = {
        "seed": seed,
        "events": events,
        "kalshi": {"key_id": secrets.token_hex(16), "public_key_pem": public, "cash_usd": cash_usd},
        "polymarket": {"address": address, "funder": address, "signature_type": 0, "cash_usd": cash_usd},
    }
    draft = directory / f".{_ACCOUNTS}"
    draft.write_text(json.dumps(accounts), encoding="utf-8")
    draft.replace(directory / _ACCOUNTS)
    return accounts


def _kalshi_key(path: Path, *, ed25519: bool) -> str:
    """Make a key pair; the private key goes to ``path`` (0600), the public one is returned as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519 as ed
    from cryptography.hazmat.primitives.asymmetric import rsa

    key: ed.Ed25519PrivateKey | rsa.RSAPrivateKey
    key = ed.Ed25519PrivateKey.generate() if ed25519 else rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_secret(path, pem)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public.decode()


def _wallet(path: Path) -> str:
    """Make a wallet; its private key goes to ``path`` (0600), its address is returned."""
    from arbpipe.venues.polymarket.signing import OrderSigner

    key = secrets.token_bytes(32)
    _write_secret(path, key.hex().encode())
    return OrderSigner(key, funder="", signature_type=0).address


def _write_secret(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
