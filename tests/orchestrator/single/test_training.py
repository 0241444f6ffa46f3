"""`augury train` on class folders, as a user runs it."""

import hashlib
import json
from pathlib import Path

import pytest

from tasks.classification import load_weights
from tasks.datasets._decode import decode
from tasks.origins import KEY, origins_of, read_origins
from tasks.shards import png
from tests.orchestrator.commands import augury
from tests.orchestrator.single.conftest import NAMES, RECIPE, write_digits


def test_seeds_variants_and_underscores(work: Path) -> None:
    words = ("--variant", "mixed", "--max_synth", "60", "--test_dir", "data/test", "--json")
    common = ("train", *RECIPE, *words, "--augmentation", "cutmix", "mixup")
    done = augury(work, *common, "--seed", "0", "1", "--save_path", "mixed.pt")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["images"]["synthetic"] == 60
    assert said["images"]["test"] == len(list((work / "data" / "test").rglob("*.png")))
    assert [each["seed"] for each in said["seeds"]] == [0, 1]
    scores = [each["test_top1"] for each in said["seeds"]]
    assert said["scores"]["test_top1"]["mean"] == pytest.approx(sum(scores) / 2)
    assert said["scores"]["test_top1"]["n"] == 2
    for each in said["seeds"]:
        _, classes = load_weights(work / each["file"])
        assert classes == tuple(sorted(NAMES))
    # Nothing is trained twice, whatever the name of the file.
    again = augury(work, *common, "--seed", "1", "--seed", "0", "--save-path", "again.safetensors")
    assert again.stderr == ""
    assert {each["seed"]: each["test_top1"] for each in json.loads(again.stdout)["seeds"]} == dict(
        enumerate(scores)
    )
    assert (work / "again-seed0.safetensors").is_file()


def test_the_summary_shows_what_it_rests_on(work: Path) -> None:
    done = augury(work, "train", *RECIPE, "--save-path", "same.safetensors")
    assert done.returncode == 0, done.stderr
    num_images = len(list((work / "data" / "real").rglob("*.png")))
    validation = round(num_images / 10)
    # All images of an undivided folder take part, and none is held out as a test.
    assert done.stdout.startswith(
        f"real: {num_images - validation} real images to train on, {validation} real ones to "
        f"validate; 7 classes: 'five', 'four', 'one', 'six', 'three' and 2 more\n"
    )
    assert "(trained before)" in done.stdout
    assert "% (n = 1)" in done.stdout
    assert (work / "same.safetensors").read_bytes() == (work / "model.safetensors").read_bytes()


def test_a_divided_folder_keeps_its_parts(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        write_digits(tmp_path / "data" / part, 100 * number, 100 * number + 100)
    words = ("--data-dir", "data", "--save-path", "model.pt", "--json")
    done = augury(tmp_path, "train", *RECIPE, *words)
    assert done.returncode == 0, done.stderr
    images = json.loads(done.stdout)["images"]
    for part, name in (("train", "real"), ("val", "validation"), ("test", "test")):
        assert images[name] == len(list((tmp_path / "data" / part).rglob("*.png")))


def test_a_batch_of_all_where_there_are_few_images(tmp_path: Path) -> None:
    write_digits(tmp_path / "data", 0, 30)
    words = ("--model", "small_cnn", "--data-dir", "data", "--epochs", "1", "--threads", "1")
    done = augury(tmp_path, "train", *words, "--save-path", "model.pt")
    assert done.returncode == 0, done.stderr
    assert "1 steps of 19 images, 1 an epoch\n--batch-size 19, as there are no" in done.stdout
    again = augury(tmp_path, "train", *words, "--save-path", "model.pt", "--batch-size", "19")
    assert "(trained before)" in again.stdout
    assert "no more images" not in again.stdout


@pytest.mark.parametrize("name", ["new.pt", "new.safetensors"])
def test_a_file_that_cannot_be_written_at_the_end(work: Path, name: str) -> None:
    before = sorted(work.iterdir())
    # As a full disk does, a limit stops the file halfway, and only this one: training is done.
    limited = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "from orchestrator.cli import main\nmain()"
    )
    done = augury(work, "train", *RECIPE, "--save-path", name, python=limited)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: --save-path {name}: cannot be written (File too large); the training is kept: run "
        f"this again to save it, here or elsewhere\n"
    )
    assert sorted(work.iterdir()) == before
    done = augury(work, "train", *RECIPE, "--save-path", name)
    assert "(trained before)" in done.stdout
    (work / name).unlink()


def test_a_full_cache_is_one_line(work: Path) -> None:
    limited = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "from orchestrator.cli import main\nmain()"
    )
    words = ("--save-path", "full.pt", "--seed", "77")
    done = augury(work, "train", *RECIPE, *words, python=limited)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: seed 77: the cache ")
    assert "(File too large): make room there, or set AUGURY_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(work.glob("*full*"))
    assert augury(work, "train", *RECIPE, *words).returncode == 0


def edit_all(folder: Path, to: Path) -> int:
    """Write an edit of every image, as `augury generate --input-dir` does."""
    paths = sorted(folder.rglob("*.png"))
    for path in paths:
        data = path.read_bytes()
        pixels = decode(data, str(path))
        origins = origins_of(hashlib.sha256(data).hexdigest(), pixels, read_origins(data))
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(png(255 - pixels, {KEY: " ".join(origins)}))
    return len(paths)


def test_edits_of_training_images_can_be_trained_on_and_of_test_images_not(tmp_path: Path) -> None:
    for number, part in enumerate(("real", "test")):
        write_digits(tmp_path / part, 100 * number, 100 * number + 100)
        count = edit_all(tmp_path / part, tmp_path / f"{part}-edited")
    common = ("train", *RECIPE, "--data-dir", "real", "--synthetic-dir")
    done = augury(tmp_path, *common, "real-edited", "--save-path", "a.pt")
    assert done.returncode == 0, done.stderr
    (warning,) = (line for line in done.stderr.splitlines() if line.startswith("warning"))
    held = round(len(list((tmp_path / "real").rglob("*.png"))) / 10)
    assert warning.startswith(f"warning: --synthetic-dir: {held} of ")
    assert warning.endswith("are edits of validation images, which flatters validation scores")
    # Nobody has read these test images before.
    words = ("--test-dir", "test", "--save-path", "b.pt")
    done = augury(tmp_path, *common, "real-edited", *words)
    assert done.returncode == 0, done.stderr
    refused = augury(tmp_path, *common, "test-edited", *words)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(
        f"error: --synthetic-dir: {count} of {count} images are edits of images that are tested on"
    )
    assert "Traceback" not in refused.stderr
