"""Files are hashed once while they stay as they are; a bad cache costs time and nothing else."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.inputs import FileCache, identify, placeholder
from tasks import plugins
from tasks.datasets import _files, fashion_mnist, image_folder
from tasks.errors import InputError
from tasks.reading import DataMissing
from tasks.specs import Plugin


class Counted:
    """Reads a file, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> str:
        self.calls += 1
        return path.read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.txt"
    path.write_text("one")
    return path


def test_a_file_is_read_once_in_all_processes(file: Path, tmp_path: Path) -> None:
    compute = Counted()
    for _ in range(2):
        with FileCache(tmp_path / "cache" / "files.sqlite") as facts:
            assert [facts(file, "text", compute) for _ in range(2)] == ["one", "one"]
    assert compute.calls == 1


def test_facts_are_kept_apart_by_what_they_say(file: Path, tmp_path: Path) -> None:
    with FileCache(tmp_path / "files.sqlite") as facts:
        assert facts(file, "text", lambda path: path.read_text()) == "one"
        assert facts(file, "length", lambda path: str(path.stat().st_size)) == "3"
        assert facts(file, "text", Counted()) == "one"


def test_a_changed_file_is_read_again(file: Path, tmp_path: Path) -> None:
    compute = Counted()
    with FileCache(tmp_path / "files.sqlite") as facts:
        facts(file, "text", compute)
        file.write_text("three")
        assert facts(file, "text", compute) == "three"
        aside = tmp_path / "aside"
        aside.write_text("seven")
        aside.replace(file)
        assert facts(file, "text", compute) == "seven"
        assert facts(file, "text", compute) == "seven"
    assert compute.calls == 3


def test_a_file_that_changes_while_it_is_read_is_not_remembered(file: Path, tmp_path: Path) -> None:
    def growing(path: Path) -> str:
        text = path.read_text()
        path.write_text(f"{text} more")
        return text

    with FileCache(tmp_path / "files.sqlite") as facts:
        assert facts(file, "text", growing) == "one"
        assert facts(file, "text", Counted()) == "one more"


def test_what_fails_is_not_remembered(file: Path, tmp_path: Path) -> None:
    def failing(path: Path) -> str:
        raise InputError("bad file")

    with FileCache(tmp_path / "files.sqlite") as facts:
        with pytest.raises(InputError, match="bad file"):
            facts(file, "text", failing)
        assert facts(file, "text", Counted()) == "one"


def test_two_processes_remember_at_once(file: Path, tmp_path: Path) -> None:
    """Looking at a large folder takes minutes, in which others must be able to write too."""
    cache = tmp_path / "files.sqlite"
    compute = Counted()
    with FileCache(cache) as one, FileCache(cache) as two:
        one(file, "one", compute)
        two(file, "two", compute)
    assert compute.calls == 2
    with FileCache(cache) as facts:
        facts(file, "one", compute)
        facts(file, "two", compute)
    assert compute.calls == 2


def _write_text(cache: Path) -> None:
    cache.write_text("this is no database " * 100)


def _truncate(cache: Path) -> None:
    with FileCache(cache) as facts:
        facts(cache.parent / "file.txt", "text", Counted())
    cache.write_bytes(cache.read_bytes()[:4096])


def _other_table(cache: Path) -> None:
    with sqlite3.connect(cache) as database:
        database.execute("CREATE TABLE facts (other TEXT)")
    database.close()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no database": _write_text,
    "cut short": _truncate,
    "another table": _other_table,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_does_no_harm(damage: str, file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "files.sqlite"
    DAMAGES[damage](cache)
    for text in ("one", "other"):
        file.write_text(text)
        with FileCache(cache) as facts:
            assert facts(file, "text", lambda path: path.read_text()) == text


def test_a_cache_that_cannot_be_written_does_no_harm(file: Path) -> None:
    with FileCache(file / "cache" / "files.sqlite") as facts:
        assert facts(file, "text", Counted()) == "one"


def test_the_cache_is_the_machines_own(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "mine"))
    with FileCache() as facts:
        facts(file, "text", Counted())
    assert (tmp_path / "mine" / "files.sqlite").is_file()
    shutil.rmtree(tmp_path / "mine")
    with FileCache() as facts:
        assert facts(file, "text", Counted()) == "one"


# Identifying


def folder_of(root: Path) -> Plugin:
    return plugins.plugin("datasets", "image_folder", image_folder.Config(root=str(root)))


def fashion(root: Path, mirror: str = "http://127.0.0.1:9") -> Plugin:
    config = fashion_mnist.Config(root=str(root), mirror=mirror)
    return plugins.plugin("datasets", "fashion_mnist", config)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of five grey PNG files."""
    for index in range(10):
        path = tmp_path / "images" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), index, np.uint8)).save(path)
    return tmp_path / "images"


def test_what_is_there_is_identified_and_what_is_not_is_invented(
    images: Path, tmp_path: Path
) -> None:
    here, gone = folder_of(images), folder_of(tmp_path / "gone")
    infos = identify([here, gone], tmp_path / "files.sqlite")
    assert infos[here].classes == ("a", "b")
    assert infos[here].splits["train"].counts == (4, 4)
    assert not infos[here].placeholder
    assert infos[gone] == placeholder(gone)
    assert infos[gone].placeholder
    assert {name: sum(split.counts) for name, split in infos[gone].splits.items()} == {
        "train": 1000,
        "test": 200,
        "all": 1000,
    }


def test_invented_data_is_never_taken_for_other_data(tmp_path: Path) -> None:
    one, other = (
        placeholder(folder_of(tmp_path / "one")),
        placeholder(folder_of(tmp_path / "other")),
    )
    digests = [split.digest for info in (one, other) for split in info.splits.values()]
    assert len(set(digests)) == len(digests)


def test_data_that_is_there_and_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no class folders"):
        identify([folder_of(tmp_path / "empty")], tmp_path / "files.sqlite")


def test_links_that_lead_nowhere_are_no_images(images: Path, tmp_path: Path) -> None:
    (images / "a" / "0.png").unlink()
    (images / "a" / "0.png").symlink_to(tmp_path / "0.png")
    loop = images / "a" / "loop.png"
    loop.symlink_to(loop)
    infos = identify([folder_of(images)], tmp_path / "files.sqlite")
    assert sum(infos[folder_of(images)].splits["all"].counts) == 9


def test_faults_of_the_disk_are_one_line(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(_files, "file_sha256", broken)
    with pytest.raises(InputError, match=r"^image_folder: \[Errno 5\] Input/output error") as error:
        identify([folder_of(images)], tmp_path / "files.sqlite")
    assert "\n" not in str(error.value)


def test_missing_data_is_asked_for_only_where_that_is_wanted(tmp_path: Path) -> None:
    source = fashion(tmp_path / "fashion")
    assert identify([source], tmp_path / "files.sqlite")[source].placeholder
    assert not (tmp_path / "fashion").exists()
    with pytest.raises(DataMissing, match=r"127\.0\.0\.1:9/train-images.* cannot be fetched"):
        identify([source], tmp_path / "files.sqlite", fetch=True)
    with pytest.raises(DataMissing, match="there is no folder"):
        identify([folder_of(tmp_path / "gone")], tmp_path / "files.sqlite", fetch=True)
