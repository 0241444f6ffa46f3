"""`augury generate` and `augury export`: the same images as a study's, whole, and never twice."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from orchestrator.single.study_sets import Asked
from tasks.errors import InputError
from tasks.origins import read_origins
from tests.orchestrator.single.conftest import DIGITS, make_sets

Ran = Callable[..., str]
Told = Callable[..., str]

MAKE = ("generate", "--generator", "vae.safetensors", "--per-class", "3", "--threads", "1")


def contents(folder: Path) -> dict[str, bytes]:
    """Every image in the class folders, by its path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("*/*.png")}


def test_images_are_those_of_a_study(ran: Ran, work: Path, store: Path) -> None:
    said = ran(*MAKE, "--output-dir", "made").splitlines()
    assert said[0] == "vae of vae.safetensors: 30 images, 3 of each of 10 classes; seed 0"
    assert said[1].startswith("made: 30 images, 30 made now in 0:0")
    ran("export", "study.yaml:made", "--store", "store", "--output-dir", "exported")
    made = contents(work / "made")
    assert sorted(made)[:4] == [
        "0/0_000000.png",
        "0/0_000001.png",
        "0/0_000002.png",
        "1/1_000000.png",
    ]
    assert len(made) == 30
    assert contents(work / "exported") == made


def test_reconstructions_are_those_of_a_study(ran: Ran, work: Path, store: Path) -> None:
    words = ("--set", "mode=reconstruct", "--batch-size", "7", "--output-dir", "rebuilt")
    ran(*MAKE, *words, *DIGITS)
    ran("export", "study.yaml:rebuilt", "--store", "store", "--output-dir", "exported-rebuilt")
    assert contents(work / "rebuilt") == contents(work / "exported-rebuilt")
    rows = pq.read_table(work / "rebuilt" / "manifest.parquet").to_pylist()
    assert all(len(row["source"]) == 64 for row in rows)
    assert len({row["source"] for row in rows}) == 30


def test_edits_are_those_of_the_training_images(ran: Ran, work: Path, store: Path) -> None:
    words = ("export", "study.yaml:edited", "--store", "store", "--output-dir", "exported-edits")
    assert ran(*words).startswith("exported-edits: 120 images, 120 made now")
    rows = pq.read_table(work / "exported-edits" / "manifest.parquet").to_pylist()
    assert Counter(Counter(row["source"] for row in rows).values()) == {2: 60}
    for row in rows:
        data = (work / "exported-edits" / row["path"]).read_bytes()
        assert row["source"] in read_origins(data)
    assert ran(*words).startswith("exported-edits: 120 images, all there before")


def test_filters(ran: Ran, work: Path, store: Path) -> None:
    said = ran(*MAKE, "--filter", "blank", *DIGITS, "--output-dir", "sifted")
    assert "filters: kept 30 of 30 drawn; dropped by blank 0" in said
    exported = ran("export", "study.yaml:sifted", "--store", "store", "--output-dir", "by-study")
    assert "filters: kept 30 of 30 drawn; dropped by blank 0" in exported
    ran(*MAKE, "--output-dir", "made")
    assert contents(work / "sifted") == contents(work / "by-study") == contents(work / "made")
    recipe = json.loads((work / "sifted" / "manifest.json").read_text())["recipe"]
    assert [each["name"] for each in recipe["filters"]] == ["blank"]


def test_a_set_without_refilling_says_what_it_lacks(ran: Ran, work: Path, model: Path) -> None:
    words = ("--filter", "{name: bottom_fraction, fraction: 0.34}", "--set", "refill=false")
    said = ran(*MAKE, *words, *DIGITS, "--output-dir", "lacking").splitlines()
    assert said[2].startswith("filters: kept 20 of 30 drawn; dropped by bottom_fraction 10")
    classes = "2 of 3 of class '0', 2 of 3 of class '1', 2 of 3 of class '2' and 7 more"
    assert said[3] == f"fewer than asked for: {classes}"


def test_the_manifest_says_what_each_image_is(ran: Ran, work: Path, model: Path) -> None:
    ran(*MAKE, "--class", "7", "3", "--seed", "5", "--output-dir", "some")
    rows = pq.read_table(work / "some" / "manifest.parquet").to_pylist()
    assert [row["path"] for row in rows] == [
        *(f"3/3_00000{i}.png" for i in range(3)),
        *(f"7/7_00000{i}.png" for i in range(3)),
    ]
    assert {row["class"] for row in rows} == {"3", "7"}
    assert [row["class_index"] for row in rows] == [0, 1, 2, 0, 1, 2]
    assert len({row["seed"] for row in rows}) == 6
    assert {row["generator"] for row in rows} == {"vae"}
    assert json.loads(rows[0]["settings"]) == {
        "mode": "sample",
        "posterior": "sample",
        "batch_size": 250,
    }
    assert rows[0]["model"].startswith("sha256:")
    assert sorted(path.name for path in (work / "some").iterdir()) == [
        *("3", "7", "manifest.json", "manifest.parquet", "sheet.png"),
    ]
    with Image.open(work / "some" / "sheet.png") as sheet:
        assert sheet.width > 200


