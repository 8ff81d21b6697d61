from __future__ import annotations

import errno
import mmap
import os
import secrets
import shutil
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plane_support import SMALL, Spawn

from arbpipe.errors import EnvironmentRefused, LayoutMismatch, NotRunning, SafetyRefused
from arbpipe.shm import layout
from arbpipe.shm.core import Region
from arbpipe.shm.layout import HEADER, NO_QUOTE, Counts
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.segment import Mode, Segment, boot_id, default_directory, footprint

HOLDER = """
import sys, time
from pathlib import Path
from arbpipe.shm.locks import RoleLock
lock = RoleLock(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def poke(directory: Path, field: str, data: bytes) -> None:
    """Overwrite a header field of a detached segment."""
    fd = os.open(directory / "segment", os.O_RDWR)
    os.pwrite(fd, data, HEADER.offset(field))
    os.close(fd)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def refusal(directory: Path) -> str:
    """The message with which attaching is refused as a mismatch."""
    with pytest.raises(LayoutMismatch) as caught:
        Segment.attach(directory)
    assert str(directory / "segment") in str(caught.value)
    return str(caught.value)


@pytest.fixture
def made(plane: Path) -> Path:
    """A directory with a detached segment."""
    Segment.create(plane, SMALL).detach()
    return plane


# -- create ------------------------------------------------------------------------------------------------------------


def test_a_created_segment_says_what_it_is(plane: Path) -> None:
    with Segment.create(plane, SMALL, mode=Mode.REPLAY, instance="night") as segment:
        header = segment.header
        assert header["magic"] == layout.MAGIC
        assert header["version"] == layout.ABI_VERSION
        assert header["creator_pid"] == os.getpid()
        assert header["boot_id"] == boot_id()
        assert header["instance"] == "night"
        assert segment.mode_name == "REPLAY"
        assert header["total_bytes"] == segment.size == footprint(SMALL) == (plane / "segment").stat().st_size
        assert [header[name] for name in ("slots", "log_capacity", "held")] == [256, 64, 32]


def test_the_section_table_in_the_file_is_the_layouts(plane: Path) -> None:
    with Segment.create(plane, SMALL) as segment:
        found = []
        for number in range(segment.header["sections"]):
            base = HEADER.size + number * layout.SECTION_ENTRY.size
            entry = layout.SECTION_ENTRY.unpack(segment.region.read(base, layout.SECTION_ENTRY.size))
            found.append(tuple(entry.values()))
        assert found == [(s.name, s.offset, s.stride, s.count) for s in segment.sections.values()]


def test_every_claim_of_a_new_segment_is_without_quote(segment: Segment) -> None:
    assert (segment.array("cost_e6") == NO_QUOTE).all()
    assert segment.array("cost_e6").shape == (SMALL.slots, 2)


def test_the_file_is_0640_and_a_directory_made_for_it_0750(plane: Path) -> None:
    before = os.umask(0o022)
    try:
        Segment.create(plane / "demo", SMALL).detach()
    finally:
        os.umask(before)
    assert stat.S_IMODE((plane / "demo" / "segment").stat().st_mode) == 0o640
    assert stat.S_IMODE((plane / "demo").stat().st_mode) == 0o750


def test_the_magic_is_stored_after_everything_else(plane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[int] = []

    class Watched:
        def __init__(self, buffer: mmap.mmap) -> None:
            self.inner = Region(buffer)

        def __getattr__(self, name: str) -> Any:
            method = getattr(self.inner, name)
            if not name.startswith(("store", "write")):
                return method
            return lambda offset, value: (stores.append(offset), method(offset, value))

    monkeypatch.setattr("arbpipe.shm.core.Region", Watched)
    Segment.create(plane, SMALL).detach()
    assert stores[-1] == HEADER.offset("magic")
    assert stores.count(HEADER.offset("magic")) == 1


def test_a_creator_that_dies_half_way_leaves_no_segment_and_no_temporary_file(
    plane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("arbpipe.shm.segment.boot_id", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Segment.create(plane, SMALL)
    assert list(plane.iterdir()) == []


def test_create_replaces_a_dead_segment_of_another_version_and_attached_observers_notice(made: Path) -> None:
    observer = Segment.attach(made)
    before = observer.header["incarnation"]
    poke(made, "version", u32(99))
    assert not observer.replaced()
    with Segment.create(made, SMALL) as new:
        assert observer.replaced()
        assert not new.replaced()
        assert new.header["incarnation"] != before
        assert observer.header["incarnation"] == before  # the old mapping is still whole
    observer.detach()
    assert [path.name for path in made.iterdir()] == ["segment"]


def test_a_removed_segment_counts_as_replaced(segment: Segment) -> None:
    (segment.directory / "segment").unlink()
    assert segment.replaced()


@pytest.mark.system
def test_create_while_another_process_holds_a_role_is_refused_naming_role_and_pid(made: Path, spawn: Spawn) -> None:
    holder = spawn(HOLDER, made, "feed-kalshi")
    assert holder.line() == "held"
    before = (made / "segment").stat().st_ino
    with pytest.raises(SafetyRefused, match=rf"in use by feed-kalshi \(pid {holder.pid}\): stop it first"):
        Segment.create(made, SMALL)
    with pytest.raises(SafetyRefused, match=rf"in use by feed-kalshi \(pid {holder.pid}\): stop it first"):
        Segment.destroy(made)
    assert (made / "segment").stat().st_ino == before
    holder.kill()
    Segment.create(made, SMALL).detach()
    assert (made / "segment").stat().st_ino != before


def test_the_supervisor_that_holds_a_role_itself_may_create(made: Path) -> None:
    lock = RoleLock(made, "supervisor")
    Segment.create(made, SMALL).detach()
    lock.release()


def test_no_space_is_an_environment_refusal_with_the_size_and_leaves_nothing(
    plane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(EnvironmentRefused, match=rf"no space for a segment of {footprint(SMALL):,} bytes"):
        Segment.create(plane, SMALL)
    assert list(plane.iterdir()) == []


def test_a_real_tmpfs_of_one_megabyte_is_refused_now_and_not_by_sigbus_later(tiny_tmpfs: Path) -> None:
    with pytest.raises(EnvironmentRefused, match=r"no space for a segment of [\d,]+ bytes \([\d,]+ free\)"):
        Segment.create(tiny_tmpfs, Counts())
    assert list(tiny_tmpfs.iterdir()) == []
    with Segment.create(tiny_tmpfs, SMALL) as small:
        assert small.size < 1 << 20


def test_a_directory_that_cannot_be_made_is_refused_with_its_path(plane: Path) -> None:
    (plane / "file").write_text("")
    with pytest.raises(EnvironmentRefused, match=f"cannot create a segment in {plane}/file/x"):
        Segment.create(plane / "file" / "x", SMALL)


# -- attach ------------------------------------------------------------------------------------------------------------


def test_a_missing_segment_is_not_running_and_names_the_way_out(plane: Path) -> None:
    with pytest.raises(NotRunning, match=rf"no segment at {plane}/segment: .*--segment"):
        Segment.attach(plane)


@pytest.mark.parametrize("size", [0, 1, 100, 1023])
def test_a_file_shorter_than_a_header_is_refused(made: Path, size: int) -> None:
    os.truncate(made / "segment", size)
    assert f"has {size} bytes, a header has 1024" in refusal(made)


@pytest.mark.parametrize("change", [-4096, -1, 1, 4096])
def test_a_truncated_or_grown_file_is_refused_with_both_sizes(made: Path, change: int) -> None:
    os.truncate(made / "segment", footprint(SMALL) + change)
    message = refusal(made)
    assert f"has {footprint(SMALL) + change} bytes" in message
    assert f"should have {footprint(SMALL)}" in message


def test_another_magic_is_refused_naming_both(made: Path) -> None:
    poke(made, "magic", struct.pack("<Q", 0xABCD))
    message = refusal(made)
    assert "magic 0x000000000000abcd" in message
    assert f"this program {layout.MAGIC:#018x}" in message


def test_a_segment_that_was_never_finished_is_refused(made: Path) -> None:
    poke(made, "magic", bytes(8))
    assert "never finished" in refusal(made)


def test_another_byte_order_is_refused_naming_both(made: Path) -> None:
    poke(made, "byte_order", struct.pack(">I", 0x01020304))
    message = refusal(made)
    assert "0x04030201" in message
    assert "this program 0x01020304" in message


def test_another_version_is_refused_naming_both(made: Path) -> None:
    poke(made, "version", u32(layout.ABI_VERSION + 6))
    assert f"layout version {layout.ABI_VERSION + 6}, this program {layout.ABI_VERSION}:" in refusal(made)


@pytest.mark.parametrize("theirs", [bytes(range(32)), b"\0" * 32, None], ids=["other", "empty", "last byte"])
def test_another_layout_digest_is_refused_naming_both(made: Path, theirs: bytes | None) -> None:
    own = layout.digest()
    theirs = own[:-1] + bytes([own[-1] ^ 1]) if theirs is None else theirs
    poke(made, "digest", theirs)
    assert f"layout digest {theirs.hex()[:12]}, this program {own.hex()[:12]}:" in refusal(made)


def test_a_digest_with_a_zero_byte_is_compared_whole(plane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = b"\0" + secrets.token_bytes(31)
    monkeypatch.setattr(layout, "digest", lambda: own)
    Segment.create(plane, SMALL).detach()
    Segment.attach(plane).detach()
    poke(plane, "digest", own[:2] + bytes(30))
    assert "layout digest" in refusal(plane)


def test_a_segment_of_another_boot_is_refused_naming_both_and_replaced_by_create(made: Path) -> None:
    poke(made, "boot_id", b"11111111-2222-3333-4444-555555555555")
    message = refusal(made)
    assert "boot 11111111-2222-3333-4444-555555555555" in message
    assert f"this is boot {boot_id()}" in message
    Segment.create(made, SMALL).detach()
    Segment.attach(made).detach()


@pytest.mark.parametrize(
    ("field", "value"),
    [("ranges", 0), ("slots", 0), ("slots", 255), ("log_capacity", 63), ("ring_capacity", 0), ("processes", 1)],
)
def test_impossible_counts_are_refused_with_the_value(made: Path, field: str, value: int) -> None:
    poke(made, field, u32(value))
    assert f"impossible counts ({field} is {value}" in refusal(made)


@pytest.mark.parametrize(("field", "value"), [("covers", 80), ("slots", 512), ("held", 4_000_000_000)])
def test_counts_that_do_not_give_the_files_size_are_refused_with_both_sizes(made: Path, field: str, value: int) -> None:
    poke(made, field, u32(value))
    message = refusal(made)
    assert f"has {footprint(SMALL)} bytes, its counts ask for" in message


def test_a_symbolic_link_in_place_of_the_segment_is_refused(made: Path) -> None:
    elsewhere = made / "elsewhere"
    os.rename(made / "segment", elsewhere)
    (made / "segment").symlink_to(elsewhere)
    for writable in (False, True):
        with pytest.raises(EnvironmentRefused, match="it is a symbolic link: remove it"):
            Segment.attach(made, writable=writable)
    Segment.create(made, SMALL).detach()
    assert not (made / "segment").is_symlink()
    assert elsewhere.stat().st_size == footprint(SMALL)


def test_a_read_only_attachment_cannot_write_a_word_or_an_array(made: Path) -> None:
    before = (made / "segment").read_bytes()
    with Segment.attach(made) as observer:
        with pytest.raises(TypeError, match="read-only"):
            observer.region.store_u64(observer.section("rows").offset, 1)
        for name in observer.sections:
            assert not observer.array(name).flags.writeable, name
        with pytest.raises(ValueError, match="read-only"):
            observer.array("cost_e6")[0, 0] = 0
    assert (made / "segment").read_bytes() == before


def test_what_one_attachment_writes_the_other_sees(made: Path) -> None:
    with Segment.attach(made, writable=True) as writer, Segment.attach(made) as observer:
        writer.array("cost_e6")[7, 1] = 512_000
        writer.array("rows")["version"][3] = 9
        assert observer.array("cost_e6")[7, 1] == 512_000
        assert observer.fields("rows", 3)["version"] == 9


# -- arrays, detach, destroy -------------------------------------------------------------------------------------------


def test_arrays_show_every_field_where_the_layout_says(segment: Segment) -> None:
    rng = np.random.default_rng(3)
    for name, place in segment.sections.items():
        raw = rng.integers(1, 120, place.stride * place.count, np.uint8).tobytes()
        segment.region.write(place.offset, raw)
        array = segment.array(name)
        assert len(array) == place.count
        if place.record is None:
            assert array.tobytes() == raw[: array.nbytes]
            continue
        last = segment.fields(name, place.count - 1)
        for field in place.record.fields:
            value = array[field.name][-1]
            if field.code == "S":
                assert value.decode() == last[field.name]
            else:
                assert value.tolist() == (last[field.name] if field.count == 1 else list(last[field.name]))


def test_a_section_without_record_has_no_fields(segment: Segment) -> None:
    with pytest.raises(KeyError, match="cost_e6 has no record"):
        segment.fields("cost_e6")
    with pytest.raises(KeyError, match="prices"):
        segment.section("prices")


def test_detach_is_harmless_twice_and_while_an_array_lives(made: Path) -> None:
    segment = Segment.attach(made)
    costs = segment.array("cost_e6")
    segment.detach()
    segment.detach()
    assert costs[0, 0] == NO_QUOTE
    with pytest.raises(ValueError, match="released"):
        segment.region.load_u64(0)


def test_destroy_removes_what_is_the_segments_and_nothing_else(made: Path) -> None:
    for name in ("catalog.7", ".catalog.8.ab", ".segment.1.ab", "lock.detector", "notes.txt"):
        (made / name).write_text("")
    os.mkfifo(made / "doorbell.executor")
    Segment.destroy(made)
    assert [path.name for path in made.iterdir()] == ["notes.txt"]
    Segment.destroy(made / "nowhere")


def test_destroy_removes_an_empty_directory(plane: Path) -> None:
    place = plane / "demo"
    Segment.create(place, SMALL).detach()
    Segment.destroy(place)
    assert not place.exists()


# -- where -------------------------------------------------------------------------------------------------------------


def test_the_runtime_directory_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/one:/run/two")
    assert default_directory() == Path("/run/one")


def test_an_instance_has_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert default_directory("demo") == Path(f"/dev/shm/arbpipe-{os.getuid()}/demo")


def test_the_free_space_in_the_message_is_the_file_systems(plane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "no")

    real = shutil.disk_usage(plane)
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: real._replace(free=12_345))
    with pytest.raises(EnvironmentRefused, match=r"12,345 free"):
        Segment.create(plane, SMALL)
