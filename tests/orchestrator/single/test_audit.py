"""`augury audit`: planted leaks are found, honest sets pass, and limits end in exit code 3."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.single.performing import _flagged
from tests.orchestrator.single.conftest import DIGITS

Ran = Callable[..., str]
Told = Callable[..., str]

AUDIT = ("--data-dir", "data/real", "--test-dir", "data/test", "--threads", "1")


@pytest.fixture(scope="session")
def leaky(work: Path) -> Path:
    """Honest images, with four copies of test images and three of training images among them."""
    shutil.copytree(work / "data" / "synthetic", work / "leaky")
    for split, part, number in (("test", "test", 4), ("train", "real", 3)):
        images = sorted((work / "data" / part).glob("*/*.png"))
        for index, path in enumerate(images[:: len(images) // number][:number]):
            shutil.copy(path, work / "leaky" / path.parent.name / f"{split}{index}.png")
    return work / "leaky"


def test_honest_images_pass(ran: Ran) -> None:
    limits = ("--max-test-duplicates", "0", "--max_memorisation", "0")
    said = ran("audit", "data/synthetic", *AUDIT, *limits, "--sheet", "none.png")
    assert "copies of test images:     0 exact, 0 near" in said
    assert "found: no copy of a real image" in said
    assert "none.png: 0 cases beside the real images" in said
    assert "over the limit" not in said


def test_copies_are_found_and_drawn(ran: Ran, work: Path, leaky: Path) -> None:
    words = ("--max-test-duplicates", "3", "--sheet", "worst.png")
    said = ran("audit", "leaky", *AUDIT, *words, code=3).splitlines()
    num_real = len(list((work / "data" / "real").rglob("*.png")))
    assert f"beside {num_real:,} real training images" in said[0]
    assert said[1] == "copies of test images:     4 exact, 0 near"
    assert said[2] == "copies of training images: 3 exact, 0 near"
    assert said[-2] == "worst.png: 7 cases beside the real images"
    assert said[-1] == "over the limit: 4 copies of test images; --max-test-duplicates 3"
    with Image.open(work / "worst.png") as sheet:
        assert sheet.height > 7 * 96
    # Nothing is looked for again, whatever the limits.
    assert "over the limit" not in ran("audit", "leaky", *AUDIT, "--max-test-duplicates", "4")


def test_for_programs(ran: Ran, leaky: Path) -> None:
    words = ("--max-memorisation", "0.001", "--json")
    said = json.loads(ran("audit", "leaky", *AUDIT, *words, code=3))
    assert (said["test_exact"], said["train_exact"], said["memorised"]) == (4, 3, 3)
    assert said["memorisation"] == pytest.approx(3 / said["images"])
    assert len(said["quantiles"]["synthetic_to_test"]) == len(said["at"]) == 7
    assert len(said["over_the_limit"]) == 1
    assert "--max-memorisation 0.001 (0.1 %)" in said["over_the_limit"][0]


def test_a_set_of_a_study(ran: Ran, store: Path) -> None:
    said = ran("audit", "study.yaml:made", "--store", "store", "--max-test-duplicates", "0")
    assert said.startswith("study.yaml:made: 30 images of 10 classes, beside 60 real training imag")


def test_what_cannot_be_audited(told: Told, leaky: Path) -> None:
    for words, said in {
        ("nope", *DIGITS): "nope: there is no such folder; or write STUDY:SET",
        ("leaky", *DIGITS): "leaky: class 'five' is none of the dataset's: 0, 1, ",
        ("leaky", "--test-dir", "nope"): "--test-dir: there is no test folder 'nope'",
        ("leaky", "--sheet", "worst.jpg"): "--sheet worst.jpg: the name must end in .png, not in",
        ("leaky", "--sheet", "no/x.png"): "--sheet no/x.png: there is no folder 'no'; make it",
        ("leaky", "--max-test-duplicates", "-1"): "Invalid value for '--max-test-duplicates': it",
        ("leaky", "--max-memorisation", "2"): "Invalid value for '--max-memorisation': it should",
    }.items():
        assert told("audit", *words).startswith(said)


def test_an_extractor_that_cannot_be_read_is_named_by_its_flag(told: Told, work: Path) -> None:
    (work / "noise.safetensors").write_bytes(b"noise")
    chosen = "{name: inception, weights: noise.safetensors}"
    said = told("audit", "data/synthetic", *AUDIT, "--extractor", chosen)
    assert said.startswith("--extractor: noise.safetensors: not a readable safetensors file")


def test_a_complaint_about_an_extractor_says_what_to_type() -> None:
    said = _flagged("extractor: no weights: put them there, or say weights: PATH, or another")
    asked = "say --extractor '{name: ..., weights: PATH}', or another"
    assert said == f"--extractor: no weights: put them there, or {asked}"