def test_what_is_there_is_not_made_again(ran: Ran, work: Path, model: Path) -> None:
    words = (*MAKE, "--batch-size", "4", "--output-dir", "twice")
    ran(*words)
    whole = contents(work / "twice")
    (work / "twice" / "1" / "1_000000.png").unlink()
    (work / "twice" / "2" / "2_000001.png").write_bytes(b"cut short")
    (work / "twice" / "manifest.parquet").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (work / "twice").glob("*/*.png")}
    assert "twice: 30 images, 2 made now in " in ran(*words)
    assert contents(work / "twice") == whole
    changed = [p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp]
    assert [path.name for path in changed] == ["2_000001.png"]
    assert (work / "twice" / "manifest.parquet").is_file()
    assert "twice: 30 images, all there before; " in ran(*words)


def test_the_folder_is_used_as_it_is(ran: Ran, work: Path, model: Path) -> None:
    ran(*MAKE, "--output-dir", "used")
    shutil.copytree(work / "used", work / "copied" / "used")
    write_digits_by_number(work / "numbers")
    words = ("--model", "small_cnn", "--epochs", "1", "--batch-size", "16", "--threads", "1")
    paths = ("--data-dir", "numbers", "--synthetic-dir", "copied/used")
    said = json.loads(ran("train", *words, *paths, "--save-path", "used.safetensors", "--json"))
    assert said["images"]["synthetic"] == 30
    # The sheet is no image of the set.
    ran("evaluate", "--checkpoint", "used.safetensors", "--test-dir", "used")


def write_digits_by_number(folder: Path) -> None:
    from sklearn.datasets import load_digits

    found = load_digits()
    for index in range(100):
        path = folder / str(found.target[index]) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((found.images[index] * 15).astype(np.uint8)).save(path)


def test_names_that_no_folder_can_have(tmp_path: Path) -> None:
    from orchestrator.single.set_folders import Entry, SetFolder
    from orchestrator.single.set_recipes import Recipe

    recipe = Recipe(generator="vae", model="sha256:0", settings={}, seed=0, images={}, fitted_on={})
    folder = SetFolder(tmp_path / "out", ["a/b", ".c", "d e"], recipe)
    png = io.BytesIO()
    Image.new("L", (8, 8)).save(png, "PNG")
    entries = [Entry(label=i, class_index=0, seed=0, source="") for i in range(3)]
    for entry in entries:
        folder.put(entry, png.getvalue())
    folder.finish(entries)
    assert folder.renamed == ("a/b", ".c")
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert names == ["%2Ec", "a%2Fb", "d e"]
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [row["class"] for row in rows] == ["a/b", ".c", "d e"]


def test_a_full_disk_leaves_whole_files(
    ran: Ran, work: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes
    written: list[Path] = []

    def write(self: Path, data: bytes) -> int:
        if len(written) == 12:
            raise OSError(28, "No space left on device")
        written.append(self)
        return real(self, data)

    words = (*MAKE, "--output-dir", "filled")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write)
        ran(*words, code=2)
    assert len(contents(work / "filled")) == 11
    assert not list((work / "filled").rglob(".*"))
    assert "30 images, 19 made now in " in ran(*words)


def test_a_collapsed_generator_is_said(told: Told, work: Path, model: Path) -> None:
    weights = load_file(model)
    with safe_open(str(model), framework="np") as file:
        note = file.metadata()
    flat = {name: np.zeros_like(array) for name, array in weights.items()}
    save_file(flat, work / "flat.safetensors", note)
    words = ("generate", "--generator", "flat.safetensors", "--per-class", "1", "--threads", "1")
    (work / "collapsed").mkdir()
    said = told(*words, "--output-dir", "collapsed")
    assert said.startswith(
        "--generator: all 10 images in collapsed are of one colour each: its fit co"
    )
    assert not (work / "collapsed" / "manifest.parquet").exists()


