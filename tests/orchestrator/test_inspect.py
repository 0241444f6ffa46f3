"""`augury inspect` says what a dataset holds, as a user would ask it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator import inspected, inspection
from tests.orchestrator.commands import augury
from tests.test_floors import loaded_by

SHAPES = ((6, 9), (8, 9), (12, 9), (10, 9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user works: class folders with a test split, cats grey and dogs in colour."""
    for split, number in (("train", 8), ("test", 4)):
        for index in range(number):
            height, width = SHAPES[index % 4]
            grey = np.full((height, width), 51 * (index % 2), np.uint8)
            red = np.zeros((height, width, 3), np.uint8)
            red[..., 0] = 255
            for name, pixels in (("cat", grey), ("dog", red)):
                path = tmp_path / "images" / split / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return tmp_path


def document(folder: Path, *words: str) -> dict[str, Any]:
    done = augury(folder, "inspect", *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def told(folder: Path, *words: str) -> str:
    done = augury(folder, "inspect", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("error: ").rstrip("\n")


def test_a_folder_for_programs(folder: Path) -> None:
    found = document(folder, "images")
    digests = found.pop("digests")
    assert set(digests) == {"train", "test"}
    assert all(len(digest) == 64 for digest in digests.values())
    mean, std = found.pop("mean"), found.pop("std")
    # Half of the pixels are red; of the grey ones those of odd index are 0.2.
    area = 9 * sum(height for height, _ in SHAPES)
    lit = 9 * (SHAPES[1][0] + SHAPES[3][0])
    values = np.array([1.0] * area + [0.2] * lit + [0.0] * (area - lit))
    assert mean == pytest.approx([values.mean(), 0.1 * lit / area, 0.1 * lit / area])
    assert std[0] == pytest.approx(values.std())
    assert found == {
        "name": "image_folder",
        "settings": {"root": "images"},
        "train": 16,
        "test": 8,
        "classes": 2,
        "class_names": ["cat", "dog"],
        "per_class": {"train": {"cat": 8, "dog": 8}, "test": {"cat": 4, "dog": 4}},
        "empty_classes": {"train": [], "test": []},
        "skipped": 0,
        "skipped_images": [],
        "undivided": False,
        "sizes": {
            "height": {"min": 6, "median": 8, "max": 12},
            "width": {"min": 9, "median": 9, "max": 9},
        },
        "modes": {"grey": 12, "colour": 12},
        "bytes": 12 * 81 * 4,
    }


def test_a_folder_for_people(folder: Path) -> None:
    done = augury(folder, "inspect", "images")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "dataset:  image_folder (root: images)",
        "images:   train 16, test 8",
        "classes:  2",
        "size:     height 6 to 12 (median 8), width 9 pixels",
        "modes:    12 grey, 12 colour",
    ]
    assert lines[5] == "memory:   3.9 kB decoded"
    assert lines[-3:] == ["class  train  test", "cat        8     4", "dog        8     4"]


def test_name_and_root_say_the_same_as_a_folder(folder: Path) -> None:
    assert document(folder, "images") == document(folder, "image_folder", "--root", "images")
    assert document(folder, "images") == document(folder, "image_folder", "--set", "root=images")


def test_settings_change_what_training_sees(folder: Path) -> None:
    found = document(folder, "images", "--set", "grayscale=true", "--set", "size=8")
    assert len(found["mean"]) == len(found["std"]) == 1
    assert found["modes"] == {"grey": 12, "colour": 12}
    assert found["sizes"]["height"]["max"] == 12


def test_digits_and_a_sheet(tmp_path: Path) -> None:
    done = augury(tmp_path, "inspect", "digits", "--sheet", "sheet.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "images:   train 1,000, test 797 (test is a fixed part" in done.stdout
    assert "modes:    1,797 grey\n" in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 8 * 96
        assert sheet.height > 10 * 96
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_long_lists_of_classes_are_folded_and_sheets_show_some(tmp_path: Path) -> None:
    for number in range(40):
        for index in range(5 if number else 6):
            path = tmp_path / "images" / f"class {number:02d}" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
    done = augury(tmp_path, "inspect", "images", "--sheet", "sheet.png")
    lines = done.stdout.splitlines()
    assert lines[1].endswith("(test is a fixed part: the dataset has none of its own)")
    table = lines[lines.index("") + 1 :]
    assert len(table) == 1 + inspected.SHOWN_CLASSES + 1
    assert " ".join(table[-1].split()) == "and 28 more (all: --json) 4 each 1 each"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert 12 * 96 < sheet.height < 14 * 102
    assert len(document(tmp_path, "images")["per_class"]["train"]) == 40


def test_a_bad_image_is_named_or_skipped(folder: Path) -> None:
    bad = folder / "images" / "train" / "cat" / "bad.png"
    bad.write_bytes(b"no image")
    assert told(folder, "images") == (
        "images/train/cat/bad.png: not a readable image (an unknown format): mend or remove it, "
        "or say --skip-bad"
    )
    found = document(folder, "images", "--set", "skip_bad=true")
    assert document(folder, "images", "--skip-bad") == found
    assert (found["train"], found["skipped"]) == (16, 1)
    assert found["skipped_images"] == ["cat/bad.png"]
    done = augury(folder, "inspect", "images", "--set", "skip_bad=true")
    assert "skipped:  1 that cannot be read: cat/bad.png\n" in done.stdout
    assert "dataset:  image_folder (root: images, skip_bad: true)\n" in done.stdout


def test_what_cannot_be_inspected_is_one_line(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert "holds no class folders" in told(folder, "empty")
    assert told(folder, "digts") == (
        "dataset.name: unknown dataset 'digts'; did you mean 'digits'?"
    )
    assert told(folder, "digits", "--set", "sise=8") == (
        "dataset.sise: unknown key 'sise'; did you mean 'size'?"
    )
    assert told(folder, "images", "--set", "skip_bad=yes") == (
        "dataset.skip_bad: true or false was expected, not 'yes'"
    )
    assert told(folder, "images", "--root", "other").startswith("--root other: ")
    assert told(folder, "image_folder") == "image_folder: say where it is: --root DIR"
    assert told(folder, "csv", "--root", "x") == "csv: say where it is: --set file=FILE"
    assert told(folder, "digits", "--skip-bad") == (
        "--skip-bad: digits has no such setting: leave it out"
    )
    for words in (("--set", "skip_bad=true", "--skip-bad"), ("--set", "root=x")):
        assert told(folder, "images", *words).endswith(": is said twice: keep one of the two")
    assert told(folder, "digits", "--root", "images").startswith("dataset.root: unknown key")
    assert "expected one folder per class" in told(folder, "image_folder", "--root", "gone")
    assert "IDX files" in told(folder, "fashion_mnist", "--root", "gone")
    assert told(folder, "digits", "--sheet", "sheet.jpg").startswith("--sheet sheet.jpg: ")
    assert told(folder, "digits", "--sheet", "gone/sheet.png") == (
        "--sheet gone/sheet.png: there is no folder 'gone'"
    )


def test_nothing_heavy_is_loaded(folder: Path) -> None:
    code = (
        "from orchestrator.cli import main\n"
        f"sys.argv = ['augury', 'inspect', {str(folder / 'images')!r}, '--sheet', 'sheet.png']\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code"
    )
    assert loaded_by(code, folder) == []


def test_progress_goes_to_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspection, "QUIET_S", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with inspection.progress() as watch:
        watch(1, 2)
    seen = capsys.readouterr()
    assert "reading images" in seen.err
    assert seen.out == ""


def test_a_sheet_that_cannot_be_written_is_one_line(folder: Path) -> None:
    (folder / "shut" / ".sheet.png.part").mkdir(parents=True)
    said = told(folder, "digits", "--sheet", "shut/sheet.png")
    assert said.startswith("--sheet shut/sheet.png: cannot be written")
    assert not (folder / "shut" / "sheet.png").exists()


@pytest.mark.parametrize(
    ("num_bytes", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (5e12, "5,000.0 GB"),
    ],
)
def test_sizes_have_a_unit_that_shows_them(num_bytes: float, said: str) -> None:
    assert inspected.size(num_bytes) == said


def test_letters_of_names_stay_as_they_are(folder: Path) -> None:
    (folder / "images" / "train" / "dog").rename(folder / "images" / "train" / "käfer")
    (folder / "images" / "test" / "dog").rename(folder / "images" / "test" / "käfer")
    assert '"käfer": 8' in augury(folder, "inspect", "images", "--json").stdout
