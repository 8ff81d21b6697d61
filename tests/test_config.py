"""Every value is checked and has an origin; what nobody declared is refused, never taken as a default."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arbpipe.config import ENVIRONMENT, SECTIONS, Config, Loaded, default_toml, find_config, load
from arbpipe.errors import EnvironmentRefused, ExitCode

KEYS = [
    (section, field.name, field.type, field.default)
    for section, struct in SECTIONS.items()
    for field in msgspec.structs.fields(struct)
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "arbpipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def from_file(tmp_path: Path, text: str) -> Loaded:
    return load(written(tmp_path, text), {})


def refusal(path: Path | None = None, environ: dict[str, str] | None = None, **flags: Any) -> str:
    with pytest.raises(EnvironmentRefused) as caught:
        load(path, environ or {}, {name.replace("__", "."): value for name, value in flags.items()})
    assert caught.value.code is ExitCode.ENVIRONMENT
    return str(caught.value)


def value_of(loaded: Loaded, section: str, key: str) -> Any:
    return getattr(getattr(loaded.config, section), key)


def test_the_default_file_names_every_key_and_says_the_default(tmp_path: Path) -> None:
    text = default_toml()
    document = tomllib.loads(text)
    assert {(section, key) for section, keys in document.items() for key in keys} == {key[:2] for key in KEYS}
    path = written(tmp_path, text)
    loaded = load(path, {})
    assert loaded.config == Config() == load(None, {}).config
    assert set(loaded.origins.values()) == {str(path)}


@pytest.mark.parametrize(
    ("section", "key", "kind", "default"), [key for key in KEYS if key[1] != "wait"], ids=lambda value: str(value)
)
def test_every_key_is_read_from_file_environment_and_flag_in_that_order(
    section: str, key: str, kind: Any, default: Any, tmp_path: Path
) -> None:
    in_file: Any
    in_environment: Any
    by_flag: Any
    if kind is bool:
        in_file, in_environment, by_flag = not default, default, not default
    elif kind is int:
        in_file, in_environment, by_flag = default + 1, default + 2, default + 3
    elif kind is str:
        in_file, in_environment, by_flag = "0.041", "0.042", "0.043"
        if key in ("max_size", "min_edge_usd", "max_edge_usd"):
            in_file, in_environment, by_flag = {"max_size": ("1", "2", "3"), "min_edge_usd": ("0", "0.01", "0.02")}.get(
                key, ("0.06", "0.07", "0.08")
            )
        if key == "day_zone":
            in_file, in_environment, by_flag = "America/New_York", "Europe/London", "Asia/Tokyo"
    else:
        in_file, in_environment, by_flag = (1,), (2, 3), (4,)
    toml = {bool: str(in_file).lower(), int: str(in_file), str: f'"{in_file}"'}.get(kind, "[1]")
    text = {bool: str(in_environment), int: str(in_environment), str: str(in_environment)}.get(kind, "2,3")
    dotted, name = f"{section}.{key}", f"ARBPIPE_{section}_{key}".upper()
    path = written(tmp_path, f"[{section}]\n{key} = {toml}\n")

    assert load(None, {}).origins[dotted] == "default"
    alone = load(path, {})
    assert (value_of(alone, section, key), alone.origins[dotted]) == (in_file, str(path))
    over = load(path, {name: text})
    assert (value_of(over, section, key), over.origins[dotted]) == (in_environment, name)
    last = load(path, {name: text}, {dotted: by_flag})
    assert (value_of(last, section, key), last.origins[dotted]) == (by_flag, "command line")
    others = {key: origin for key, origin in last.origins.items() if key != dotted}
    assert set(others.values()) == {"default"}


def test_f67_a_mistyped_limit_is_refused_and_never_falls_back_to_the_default(tmp_path: Path) -> None:
    in_file = written(tmp_path, '[limits]\nmax_evnt_usd = "50"\n')
    in_environment = {"ARBPIPE_LIMITS_MAX_EVNT_USD": "50"}

    def mistaken(document: dict[str, Any]) -> str:
        return str(document.get("limits", {}).get("max_event_usd", "500"))

    assert mistaken(tomllib.loads(in_file.read_text())) == "500"  # ten times what the user wrote, without a word
    assert f"{in_file}: unknown key max_evnt_usd in [limits]: did you mean max_event_usd?" == refusal(in_file)
    assert "ARBPIPE_LIMITS_MAX_EVNT_USD" in refusal(None, in_environment)
    assert "did you mean ARBPIPE_LIMITS_MAX_EVENT_USD?" in refusal(None, in_environment)


@pytest.mark.parametrize("text", ["True", "TRUE", "true", "False", "FALSE", "false"])
def test_f67_every_spelling_of_a_boolean_means_what_it_says(text: str) -> None:
    loaded = load(None, {"ARBPIPE_EXECUTOR_KALSHI_DIRECT_MEMBER": text})
    assert loaded.config.executor.kalshi_direct_member is (text.lower() == "true")
    mistaken = text in ("1", "true")  # the mistake: "True" reads as false
    assert mistaken == (text == "true")


@pytest.mark.parametrize("text", ["1", "0", "yes", "no", "on", "", " true", "tru", "None"])
def test_f67_what_is_neither_true_nor_false_is_refused(text: str) -> None:
    message = refusal(None, {"ARBPIPE_EXECUTOR_KALSHI_DIRECT_MEMBER": text})
    assert message == f"ARBPIPE_EXECUTOR_KALSHI_DIRECT_MEMBER={text!r}: true or false expected"


def test_an_unknown_section_is_refused_naming_the_nearest(tmp_path: Path) -> None:
    assert "unknown section [limit]: did you mean [limits]?" in refusal(written(tmp_path, "[limit]\n"))
    assert "unknown section [zzz]; there are segment, " in refusal(written(tmp_path, "[zzz]\n"))
    assert "limits must be a section [limits]" in refusal(written(tmp_path, "limits = 5\n"))


def test_an_unknown_key_without_a_near_one_lists_what_there_is(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, "[feeds]\nqqq = 1\n"))
    assert "unknown key qqq in [feeds]; it has kalshi_cpus, polymarket_cpus" in message


def test_an_unknown_environment_name_is_refused_and_others_are_not_ours() -> None:
    assert "unset it" in refusal(None, {"ARBPIPE_QQQQQQQQQQQQQQQQQ": "1"})
    assert "did you mean ARBPIPE_SEGMENT?" in refusal(None, {"ARBPIPE_SEGMNT": "x"})
    kept = {**dict.fromkeys(ENVIRONMENT, "x"), "_ARBPIPE_COMPLETE": "x", "HOME": "x", "XARBPIPE_LIMITS": "x"}
    assert load(None, kept).config == Config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nmax_event_usd = 500\n", "max_event_usd"),
        ("[limits]\nmax_event_usd = 5.5\n", "max_event_usd"),
        ('[detector]\nexpiry_ms = "250"\n', "expiry_ms"),
        ("[detector]\nexpiry_ms = 250.5\n", "expiry_ms"),
        ("[detector]\nexpiry_ms = true\n", "expiry_ms"),
        ("[detector]\ncpus = 1\n", "cpus"),
        ('[detector]\ncpus = ["1"]\n', "cpus"),
        ("[executor]\nkalshi_direct_member = 1\n", "kalshi_direct_member"),
        ('[executor]\nkalshi_direct_member = "true"\n', "kalshi_direct_member"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    assert str(path) in message
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[limits]\nmax_event_usd = "-1"\n', "limits.max_event_usd = '-1': it must not be negative"),
        ('[limits]\nmax_event_usd = "5e2"\n', "limits.max_event_usd = '5e2': '5e2' is not a decimal number"),
        ('[limits]\nmax_event_usd = "0.0000001"\n', "more than 6 decimals"),
        ('[limits]\nmax_event_usd = ""\n', "limits.max_event_usd = ''"),
        ('[detector]\nmax_size = "0"\n', "detector.max_size = '0': it must be positive"),
        ('[detector]\nmax_size = "-1"\n', "negative"),
        ("[detector]\nrepush_ms = -1\n", "detector.repush_ms = -1: it must not be negative"),
        ("[detector]\nexpiry_ms = 0\n", "detector.expiry_ms must be positive"),
        ("[detector]\nsweep_ms = 0\n", "detector.sweep_ms must be positive"),
        ("[detector]\ncpus = [0, -1]\n", "detector.cpus = (0, -1): it must not be negative"),
        ("[freshness]\nmax_confirm_age_ms = 0\n", "freshness.max_confirm_age_ms must be positive"),
        ('[detector]\nmin_edge_usd = "0.05"\n', "detector.max_edge_usd must be above detector.min_edge_usd"),
    ],
)
def test_a_value_out_of_range_is_refused_with_file_key_and_value(text: str, words: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    assert str(path) in message
    assert words in message


def test_environment_values_are_checked_like_those_of_the_file() -> None:
    assert "ARBPIPE_DETECTOR_EXPIRY_MS='soon': a whole number expected" in refusal(
        None, {"ARBPIPE_DETECTOR_EXPIRY_MS": "soon"}
    )
    assert "ARBPIPE_DETECTOR_CPUS='1;2': whole numbers with commas expected" in refusal(
        None, {"ARBPIPE_DETECTOR_CPUS": "1;2"}
    )
    assert "must not be negative" in refusal(None, {"ARBPIPE_LIMITS_MAX_EVENT_USD": "-5"})
    assert load(None, {"ARBPIPE_DETECTOR_CPUS": ""}).config.detector.cpus == ()


def test_flags_are_checked_too() -> None:
    assert "must be positive" in refusal(detector__max_size="0")
    assert "max_sise" in refusal(detector__max_sise="1")
    assert "max_size" in refusal(detector__max_size=5)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path / "absent.toml")
    assert "is not valid TOML" in refusal(written(tmp_path, "[limits\n"))
    path = tmp_path / "latin.toml"
    path.write_bytes(b'[paths]\nstate = "\xe9"\n')
    assert "is not valid TOML" in refusal(path)


def test_the_file_in_force_is_flag_then_environment_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None, {}) is None
    here = written(tmp_path, "")
    (tmp_path / "flag.toml").touch()
    (tmp_path / "env.toml").touch()
    environ = {"ARBPIPE_CONFIG": "env.toml"}
    assert find_config(None, {}) == here.resolve()
    assert find_config(None, environ) == (tmp_path / "env.toml").resolve()
    assert find_config("flag.toml", environ) == (tmp_path / "flag.toml").resolve()
    with pytest.raises(EnvironmentRefused, match=r"no configuration file at nowhere\.toml: create one with"):
        find_config("nowhere.toml", environ)
    with pytest.raises(EnvironmentRefused):
        find_config(None, {"ARBPIPE_CONFIG": "nowhere.toml"})


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    loaded = from_file(tmp_path, '[paths]\npairs = "my.toml"\n')
    assert loaded.resolve(loaded.config.paths.pairs) == tmp_path / "my.toml"
    assert loaded.resolve("/x/y") == Path("/x/y")
    assert loaded.resolve("~/y") == Path(os.path.expanduser("~/y"))
    assert load(None, {}).resolve("my.toml") == Path("my.toml")


def test_a_detector_may_spin_only_on_a_core_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    spin = '[detector]\nwait = "spin"\ncpus = [2]\n'
    assert load(written(tmp_path, spin + "[feeds]\nkalshi_cpus = [1]\n"), {}).config.detector.wait == "spin"
    for text in (
        '[detector]\nwait = "spin"\n',
        '[detector]\nwait = "spin"\ncpus = [1, 2]\n',
        spin + "[feeds]\npolymarket_cpus = [0, 2]\n",
        spin + "[executor]\ncpus = [2]\n",
    ):
        assert "name one core there that no feed and not the executor is pinned to" in refusal(written(tmp_path, text))
    assert "use block or spin" in refusal(written(tmp_path, '[detector]\nwait = "poll"\n'))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2})
    assert "on a machine with two or more" in refusal(written(tmp_path, spin))