@pytest.fixture(scope="session", autouse=True)
def bad(work: Path, model: Path) -> Path:
    """Model files that cannot be used."""
    folder = work / "models"
    folder.mkdir()
    (folder / "noise.safetensors").write_bytes(b"noise" * 100)
    (folder / "half.safetensors").write_bytes(model.read_bytes()[:3000])
    weights = load_file(model)
    with safe_open(str(model), framework="np") as file:
        note = json.loads(file.metadata()["augury"])

    def write(name: str, **changed: Any) -> None:
        text = json.dumps({**note, **changed})
        save_file(weights, folder / f"{name}.safetensors", {"augury": text})

    save_file(weights, folder / "silent.safetensors")
    save_file(weights, folder / "torn.safetensors", {"augury": "{"})
    save_file(weights, folder / "list.safetensors", {"augury": "[]"})
    write("newer", version=99)
    write("older", version=0)
    write("format", format=99)
    write("huge", height=10**9)
    write("twice", classes=["0"] * 10)
    write("other", generator="cart")
    write("settings", settings={"channels": "many"})
    write("wider", settings={**note["settings"], "channels": [16]})
    images = {**note["images"], "training": [0, *note["images"]["training"][1:]]}
    write("unseen", images=images)
    (work / "taken").mkdir()
    (work / "taken" / "notes.txt").write_text("mine")
    (work / "a-file").write_text("")
    return folder


def model_at(name: str) -> tuple[str, ...]:
    return ("--generator", f"models/{name}.safetensors")


GENERATIONS: Sequence[tuple[Sequence[str], str]] = [
    (("--generator", "vae"), "--generator vae: has to be fitted first: augury fit --generator vae"),
    (("--generator", "nope"), "--generator nope: there is no such file; give what `augury fit` w"),
    (("--generator", "data"), "--generator data: is a folder; give what `augury fit` wrote"),
    (model_at("noise"), "--generator models/noise.safetensors: is no safetensors file, or a dam"),
    (model_at("half"), "--generator models/half.safetensors: is no safetensors file, or a damaged"),
    (model_at("silent"), "--generator models/silent.safetensors: says nothing of a generator; giv"),
    (model_at("torn"), "--generator models/torn.safetensors: what it says of itself cannot be re"),
    (model_at("list"), "--generator models/list.safetensors: says nothing of a generator; give"),
    (model_at("newer"), "--generator models/newer.safetensors: was fitted by version 99 of vae; t"),
    (model_at("older"), "--generator models/older.safetensors: was fitted by version 0 of vae; th"),
    (model_at("format"), "--generator models/format.safetensors: was written by a newer Augury (f"),
    (model_at("huge"), "--generator models/huge.safetensors: speaks of images that no generator m"),
    (model_at("twice"), "--generator models/twice.safetensors: speaks of images that no generator"),
    (
        model_at("other"),
        "--generator models/other.safetensors: was fitted by 'cart', a generator t",
    ),
    (model_at("settings"), "--generator models/settings.safetensors: its settings are none of vae"),
    (model_at("wider"), "--generator models/wider.safetensors: its weights do not fit vae ("),
    (
        ("--generator", "model.safetensors"),
        "--generator model.safetensors: holds a classifier; giv",
    ),
    (
        (*model_at("unseen"), "--class", "0"),
        "--class '0': the generator was fitted on no image of it; leave it out",
    ),
    (("--class", "12"), "--class: unknown class '12'; "),
    (("--per-class", "10000000"), "--per-class 10000000: 100,000,000 images are more than 10,000,"),
    (("--per-class", "0"), "Invalid value for '--per-class': it should be greater than or equal"),
    (("--set", "guidance=2"), "--set guidance: unknown key 'guidance'; choose from: batch_size, "),
    (("--set", "mode=samples"), "--set mode: 'samples' is unknown; did you mean 'sample'?"),
    (("--set", "posterior=mean"), "--set: posterior='mean' with mode='sample': only mode='recons"),
    (("--set", "batch_size=0"), "--set batch_size: a number greater than 0 was expected, not 0"),
    (
        ("--batch-size", "2", "--set", "batch_size=3"),
        "--set batch_size: --batch-size says it alrea",
    ),
    (("--set", "mode=reconstruct"), "--set mode=reconstruct: asks for the images that the generat"),
    (("--filter", "blank"), "--filter blank: asks for the images that the generator was fitted on"),
    (("--filter", "blnk", *DIGITS), "--filter: unknown filter 'blnk'; did you mean 'blank'?"),
    (("--filter", "blank,blank", *DIGITS), "--filter blank,blank: separate them by spaces"),
    (("--extractor", "classifier"), "--extractor: is for --filter; leave it out"),
    (("--set", "refill=false"), "--set refill: is for --filter; leave it out"),
    (DIGITS, "--dataset: is for --set mode=reconstruct and --filter; leave it out"),
    (
        ("--filter", "blank", "--data-dir", "data/real"),
        "--data-dir data/real: --filter blank asks for the images that the generator was fitted on",
    ),
    (
        ("--output-dir", "taken"),
        "--output-dir taken: holds other files: 'notes.txt'; name a new fo",
    ),
    (("--output-dir", "a-file"), "--output-dir a-file: 'a-file' is a file; name a folder"),
    (("--output-dir", "a-file/x"), "--output-dir a-file/x: "),
    (
        ("--output-dir", "a" * 270),
        f"--output-dir {'a' * 270}: cannot be written (File name too lon",
    ),
    (("--generator", "a" * 270), f"--generator {'a' * 270}: there is no such file; give what"),
    (("--device", "cuda:99"), "--device cuda:99: torch sees only cpu"),
]


