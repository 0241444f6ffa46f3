"""A shard of edits of a pack: every edit named by what it is, and whole or not there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks import plugins
from tasks.edit import edit
from tasks.editing import OVER_BUDGET, About, Answer, Edited
from tasks.edits.answers import FolderAnswers
from tasks.edits.masks import open_masks
from tasks.edits.prompts import Prompt
from tasks.edits.strokes import Strokes
from tasks.errors import InputError
from tasks.origins import pixels_sha256, read_origins
from tasks.pack import gather
from tasks.packs import Example, Pack, ordered, read_all, write_pack
from tasks.results import read_result
from tasks.shards import SHARD_FILE
from tasks.specs import EditRecipe, EditSpec, GatherSpec, ImagesSpec
from tests.tasks.own_editors import own_editors, script

CLASSES = ("cat", "dog")
NUM_IMAGES = 6
PROMPTS = (Prompt(id="pa", text="of glass"), Prompt(id="pb", text="in a forbidden place"))


@pytest.fixture(autouse=True)
def _named() -> Iterator[None]:
    with own_editors():
        yield


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Six images of each class, two cats of them alike."""
    rng = np.random.default_rng(0)
    out = tmp_path / "pack"
    out.mkdir()
    examples = []
    for label, name in enumerate(CLASSES):
        for index in range(NUM_IMAGES):
            number = 0 if (label, index) == (0, 1) else index
            examples.append(
                Example(
                    pixels=np.full((8, 8, 1), 50 + 20 * number + label, np.uint8)
                    + rng.integers(0, 2, (8, 8, 1), np.uint8) * (number != 0),
                    label=label,
                    source=f"{name}/{index}.png",
                    sha256=f"{10 * label + number:064d}",
                )
            )
    read_all(write_pack(out, lambda: examples, CLASSES, None, len(examples)))
    return out


def spec_of(tmp_path: Path, **changes: Any) -> EditSpec:
    config = plugins.module("editors", "negative").Config(
        log=str(tmp_path / "log"), trouble=str(tmp_path / "trouble")
    )
    editor = plugins.plugin("editors", "negative", config)
    recipe = EditRecipe(editor=editor, pack="pack", per_image=1, seed=3)
    spec = EditSpec(recipe=recipe, prompts=PROMPTS, split_seed=0, label=0, start=0, stop=NUM_IMAGES)
    return replace(spec, **changes)


