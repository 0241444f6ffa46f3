"""What a user can get wrong is one line, exit code 2, no traceback, and nothing left on disk."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.orchestrator.commands import augury

STUDY = """
question: Does it help?
dataset: digits
train: {model: small_cnn}
synthetic: {made: {generator: vae}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user works: a study, a regular file, and class folders of which one is empty."""
    here = tmp_path / "work"
    for name in ("images/cat", "images/dog"):
        (here / name).mkdir(parents=True)
    (here / "images" / "cat" / "1.png").write_bytes(b"no image")
    (here / "study.yaml").write_text(STUDY)
    (here / "file").write_text("")
    (here / "store").mkdir()
    return here


def told(folder: Path, *words: str) -> str:
    """The one line that a command leaves on stderr."""
    before = sorted(path for path in folder.rglob("*"))
    done = augury(folder, *words)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2
    assert done.stdout == ""
    left = [path for path in folder.rglob("*") if path not in before]
    # The cache of file hashes is the machine's, and is deletable at will.
    assert [path for path in left if "cache" not in path.relative_to(folder).parts] == []
    return done.stderr.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trian: {}", "trian: unknown key 'trian'; did you mean 'train'?"),
        (
            "subset: {max_rael: 3}",
            "subset.max_rael: unknown key 'max_rael'; did you mean 'max_real'?",
        ),
        ("subset: {max_real: many}", "subset.max_real: a whole number was expected, not 'many'"),
        (
            "report: {metrics: [tpo1]}",
            "report.metrics: unknown metric 'tpo1'; did you mean 'top1'?",
        ),
        ("seeds: [1", "line 8, column 1: not YAML: expected ',' or ']', but the text ends here"),
        ("question: Again?", "line 7: the key 'question' stands twice: keep one"),
        (
            "when: !!timestamp 2024-01-01",
            "line 7: the tag !!timestamp is not taken: write the value",
        ),
    ],
)
def test_broken_files(folder: Path, line: str, said: str) -> None:
    (folder / "study.yaml").write_text(f"{STUDY}\n{line}\n")
    assert told(folder, "plan", "study.yaml").startswith(f"study.yaml: {said}")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.model=resnet5O", "train.model: unknown model 'resnet5O'; did you mean 'resnet50'?"),
        (
            "synthetic.made.generator=ddmp",
            "synthetic.made.generator.name: unknown generator 'ddmp'; did you mean 'ddpm'?",
        ),
        ("dataset=digts", "dataset.name: unknown dataset 'digts'; did you mean 'digits'?"),
        ("report.metrics=[f2]", "report.metrics: unknown metric 'f2'; did you mean 'f1'?"),
        ("train.epochs=30.0", "train.epochs: a whole number was expected, not 30.0"),
        ("train.epochs", "--set 'train.epochs': write path=value, such as train.epochs=10"),
        # There is no `seeds` in the file: the path makes a mapping of it.
        (
            "seeds.first=1",
            "seeds: a list of different whole numbers from 0 to 4294967295 was expected",
        ),
        (
            "dataset={name: image_folder, root: images}",
            "image_folder: 'images/dog' holds no image: add some",
        ),
    ],
)
def test_settings_that_cannot_be(folder: Path, override: str, said: str) -> None:
    message = told(folder, "plan", "study.yaml", "--set", override)
    assert message.removeprefix("study.yaml: ").startswith(said)


COMMANDS: Sequence[tuple[Sequence[str], str]] = [
    (["plan", "nope.yaml"], "nope.yaml: there is no such file, and no bundled study of that name"),
    (["run", "quickstrat"], "quickstrat: there is no such file, and no bundled study of that name"),
    (["plan", "images"], "images: is a folder; name a study file in it"),
    (["plan"], "Missing argument 'STUDY...'; see `augury plan --help`"),
    (["plan", "study.yaml", "--bogus"], "No such option: --bogus"),
    (["bogus"], "No such command 'bogus'; see `augury --help`"),
    (["plan", "study.yaml", "--set"], "Option '--set' requires an argument"),
    (["plan", "study.yaml", "--smoke"], "study.yaml: smoke: this study has no smoke section"),
    (["run", "study.yaml", "--num-workers", "0"], "Invalid value for '--num-workers': it should"),
    (["run", "study.yaml", "--store", "file/store"], "--store "),
    (
        ["run", "study.yaml", "--store", "/proc/nope"],
        "--store file:///proc/nope: cannot be written",
    ),
    (["plan", "study.yaml", "--store", "nope://x"], "--store nope://x: "),
    (["report", "study.yaml", "--format", "html"], "--format html: give --out DIR"),
    (["report", "study.yaml", "--format", "pdf"], "--format pdf: unknown; choose from md, csv"),
    (
        ["report", "study.yaml", "--store", "store", "--out", "file"],
        "--out file: cannot be written",
    ),
    *(
        (
            [*words, "--store", "none"],
            "there is no store at none; name one by --store, or begin it with: augury run "
            "quickstart --store none",
        )
        for words in (
            ["report", "study.yaml"],
            ["sync"],
            ["sync", "study.yaml"],
            ["status"],
            ["ui"],
        )
    ),
    (["status"], "there is no store at augury-store; name one by --store, or begin it with: aug"),
    (["train", "--seed"], "Option '--seed' requires an argument; see `augury train --help`"),
    (["list", "networks"], "list networks: unknown; choose from: datasets, generators"),
    (["list"], "Missing argument 'KIND'"),
    (["ui", "--tracking-uri", "http://127.0.0.1:1"], "--tracking-uri: http://127.0.0.1:1 is a"),
]


@pytest.mark.parametrize(
    ("words", "said"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS]
)
def test_command_lines(folder: Path, words: Sequence[str], said: str) -> None:
    assert told(folder, *words).startswith(said)


def test_two_studies_of_one_name(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "study.yaml").write_text(STUDY)
    assert told(folder, "plan", "study.yaml", "other/study.yaml") == (
        "two studies are called 'study': rename one of the files"
    )


def test_an_empty_store_is_no_error(folder: Path) -> None:
    for command in ("status", "sync"):
        done = augury(folder, command, "--store", "store")
        assert done.returncode == 0
        assert done.stdout == "store holds no study yet; start one with: augury run quickstart\n"
    assert list((folder / "store").iterdir()) == []


def test_a_new_store_is_planned(folder: Path) -> None:
    assert augury(folder, "plan", "study.yaml", "--store", "none").returncode == 0
    assert not (folder / "none").exists()
