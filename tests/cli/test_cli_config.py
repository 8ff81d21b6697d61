"""``config init`` and ``config show``: what is written is what is in force, and where each value came from is said."""

from __future__ import annotations

import tomllib

from system_support import Box


def test_init_writes_every_default_and_the_file_changes_nothing(box: Box) -> None:
    plain = box.run("config", "show", "--json").json
    done = box.run("config", "init")
    assert (done.code, done.out) == (0, "arbpipe.toml\n"), done.err
    written = tomllib.loads((box.work / "arbpipe.toml").read_text())
    again = box.run("config", "show", "--json").json
    assert again["path"] == str(box.work / "arbpipe.toml")
    assert plain["path"] is None
    assert {key: each["value"] for key, each in again["values"].items()} == {
        key: each["value"] for key, each in plain["values"].items()
    }
    assert {f"{section}.{key}" for section, keys in written.items() for key in keys} == set(plain["values"])
    assert {each["origin"] for each in plain["values"].values()} == {"default"}
    assert {each["origin"] for each in again["values"].values()} == {str(box.work / "arbpipe.toml")}


def test_init_does_not_overwrite_unless_forced(box: Box) -> None:
    path = box.work / "mine.toml"
    path.write_text("# mine\n")
    done = box.run("config", "init", path)
    assert done.code == 4
    assert str(path) in done.err
    assert "--force" in done.err
    assert path.read_text() == "# mine\n"
    assert box.run("config", "init", path, "--force").code == 0
    assert "[detector]" in path.read_text()


def test_init_into_a_folder_that_is_not_there_says_so(box: Box) -> None:
    done = box.run("config", "init", box.work / "none" / "arbpipe.toml")
    assert (done.code, done.err.count("\n")) == (4, 1)


def test_show_tells_the_origin_of_each_value_and_the_environment_beats_the_file(box: Box) -> None:
    path = box.work / "mine.toml"
    path.write_text('[detector]\nmin_edge_usd = "0.007"\nmax_size = "50"\n')
    env = {"ARBPIPE_CONFIG": str(path), "ARBPIPE_DETECTOR_MAX_SIZE": "60"}
    values = box.run("config", "show", "--json", env=env).json["values"]
    assert values["detector.min_edge_usd"] == {"value": "0.007", "origin": str(path)}
    assert values["detector.max_size"] == {"value": "60", "origin": "ARBPIPE_DETECTOR_MAX_SIZE"}
    assert values["detector.expiry_ms"]["origin"] == "default"
    lines = box.run("config", "show", env=env).out.splitlines()
    assert [line.split() for line in lines if line.startswith("detector.max_size")] == [
        ["detector.max_size", "60", "ARBPIPE_DETECTOR_MAX_SIZE"]
    ]


def test_the_flag_beats_the_environment(box: Box) -> None:
    for name, size in (("a.toml", "10"), ("b.toml", "20")):
        (box.work / name).write_text(f'[detector]\nmax_size = "{size}"\n')
    done = box.run("config", "show", "--json", "--config", "b.toml", env={"ARBPIPE_CONFIG": "a.toml"})
    assert done.json["values"]["detector.max_size"]["value"] == "20"


def test_a_file_that_cannot_be_used_is_refused_by_key_and_value(box: Box) -> None:
    path = box.work / "bad.toml"
    for text, named in (
        ('[detector]\nmin_egde_usd = "0.01"\n', "did you mean min_edge_usd"),
        ("[dectector]\n", "did you mean [detector]"),
        ('[limits]\nmax_total_usd = "-1"\n', "limits.max_total_usd = '-1'"),
        ("[limits]\nmax_total_usd = 5\n", "max_total_usd"),
        ("[limits\n", "not valid TOML"),
    ):
        path.write_text(text)
        done = box.run("config", "show", "--json", "--config", path)
        assert (done.code, done.json["error"]["code"], done.err.count("\n")) == (4, 4, 1), text
        assert named in done.err
        assert str(path) in done.err
    done = box.run("config", "show", "--config", box.work / "none.toml")
    assert (done.code, "config init" in done.err) == (4, True)
