"""What `augury generate --input-dir` refuses: one line, exit code 2, and nothing written."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.orchestrator.single.editing_runs import Run, check_whole, runner, write_images
from tests.tasks.own_editors import own_editors

EDITED = ("--editor", "negative", "--prompts-file", "prompts.txt")
OUT = ("--output-dir", "out")
ROTATED = ("--augmentation", "rotation")

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def _named() -> Iterator[None]:
    with own_editors():
        yield


@pytest.fixture
def work(tmp_path: Path) -> Path:
    write_images(tmp_path / "in", 6)
    (tmp_path / "prompts.txt").write_text("a {class} of glass\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def run(work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(work, monkeypatch)


@pytest.fixture
def refused(run: Run, work: Path) -> Refused:
    def command(*words: Any) -> str:
        def there() -> list[Path]:
            return [p for p in sorted(work.rglob("*")) if "cache" not in p.parts]

        before = there()
        error = run("--input-dir", "in", *words).error
        assert there() == before
        return error

    return command


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--output-dir", "in/made", *ROTATED), "--output-dir in/made: lies in --input-dir"),
        (("--output-dir", ".", *ROTATED), "--output-dir .: holds --input-dir"),
        (("--output-dir", "in", *ROTATED), "--output-dir in: lies in --input-dir"),
        (("--output-dir", "prompts.txt", *ROTATED), "'prompts.txt' is a file; name a folder"),
        (OUT, "say what edits: --editor NAME ("),
        ((*OUT, *EDITED, "--provider", "openai"), "--editor with --provider: keep one of the two"),
        ((*OUT, *EDITED, *ROTATED), "--editor with --augmentation: keep one of the two"),
        ((*OUT, "--editor", "negativ"), "--editor: unknown name 'negativ'; did you mean"),
        (
            (*OUT, "--provider", "opanai"),
            "--provider: unknown name 'opanai'; did you mean 'openai'",
        ),
        ((*OUT, "--editor", "openai"), "--editor openai: say --provider openai"),
        ((*OUT, "--provider", "negative"), "--provider negative: say --editor negative"),
        ((*OUT, "--editor", "negative"), "--prompts-file: negative needs prompts: give a file"),
        ((*OUT, *EDITED, "--set", "strenth=3"), "--set strenth: unknown key 'strenth'; did you"),
        ((*OUT, *EDITED, "--set", "strength=much"), "--set strength: a whole number was expected"),
        ((*OUT, *EDITED, "--checkpoint", "x"), "--checkpoint: negative has none; leave it out"),
        ((*OUT, *EDITED, "--max-cost-usd", "3"), "--max-cost-usd: is for --provider; leave it out"),
        ((*OUT, *EDITED, "--probability", "1"), "--probability: is for --augmentation"),
        ((*OUT, *EDITED, "--per-class", "3"), "--per-class: is for --generator, and --input-dir"),
        ((*OUT, *EDITED, "--invert-mask"), "--invert-mask: there is no --mask; leave it out"),
        ((*OUT, *EDITED, "--mask", "nothing"), "--mask 'nothing': there is no such file or folder"),
        ((*OUT, *EDITED, "--mask", "full", "--invert-mask"), "--invert-mask: full has no other"),
        ((*OUT, *EDITED, "--mask", "{name: stroke}"), "--mask: unknown 'stroke'"),
        ((*OUT, *EDITED, "--mask", "{nam: full}"), "--mask: name is missing; choose from: "),
        ((*OUT, *EDITED, "--mask", "{name: strokes, wide: 1}"), "--mask: wide: "),
        ((*OUT, *EDITED, "--device", "cuda:1"), "--device cuda:1: say cpu or cuda"),
        (
            (*OUT, "--editor", "img2img", "--prompts-file", "prompts.txt", "--checkpoint", "./no"),
            "there is no file or folder ./no",
        ),
        (
            (*OUT, "--editor", "sdedit", "--checkpoint", "no.safetensors"),
            "--checkpoint no.safetensors: there is no such file; give what `augury fit` wrote",
        ),
        ((*OUT, *ROTATED, "--prompts-file", "prompts.txt"), "--prompts-file: rotation reads no"),
        ((*OUT, *ROTATED, "--mask", "full"), "--mask: rotation takes none; leave it out"),
        (
            (*OUT, "--provider", "gemini", "--prompts-file", "prompts.txt", "--mask", "full"),
            "--mask: gemini takes none; leave it out, or choose another --provider",
        ),
        ((*OUT, *ROTATED, "--set", "degree=3"), "--set degree: unknown key 'degree'"),
        ((*OUT, "--augmentation", "rotatio"), "--augmentation: unknown augmentation 'rotatio'"),
        ((*OUT, "--augmentation", "mixup"), "--augmentation: mixup mixes images with their labels"),
        (
            (*OUT, *ROTATED, "--probability", "1", "--set", "probability=1"),
            "--set probability: --probability says it already",
        ),
    ],
)
def test_flags_that_cannot_be(words: tuple[str, ...], why: str, refused: Refused) -> None:
    assert why in refused(*words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--generator FILE is missing: say --generator FILE --per-class N, or --input-dir"),
        (("--generator", "x"), "--per-class N is missing"),
        (("--generator", "x", "--per-class", "1", "--editor", "negative"), "--editor: is for"),
        (("--editor", "sdedit"), "--editor: --input-dir is missing: say --input-dir DIR"),
        (("--input-dir", "nowhere", *ROTATED), "--input-dir nowhere: there is no such folder"),
        (("--input-dir", "empty", *ROTATED), "--input-dir empty: holds no image (.bmp, "),
        (("--input-dir", "prompts.txt", *ROTATED), "prompts.txt: there is no such folder"),
    ],
)
def test_neither_a_generator_nor_images(words: tuple[str, ...], why: str, run: Run) -> None:
    assert why in run(*OUT, *words).error


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("empty.txt", "\n# nothing\n", "'empty.txt': holds no prompt; write one a line"),
        ("none.json", "[]", "holds no prompt"),
        ("by-class.json", '{"zero": "x", "one": "y", "too": "z"}', "unknown class 'too'; did you"),
        ("part.json", '{"zero": "x"}', "no prompt for class 'one', 'two'"),
        ("braces.txt", "a {label}\n", "only {class} may stand in braces"),
    ],
)
def test_prompts_that_cannot_be(
    name: str, text: str, why: str, refused: Refused, work: Path
) -> None:
    (work / name).write_text(text)
    error = refused(*OUT, "--editor", "negative", "--prompts-file", name)
    assert error.startswith("--prompts-file: ")
    assert why in error


def test_prompts_that_are_not_there(refused: Refused) -> None:
    assert "nowhere.txt" in refused(*OUT, "--editor", "negative", "--prompts-file", "nowhere.txt")


def test_an_unreadable_image_is_named_or_left_out(refused: Refused, run: Run, work: Path) -> None:
    bad = work / "in" / "one" / "broken.png"
    bad.write_bytes(b"not an image")
    good = sorted((work / "in").rglob("0*.png"))[0]
    (work / "in" / "one" / "cut.jpg").write_bytes(good.read_bytes()[:60])
    error = refused(*OUT, *EDITED)
    assert error.startswith("--input-dir: 'in/one/broken.png' cannot be read (an unknown format) ")
    assert error.endswith("(and 1 more): mend or remove it, or say --skip-bad")
    said = run("--input-dir", "in", *OUT, *EDITED, "--skip-bad")
    assert said.code == 0, said.err
    assert "2 images cannot be read and are left out: 'one/broken.png', 'one/cut.jpg'" in said.out
    check_whole(work / "out", 6)


def test_splits_are_no_classes(run: Run, work: Path) -> None:
    for split in ("train", "valid"):
        write_images(work / "split" / split, 3)
    (work / "split" / "README.txt").write_text("as it was published")
    words = ("--input-dir", "split", *OUT, *EDITED)
    assert run(*words).error == (
        "--input-dir split: 'train', 'valid' in it are splits and no classes: name one of them, as "
        "--input-dir split/train"
    )
    assert not (work / "out").exists()
    # Beside any other class, one of them may well be a class.
    write_images(work / "split", 3)
    assert "9 images of 5 classes" in run(*words, "--dry-run").out


def test_a_folder_of_bad_images_is_refused(run: Run, work: Path) -> None:
    (work / "empty" / "bad.png").write_bytes(b"x")
    words = ("--input-dir", "empty", *OUT, *ROTATED, "--skip-bad")
    assert "none of 1 image can be read" in run(*words).error


def test_a_mask_of_another_size_is_refused(refused: Refused, work: Path) -> None:
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(work / "mask.png")
    error = refused(*OUT, *EDITED, "--mask", "mask.png")
    assert "mask.png" in error
    assert "has 4 × 4 pixels, and " in error
    assert error.startswith("--mask ")
    assert "scale: true" in error


def test_a_mask_that_repaints_nothing_is_refused(refused: Refused, work: Path) -> None:
    Image.fromarray(np.zeros((10, 8), np.uint8)).save(work / "mask.png")
    error = refused(*OUT, *EDITED, "--mask", "mask.png")
    assert "repaints nothing of" in error
    assert "--invert-mask" in error


def test_masks_that_lack_one_are_refused(refused: Refused, work: Path) -> None:
    source = sorted((work / "in").rglob("*.png"))[0].relative_to(work / "in")
    target = work / "masks" / source
    target.parent.mkdir(parents=True)
    Image.fromarray(np.full((10, 8), 255, np.uint8)).save(target)
    assert "holds none for" in refused(*OUT, *EDITED, "--mask", "masks")


def test_a_folder_that_cannot_be_written_is_refused(
    run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs the tests may be root, whom no mode stops."""
    access = os.access
    monkeypatch.setattr(
        "orchestrator.single.editing_folder.os.access",
        lambda path, mode: not mode & os.W_OK and access(path, mode),
    )
    assert "nothing can be written in" in run("--input-dir", "in", *OUT, *ROTATED).error