@pytest.mark.parametrize(
    ("words", "said"), GENERATIONS, ids=[" ".join(words) for words, _ in GENERATIONS]
)
def test_what_cannot_be_made(told: Told, words: Sequence[str], said: str) -> None:
    usual = {
        "--generator": "vae.safetensors",
        "--per-class": "3",
        "--output-dir": "new",
        "--threads": "1",
    }
    given = [word for pair in usual.items() if pair[0] not in words for word in pair]
    assert told("generate", *given, *words).startswith(said)


def test_folders_of_another_recipe(ran: Ran, told: Told, model: Path) -> None:
    ran(*MAKE, "--output-dir", "first")
    for words, said in {
        ("--seed", "1"): "seed: 0 there, 1 here",
        ("--set", "batch_size=9"): "settings.batch_size: 250 there, 9 here",
        ("--class", "1"): "images.0: 3 there, 0 here",
    }.items():
        assert told(*MAKE, *words, "--output-dir", "first") == (
            f"--output-dir first: holds images of another recipe ({said}); name a new folder"
        )


EXPORTS: Sequence[tuple[Sequence[str], str]] = [
    (("study.yaml",), "study.yaml: write STUDY:SET, such as quickstart:ddpm"),
    (("stady:made",), "stady: there is no such file, and no bundled study of that name; "),
    (("study.yaml:mode",), "study.yaml:mode: no such set; did you mean 'made'?"),
    (("study.yaml:made", "--set", "subset.max_real=50"), "study.yaml:made: is not made yet; make "),
    (("study.yaml:made", "--store", "nowhere"), "study.yaml:made: is not made yet; make it with: "),
    (("study.yaml:made", "--output-dir", "taken"), "--output-dir taken: holds other files: 'notes"),
    (
        (
            "study.yaml:there",
            "--set",
            "axes.sets=[[there]]",
            "--set",
            "dataset={name: image_folder, root: data/real}",
        ),
        "study.yaml:there: is a folder already: data/synthetic",
    ),
    (("study.yaml:made", "--smoke"), "study.yaml: smoke: this study has no smoke section"),
]


@pytest.mark.parametrize(("words", "said"), EXPORTS, ids=[" ".join(words) for words, _ in EXPORTS])
def test_what_cannot_be_exported(told: Told, store: Path, words: Sequence[str], said: str) -> None:
    usual = {"--store": "store", "--output-dir": "new"}
    given = [word for pair in usual.items() if pair[0] not in words for word in pair]
    assert told("export", words[0], *given, *words[1:]).startswith(said)


def test_a_set_that_could_not_be_made_says_why(
    told: Told, work: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    strict = "synthetic.sifted.filters=[{name: blank, min_std: 200}]"
    with pytest.raises(InputError, match="of class '0' 0 are kept"):
        make_sets(Asked(given="study.yaml:sifted", overrides=(strict,), store=str(store)))
    said = told(
        *("export", "study.yaml:sifted", "--set", strict, "--store", "store"),
        *("--output-dir", "new"),
    )
    assert said.startswith("study.yaml:sifted: could not be made: filter vae: filters: of ")
    assert "loosen the filters" in said


def test_sets_of_one_name(told: Told, ran: Ran, work: Path, store: Path) -> None:
    axes = ("--set", "axes.set_seed=[0, 1]", "--set", "axes.subset.max_real=[60, 40]")
    asked = ("export", "study.yaml:made", "--store", "store", "--output-dir", "new", *axes)
    said = told(*asked)
    assert said.startswith(
        "study.yaml:made: there are 4 of that name: 'made (max_real=60), seed 0'"
    )
    assert said.endswith("name one, as in 'study.yaml:made (max_real=60), seed 0'")
    name = "study.yaml:made (max_real=60), seed 0"
    ran("export", name, "--store", "store", "--output-dir", "by-name", *axes)
    assert len(contents(work / "by-name")) == 30
    other = "study.yaml:made (max_real=40), seed 1"
    said = told("export", other, "--store", "store", "--output-dir", "new", *axes)
    assert said.startswith(f"{other}: is not made yet; make it with: augury run study.yaml --set ")
