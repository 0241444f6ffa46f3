"""`augury score`: the fidelity table of a folder and of a set of a study."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.single.conftest import DIGITS, VAE

Ran = Callable[..., str]
Told = Callable[..., str]


@pytest.fixture(scope="session")
def exported(work: Path, store: Path) -> Path:
    """The set `made` of the study as a folder."""
    from tests.orchestrator.commands import augury

    words = ("export", "study.yaml:made", "--store", "store", "--output-dir", "scored")
    done = augury(work, *words)
    assert done.returncode == 0, done.stderr
    return work / "scored"


def test_a_folder_and_a_set_of_a_study_score_alike(ran: Ran, exported: Path) -> None:
    words = ("--measure", "fid", "kid", "recall", "--json")
    folder = json.loads(ran("score", "scored", *DIGITS, *words, "--threads", "1"))
    study = json.loads(ran("score", "study.yaml:made", "--store", "store", *words))
    assert folder["set"] == "scored"
    assert study["set"] == "study.yaml:made"
    for each in (folder, study):
        assert each["images"] == 30
        assert each["per_class"] == dict.fromkeys("0123456789", 3)
        assert each["real"] == {"train": 900, "test": 797}
        assert list(each["measures"]) == ["fid", "kid", "recall"]
        assert each["measures"]["fid"]["better"] == "lower"
        assert each["measures"]["recall"]["better"] == "higher"
        assert 0 < each["measures"]["recall"]["real_test"] <= 1
        assert each["stamp"]["extractor"] == "classifier"
        assert any("FID" in line for line in each["warnings"])
    for name, measured in folder["measures"].items():
        assert measured["value"] == pytest.approx(study["measures"][name]["value"], rel=1e-4)


def test_the_table(ran: Ran, exported: Path) -> None:
    lines = ran("score", "scored", *DIGITS, "--threads", "1").splitlines()
    assert lines[0] == (
        "scored: 30 images of 10 classes, beside 900 real training images and 797 test images "
        "(of digits)"
    )
    assert lines[1].split() == ["measure", "value", "real", "test", "better"]
    fid, of_test = (float(lines[2].split()[column]) for column in (1, 2))
    assert fid > of_test > 0  # five steps of fitting make no digits
    names = [line.split()[0] for line in lines[2:8]]
    assert names == ["fid", "kid", "precision", "recall", "density", "coverage"]
    assert lines[2].endswith("lower")
    assert lines[8].startswith("real test: what the real test images get, measured as if they")
    assert lines[9].startswith("by extractor classifier, ")
    assert all(line.startswith("warning: ") for line in lines[10:])


def test_cas_alone_asks_for_no_extractor(ran: Ran, exported: Path) -> None:
    said = json.loads(
        ran("score", "scored", *DIGITS, "--measure", "cas", "--json", "--threads", "1")
    )
    assert list(said["measures"]) == ["cas"]
    assert 0 <= said["measures"]["cas"]["value"] <= 1
    assert said["measures"]["cas"]["real_test"] is None
    assert said["stamp"] == {}
    assert said["real"] == {"train": 0, "test": 797}


def test_what_the_generator_has_seen_is_said(ran: Ran, work: Path) -> None:
    ran(*VAE, "--out", "all.safetensors")
    made = ("--generator", "all.safetensors", "--per-class", "2", "--threads", "1")
    ran("generate", *made, "--class", "one", "two", "--output-dir", "seen")
    words = ("--measure", "kid", "--threads", "1")
    said = ran("score", "seen", *words)
    assert "(a fixed part of the folder, as a study would hold it out)" in said
    assert "warning: no image of 5 classes: 'five', 'four', 'six' and 2 more" in said
    assert (
        "warning: its generator was fitted on images of all of --data-dir data/real, those held "
        "out for tests included: say --test-dir DIR" in said
    )
    said = ran("score", "seen", *words, "--test-dir", "data/test")
    assert "its generator" not in said
    assert "test images (of data/test)" in said


@pytest.fixture(scope="session", autouse=True)
def odd(work: Path, exported: Path) -> Path:
    """Folders that cannot be scored."""
    shutil.copytree(exported, work / "renamed")
    (work / "renamed" / "7").rename(work / "renamed" / "seven")
    shutil.copytree(exported, work / "emptied")
    shutil.rmtree(work / "emptied" / "7")
    (work / "emptied" / "7").mkdir()
    (work / "bare").mkdir()
    return work


SCORES: Sequence[tuple[Sequence[str], str]] = [
    (("nope", *DIGITS), "nope: there is no such folder; or write STUDY:SET for a set of a study"),
    (("nope:made",), "nope: there is no such file, and no bundled study of that name; "),
    (("study.yaml:mode",), "study.yaml:mode: no such set; did you mean 'made'?"),
    (
        ("study.yaml:made", *DIGITS, "--store", "store"),
        "--dataset: study.yaml:made is a set of a study, whose images are those of the study; ",
    ),
    (("study.yaml:made", "--store", "store", "--threads", "1"), "--threads: steps of a study take"),
    (("study.yaml:made", "--store", "nowhere"), "study.yaml:made: is not made yet; make it with: "),
    (
        ("study.yaml:sifted", "--store", "store", "--extractor", "inception"),
        "--extractor: study.yaml:sifted was filtered by what classifier sees, and is another set",
    ),
    (("renamed", *DIGITS), "renamed: class 'seven' is none of the dataset's: 0, 1, 2, "),
    (("emptied", *DIGITS), "emptied: 'emptied/7' holds no image: add some (.bmp, "),
    (("bare", *DIGITS), "bare: 'bare' holds no class folders"),
    (
        ("scored", "--data-dir", "nope"),
        "--data-dir: there is no folder 'nope'; expected one folder",
    ),
    (("scored", "--data-dir", "data/real"), "scored: class '0' is none of the dataset's: five, "),
    (
        ("scored", *DIGITS, "--test-dir", "data/test"),
        "--test-dir: --dataset digits has test images",
    ),
    (
        ("scored", *DIGITS, "--measure", "fud"),
        "--measure: unknown measure 'fud'; did you mean 'fid'",
    ),
    (("scored", *DIGITS, "--measure", "fid,kid"), "--measure fid,kid: separate them by spaces, as"),
    (
        ("scored", *DIGITS, "--extractor", "dino"),
        "--extractor: unknown extractor 'dino'; did you me",
    ),
    (("scored", *DIGITS, "--extractor", "{"), "--extractor: "),
    (("scored", *DIGITS, "--set", "depth=3"), "--set depth: unknown key 'depth'; "),
    (("scored", *DIGITS, "--set", "dataset.depth=3"), "--set dataset.depth: unknown key 'depth'; "),
    (("scored", *DIGITS, "--smoke"), "--smoke: is for STUDY:SET, and scored is a folder; leave it"),
    (("scored", *DIGITS, "--store", "store"), "--store: is for STUDY:SET, and scored is a folder"),
    (("scored", *DIGITS, "--device", "cuda:99"), "--device cuda:99: torch sees only cpu"),
]


@pytest.mark.parametrize(("words", "said"), SCORES, ids=[" ".join(words) for words, _ in SCORES])
def test_what_cannot_be_scored(told: Told, words: Sequence[Any], said: str) -> None:
    assert told("score", *words).startswith(said)