def run(
    spec: EditSpec, pack: Path, out: Path, answers: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out.mkdir()
    read_all(edit(spec, pack, None, answers, out, "cpu"))
    return pq.read_table(out / SHARD_FILE).to_pylist(), read_result(out)


def test_every_image_has_an_edit_by_every_prompt(pack: Path, tmp_path: Path) -> None:
    rows, result = run(spec_of(tmp_path), pack, tmp_path / "out")
    assert (result["images"], result["refused"]) == (2 * NUM_IMAGES, 0)
    places = {(row["source"], row["prompt_id"], row["replica"]) for row in rows}
    assert places == {(f"cat/{i}.png", p.id, 0) for i in range(NUM_IMAGES) for p in PROMPTS}
    assert {row["label"] for row in rows} == {0}
    assert result["stamp"] == {"dtype": "uint8"}


@pytest.mark.parametrize("batch_size", [1, 2 * NUM_IMAGES])
def test_equal_images_are_edited_once(batch_size: int, pack: Path, tmp_path: Path) -> None:
    config = plugins.module("editors", "negative").Config(
        log=str(tmp_path / "log"), batch_size=batch_size
    )
    spec = spec_of(tmp_path)
    spec = replace(
        spec,
        recipe=replace(spec.recipe, editor=plugins.plugin("editors", "negative", config)),
    )
    rows, _ = run(spec, pack, tmp_path / "out")
    twins = [r["image"]["bytes"] for r in rows if r["source"] in ("cat/0.png", "cat/1.png")]
    assert len(set(twins)) == 2 < len(twins) == 4
    asked = [line for line in (tmp_path / "log").read_text().split("\n") if "edit" in line]
    assert len(asked) == len(set(asked)) == 2 * (NUM_IMAGES - 1)


def test_the_cost_is_of_every_edit_that_was_made(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        monkeypatch, lambda edits: (Edited(id=e.id, image=e.image, cost_usd=0.25) for e in edits)
    )
    _, result = run(spec_of(tmp_path), pack, tmp_path / "out")
    # Two of the images are alike.
    assert result["cost_usd"] == 2 * (NUM_IMAGES - 1) * 0.25


def test_the_cost_is_also_of_answers_that_an_earlier_run_paid_for(
    pack: Path, tmp_path: Path
) -> None:
    rows, before = run(spec_of(tmp_path), pack, tmp_path / "out")
    kept = Answer(id=rows[0]["id"], status="image", cost_usd=0.25)
    FolderAnswers(tmp_path / "answers").keep(kept)
    _, after = run(spec_of(tmp_path), pack, tmp_path / "again", tmp_path / "answers")
    assert (before["cost_usd"], after["cost_usd"]) == (0, 0.25)


@pytest.mark.parametrize(("prompt", "num_ids"), [(True, 1), (False, 3)])
def test_an_edit_is_named_by_label_and_fit_where_no_prompt_is_read(
    prompt: bool, num_ids: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins.module("editors", "negative"), "ABOUT", About(prompt=prompt))
    pack = tmp_path / "pack"
    pack.mkdir()
    twins = [
        Example(pixels=np.zeros((8, 8, 1), np.uint8), label=label, source=name, sha256="f" * 64)
        for label, name in enumerate(CLASSES)
    ]
    read_all(write_pack(pack, lambda: twins, CLASSES, None, len(twins)))
    ids = set()
    for fit, label in (("a", 0), ("b", 0), ("a", 1)):
        spec = spec_of(tmp_path, prompts=PROMPTS[:1], label=label, stop=1)
        spec = replace(spec, recipe=replace(spec.recipe, fit=fit))
        ids |= {row["id"] for row in run(spec, pack, tmp_path / f"{fit}{label}")[0]}
    assert len(ids) == num_ids


def test_bytes_do_not_depend_on_the_cut_into_shards(pack: Path, tmp_path: Path) -> None:
    whole, _ = run(spec_of(tmp_path), pack, tmp_path / "whole")
    parts = [
        row
        for start in range(0, NUM_IMAGES, 2)
        for row in run(
            spec_of(tmp_path, start=start, stop=start + 2), pack, tmp_path / f"part {start}"
        )[0]
    ]
    assert parts == whole


def test_what_is_refused_is_counted_and_not_made(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "trouble").write_text("refuse")
    rows, result = run(spec_of(tmp_path), pack, tmp_path / "out")
    assert (result["images"], result["refused"]) == (NUM_IMAGES, NUM_IMAGES)
    assert {row["prompt_id"] for row in rows} == {"pa"}


def test_a_shard_with_edits_left_to_do_is_not_there(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "trouble").write_text("forget")
    with pytest.raises(ConnectionError, match=r"edits are left to do \(there is no image\)"):
        run(spec_of(tmp_path), pack, tmp_path / "out")
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_budget_that_does_not_do_is_named(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        monkeypatch, lambda edits: (Edited(id=e.id, image=None, left=OVER_BUDGET) for e in edits)
    )
    with pytest.raises(Exception, match="max_cost_usd leaves"):
        run(spec_of(tmp_path), pack, tmp_path / "out")
    assert not (tmp_path / "out" / "result.json").exists()


def test_masks_are_kept_to_and_must_be_those_of_the_plan(pack: Path, tmp_path: Path) -> None:
    masks = Strokes(max_coverage=0.4)
    spec = spec_of(tmp_path)
    recipe = replace(spec.recipe, masks=masks, masks_digest=open_masks(masks, CLASSES).digest)
    rows, _ = run(replace(spec, recipe=recipe), pack, tmp_path / "out")
    whole, _ = run(spec, pack, tmp_path / "whole")
    assert {row["id"] for row in rows}.isdisjoint({row["id"] for row in whole})
    changed = replace(spec, recipe=replace(recipe, masks_digest="0" * 64))
    with pytest.raises(InputError, match="masks were changed before they were used"):
        run(changed, pack, tmp_path / "changed")


def test_a_subset_gathers_the_edits_of_its_own_images(pack: Path, tmp_path: Path) -> None:
    shards = []
    for label in range(len(CLASSES)):
        run(spec_of(tmp_path, label=label), pack, tmp_path / f"shard {label}")
        shards.append(tmp_path / f"shard {label}")
    images = ImagesSpec(pack="pack", split_seed=0, validation=(1, 1), training=(2, 3))
    out = tmp_path / "gathered"
    out.mkdir()
    gathering = GatherSpec(
        synthetic="set", shards=("a", "b"), classes=CLASSES, size=None, sources=images
    )
    read_all(gather(gathering, shards, out, 10, pack))
    found, real = Pack(out), Pack(pack)
    by_class = [np.bincount(found.labels, minlength=2).tolist()]
    assert by_class == [[4, 6]]
    wanted = {
        real.sources[row]
        for label, number in enumerate(images.training)
        for row in ordered(real, 0)[label][1 : 1 + number]
    }
    assert {source.partition("#")[0] for source in found.sources} == wanted
    hashes = dict(zip(real.sources, real.hashes, strict=True))
    for source, origins in zip(found.sources, found.origins, strict=True):
        assert hashes[source.partition("#")[0]] in origins


def test_an_edit_names_what_its_source_was_made_from(tmp_path: Path) -> None:
    out = tmp_path / "pack"
    out.mkdir()
    pixels = np.full((8, 8, 1), 50, np.uint8)
    source = Example(pixels=pixels, label=0, source="a", sha256="f" * 64, origins=("e" * 64,))
    read_all(write_pack(out, lambda: [source], CLASSES, None, 1))
    rows, _ = run(spec_of(tmp_path, stop=1), out, tmp_path / "shard")
    for row in rows:
        found = read_origins(row["image"]["bytes"])
        assert found == tuple(sorted(("e" * 64, "f" * 64, pixels_sha256(pixels))))
