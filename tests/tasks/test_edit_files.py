"""The task that edits files: every edit once, at the size of its image, and what cannot be made."""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tasks import plugins
from tasks.augmentation import AugmentationInfo, Batch
from tasks.edit_files import PNG_TEXT, edit_files, id_of
from tasks.editing import Answer, Edit, Edited
from tasks.edits import masks
from tasks.edits.answers import FolderAnswers
from tasks.edits.augmenting import MIXING, as_editor
from tasks.edits.keeping import Fitted, about, folder_of
from tasks.edits.naming import edit_seed, mask_seed
from tasks.errors import InputError
from tasks.generation import ImageInfo
from tasks.origins import pixels_sha256, read_origins
from tasks.results import read_result
from tasks.shards import SHARD_FILE
from tasks.specs import EditFilesSpec, FileEdit
from tests.tasks.own_editors import own_editors, script

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _named() -> Iterator[None]:
    with own_editors():
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six digits of different sizes, two of them alike, one in colour."""
    digits = load_digits().images
    for index in range(6):
        grey = (digits[0 if index == 5 else index] * 15).astype(np.uint8)
        side = 8 if index in (0, 5) else 8 + index
        image = Image.fromarray(grey).resize((side, side + index % 2 * 3 * (index != 5)))
        path = tmp_path / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        (image.convert("RGB") if index == 3 else image).save(path)
    return tmp_path / "images"


def spec_of(root: Path, tmp_path: Path, name: str = "negative", **config: Any) -> EditFilesSpec:
    edits = tuple(
        FileEdit(
            source=path.name,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            class_name="digit",
            prompt=prompt,
            prompt_id=f"p{number}",
            replica=0,
        )
        for path in sorted(root.iterdir())
        for number, prompt in enumerate(("of glass", "in a forbidden place"))
    )
    if name == "negative":
        config = {
            "log": str(tmp_path / "log"),
            "trouble": str(tmp_path / "trouble"),
            **config,
        }
    chosen = plugins.module("editors", name).Config(**config)
    return EditFilesSpec(
        editor=plugins.plugin("editors", name, chosen), edits=edits, seed=3, root=str(root)
    )


def run(
    spec: EditFilesSpec, out: Path, fitted: Fitted | None = None, answers: Path | None = None
) -> tuple[dict[str, Row], dict[str, Any]]:
    """The rows by id, and the result; progress only grows."""
    out.mkdir()
    done = [progress.done for progress in edit_files(spec, out, "cpu", fitted, answers)]
    assert done == sorted(done)
    assert done[-1] == len(spec.edits)
    rows = {row["id"]: row for row in pq.read_table(out / SHARD_FILE).to_pylist()}
    return rows, read_result(out)


def opened(row: Row) -> Image.Image:
    return Image.open(io.BytesIO(row["image"]["bytes"]))


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def log(tmp_path: Path) -> list[str]:
    path = tmp_path / "log"
    return path.read_text().splitlines() if path.exists() else []


def test_every_edit_is_made_once_at_the_size_of_its_image(root: Path, tmp_path: Path) -> None:
    spec = spec_of(root, tmp_path)
    rows, result = run(spec, tmp_path / "out")
    # Two of the six images are alike, and each has two prompts.
    assert len(rows) == 10
    assert len(log(tmp_path)) == 1 + 10
    counts = {name: result[name] for name in ("edits", "made", "refused", "left", "stopped")}
    assert counts == {"edits": 12, "made": 12, "refused": 0, "left": 0, "stopped": ""}
    assert result["stamp"] == {"dtype": "uint8"}
    for each in spec.edits:
        id = id_of(spec.editor, "", 3, each)
        image, source = opened(rows[id]), pixels(root / each.source)
        assert np.asarray(image).shape == source.shape
        assert image.text[PNG_TEXT] == id  # type: ignore[attr-defined]
        assert set(read_origins(rows[id]["image"]["bytes"])) == {each.sha256, pixels_sha256(source)}
        assert rows[id]["seed"] == edit_seed(id)
        off = np.asarray(image).astype(int) - (255 - source.astype(int))
        assert 0 <= off.min() <= off.max() < 10


def test_what_an_edit_is_decides_its_bytes(root: Path, tmp_path: Path) -> None:
    spec = spec_of(root, tmp_path)
    rows, _ = run(spec, tmp_path / "out")
    small = replace(spec, edits=spec.edits[:1:-1])
    again, _ = run(small, tmp_path / "again")
    assert again == {id: rows[id] for id in again}
    other, _ = run(replace(spec, seed=4), tmp_path / "other")
    assert not set(other) & set(rows)


def test_without_a_prompt_an_edit_is_named_by_class_and_generator(
    root: Path, tmp_path: Path
) -> None:
    spec = spec_of(root, tmp_path)
    for prompt, num_ids in (("of glass", 1), ("", 3)):
        each = replace(spec.edits[0], prompt=prompt)
        ids = {
            id_of(spec.editor, "a" * 64, 3, each),
            id_of(spec.editor, "b" * 64, 3, each),
            id_of(spec.editor, "a" * 64, 3, replace(each, class_name="letter")),
        }
        assert len(ids) == num_ids


@pytest.mark.parametrize("labelled", [True, False])
def test_who_draws_a_class_is_told_its_label(
    labelled: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = ("cat", "digit", "letter")
    info = ImageInfo(channels=1, height=8, width=8, num_classes=3, classes=classes)
    told: dict[str, int | None] = {}

    def answer(edits: Sequence[Edit]) -> Iterator[Edited]:
        for edit in edits:
            told[edit.id] = edit.label
            yield Edited(id=edit.id, image=edit.image)

    script(monkeypatch, answer)
    spec = spec_of(root, tmp_path)
    edits = [
        replace(each, prompt="", class_name=name)
        for each, name in zip(spec.edits, classes * 4, strict=True)
    ]
    spec = replace(spec, edits=tuple(edits))
    run(spec, tmp_path / "out", Fitted(folder=tmp_path, info=info) if labelled else None)
    for each in edits:
        wanted = classes.index(each.class_name) if labelled else None
        assert told[id_of(spec.editor, "", 3, each)] == wanted


def test_a_row_says_what_was_paid_by_whichever_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(root, tmp_path)
    before = id_of(spec.editor, "", 3, spec.edits[0])
    kept = Answer(id=before, status="image", cost_usd=0.25)
    FolderAnswers(tmp_path / "answers").keep(kept)
    script(
        monkeypatch,
        lambda edits: (
            Edited(id=e.id, image=e.image, cost_usd=0.0 if e.id == before else 0.5) for e in edits
        ),
    )
    rows, result = run(spec, tmp_path / "out", answers=tmp_path / "answers")
    prices = {id: row["cost_usd"] for id, row in rows.items()}
    assert prices == dict.fromkeys(rows, 0.5) | {before: 0.25}
    assert result["cost_usd"] == 9 * 0.5
    nowhere, _ = run(spec, tmp_path / "without answers")
    assert nowhere[before]["cost_usd"] == 0


def test_an_editor_is_built_once_for_all_steps_of_a_process(root: Path, tmp_path: Path) -> None:
    spec = spec_of(root, tmp_path)
    for number in range(3):
        run(replace(spec, edits=spec.edits[number : number + 2]), tmp_path / f"out{number}")
    assert [line for line in log(tmp_path) if "build" in line] == ["build on cpu"]
    run(spec_of(root, tmp_path, strength=3), tmp_path / "stronger")
    run(spec, tmp_path / "first again")
    assert len([line for line in log(tmp_path) if "build" in line]) == 3


def test_a_refusal_is_a_row_without_an_image(root: Path, tmp_path: Path) -> None:
    (tmp_path / "trouble").write_text("refuse")
    rows, result = run(spec_of(root, tmp_path), tmp_path / "out")
    assert (result["made"], result["refused"], result["left"]) == (6, 6, 0)
    refused = [row for row in rows.values() if row["image"] is None]
    assert {(row["refusal"], row["left"]) for row in refused} == {("not safe", "")}


@pytest.mark.parametrize(
    ("trouble", "why"), [("build", "no checkpoint of that name"), ("stop", "no credit left")]
)
def test_where_nothing_more_can_be_made_the_rest_is_left(
    trouble: str, why: str, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "trouble").write_text(trouble)
    rows, result = run(spec_of(root, tmp_path), tmp_path / "out")
    assert why in result["stopped"]
    assert result["left"] == 12
    assert {row["left"] for row in rows.values()} == {result["stopped"]}


def test_what_was_mended_after_a_stop_is_found(root: Path, tmp_path: Path) -> None:
    (tmp_path / "trouble").write_text("stop")
    run(spec_of(root, tmp_path), tmp_path / "out")
    (tmp_path / "trouble").unlink()
    _, result = run(spec_of(root, tmp_path), tmp_path / "again")
    assert (result["made"], result["stopped"]) == (12, "")
    assert [line for line in log(tmp_path) if "build" in line] == ["build on cpu"] * 2


def test_what_an_editor_says_nothing_of_is_left(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, lambda edits: (Edited(id=e.id, image=None) for e in edits))
    rows, result = run(spec_of(root, tmp_path), tmp_path / "out")
    assert (result["made"], result["left"], result["stopped"]) == (0, 12, "")
    assert {row["left"] for row in rows.values()} == {"there is no image"}


def test_what_was_made_before_a_stop_is_kept(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for progress in edit_files(spec_of(root, tmp_path), out, "cpu"):
        if progress.done >= 3:
            (tmp_path / "trouble").write_text("stop")
    result = read_result(out)
    # The batch that was under way, of five ids, two of which stand for two files each.
    assert (result["made"], result["left"]) == (7, 5)


def test_a_fault_of_the_editor_is_no_result(root: Path, tmp_path: Path) -> None:
    (tmp_path / "trouble").write_text("fail")
    with pytest.raises(RuntimeError, match="no finite"):
        run(spec_of(root, tmp_path), tmp_path / "out")


def test_an_editor_that_forgets_an_edit_is_not_asked_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def answer(edits: Sequence[Edit]) -> Iterator[Edited]:
        asked.append(len(edits))
        # Once alone: asked again, it would end without an error.
        forgotten = 1 if len(asked) == 1 else 0
        return (Edited(id=each.id, image=each.image) for each in edits[forgotten:])

    script(monkeypatch, answer)
    with pytest.raises(ValueError, match="negative forgot 1 of its edits"):
        run(spec_of(root, tmp_path), tmp_path / "out")
    assert asked == [5]


@pytest.mark.parametrize("shape", [(8, 7, 1), (8, 8, 3)])
def test_an_image_of_another_shape_is_a_fault_of_the_editor(
    shape: tuple[int, ...], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = np.zeros(shape, np.uint8)
    script(monkeypatch, lambda edits: (Edited(id=each.id, image=made) for each in edits))
    with pytest.raises(ValueError, match=re.escape(f"negative made {shape} of (8, 8, 1)")):
        run(spec_of(root, tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "why"), [(b"other", "was changed"), (None, "cannot be read (No such file")]
)
def test_a_source_that_changed_is_left_and_no_other(
    change: bytes | None, why: str, root: Path, tmp_path: Path
) -> None:
    spec = spec_of(root, tmp_path)
    if change is None:
        (root / "2.png").unlink()
    else:
        (root / "2.png").write_bytes(change)
    rows, result = run(spec, tmp_path / "out")
    left = [row["left"] for row in rows.values() if row["left"]]
    assert (result["made"], result["left"], result["stopped"]) == (10, 2, "")
    assert all(why in each and "2.png" in each for each in left)


def masked(spec: EditFilesSpec, config: Any) -> EditFilesSpec:
    """The same edits with masks, as planning states them."""
    opened = masks.open_masks(config)
    edits = tuple(
        replace(
            each,
            mask_digest=opened.digest_of(
                each.source,
                each.class_name,
                mask_seed(seed=spec.seed, source_hash=each.sha256, replica=each.replica),
            ),
        )
        for each in spec.edits
    )
    return replace(spec, masks=config, edits=edits)


def test_masks_reach_the_editor_at_the_size_of_the_image(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for path in root.iterdir():
        mask = np.zeros(pixels(path).shape[:2], np.uint8)
        mask[:, :4] = 255
        Image.fromarray(mask).save(folder / path.name)
    spec = masked(spec_of(root, tmp_path), masks.named(str(folder)))
    rows, result = run(spec, tmp_path / "out")
    assert result["made"] == 12
    for each in spec.edits:
        made = np.asarray(opened(rows[id_of(spec.editor, "", 3, each)]))
        source = pixels(root / each.source)
        assert (made[:, 4:] == source[:, 4:]).all()
        assert (made[:, :4] != source[:, :4]).any()


def test_a_mask_that_changed_is_left(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(path)
    spec = spec_of(root, tmp_path)
    spec = masked(replace(spec, edits=spec.edits[:2]), masks.named(str(path)))
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(path)
    rows, result = run(spec, tmp_path / "out")
    assert result["left"] == 2
    assert all("mask of '0.png' was changed" in row["left"] for row in rows.values())


def augmented(spec: EditFilesSpec, name: str, **config: Any) -> EditFilesSpec:
    chosen = plugins.module("augmentations", name).Config(**config)
    edits = tuple(
        replace(each, prompt="", prompt_id=name) for each in spec.edits if each.prompt_id == "p0"
    )
    editor = as_editor(plugins.plugin("augmentations", name, chosen))
    return replace(spec, editor=editor, edits=edits)


SETTINGS = {"albumentations": {"transforms": ({"name": "HorizontalFlip", "p": 1.0},)}}


@pytest.mark.parametrize(
    "name", [each for each in plugins.names("augmentations") if each not in MIXING]
)
def test_every_augmentation_can_be_written_to_disk(name: str, root: Path, tmp_path: Path) -> None:
    if name == "albumentations":
        pytest.importorskip("albumentations")
    spec = augmented(spec_of(root, tmp_path), name, probability=1.0, **SETTINGS.get(name, {}))
    assert about(spec.editor).prompt is False
    rows, result = run(spec, tmp_path / "out")
    assert (result["made"], result["stopped"]) == (6, "")
    again, _ = run(spec, tmp_path / "again")
    images = {id: row["image"] for id, row in rows.items()}
    assert {id: row["image"] for id, row in again.items()} == images
    changed = [
        (
            np.asarray(opened(rows[id_of(spec.editor, "", 3, each)])) != pixels(root / each.source)
        ).any()
        for each in spec.edits
    ]
    assert any(changed)


def test_an_image_is_augmented_by_chance_or_copied(root: Path, tmp_path: Path) -> None:
    spec = spec_of(root, tmp_path)
    edits = tuple(
        replace(each, replica=replica) for each in spec.edits[::2] for replica in range(20)
    )
    spec = augmented(replace(spec, edits=edits), "rotation", probability=0.25, degrees=90.0)
    rows, _ = run(spec, tmp_path / "out")
    copies = [
        np.array_equal(
            np.asarray(opened(rows[id_of(spec.editor, "", 3, each)])),
            pixels(root / each.source),
        )
        for each in spec.edits
    ]
    # 120 draws of 1/4, of which those of the equal images are the same.
    assert 15 <= len(copies) - sum(copies) <= 45


@pytest.mark.parametrize("name", plugins.names("augmentations"))
def test_only_what_mixes_images_changes_their_labels(name: str) -> None:
    import torch

    if name == "albumentations":
        pytest.importorskip("albumentations")
    module = plugins.module("augmentations", name)
    info = AugmentationInfo(side=8, channels=3, num_classes=4, mean=(0.5,) * 3, std=(0.5,) * 3)
    made = module.build(module.Config(probability=1.0, **SETTINGS.get(name, {})), info)
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    if module.PLACE != "device":
        images = (images * 255).to(torch.uint8)
    out = made(Batch(images=images, targets=torch.eye(4)), torch.Generator().manual_seed(0))
    assert (not torch.equal(out.targets, torch.eye(4))) == (name in MIXING)


def test_what_mixes_images_is_refused() -> None:
    with pytest.raises(InputError, match="cutmix mixes images with their labels"):
        as_editor(plugins.plugin("augmentations", "cutmix"))


def test_the_weights_of_a_fit_are_told_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUGURY_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "ddpm.safetensors"
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    folder = folder_of(file, digest)
    assert (folder / "weights.safetensors").read_bytes() == b"weights"
    file.unlink()
    assert folder_of(file, digest) == folder
    (folder / "weights.safetensors").write_bytes(b"rotten")
    with pytest.raises(InputError, match="changed"):
        folder_of(file, digest)
    info = ImageInfo(channels=1, height=8, width=8, num_classes=1, classes=("digit",))
    assert Fitted(folder=folder, info=info) == Fitted(folder=folder, info=info)
