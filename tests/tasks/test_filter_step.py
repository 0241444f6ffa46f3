"""A generated set is filtered and filled up again, with every image accounted for."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks import plugins
from tasks.errors import InputError
from tasks.extractor import fit_extractor
from tasks.filter import filter_set
from tasks.filters import blank, bottom_fraction, clip_score, confidence, near_duplicate
from tasks.generate import shard_schema
from tasks.generators import vae
from tasks.pack import gather
from tasks.packs import Pack, read_all, select
from tasks.results import read_result
from tasks.shards import SHARD_FILE
from tasks.specs import ExtractorSpec, FilterSpec, GatherSpec, Plugin, SampleSpec, SetSpec
from tests.tasks.synthesis import COUNTS, IMAGES, a_set, fitted, make_shard, pixels_of, read_rows
from tests.tasks.tiny_clip import write_clip
from tests.tasks.trials import CLASSES, RECIPE, TINY, Memory, trial

pytestmark = pytest.mark.usefixtures("one_thread")
VAE = plugins.plugin("generators", "vae", vae.Config(channels=(8, 16), latent_size=4, steps=40))
SAMPLING = vae.Sampling(batch_size=4)
TOTAL = sum(COUNTS)


@pytest.fixture(scope="module")
def weights(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(VAE, real, tmp_path_factory.mktemp("fit"))


@pytest.fixture(scope="module")
def extractor(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("extractor")
    cell = replace(trial(model=TINY).cell, recipe=RECIPE, images=replace(IMAGES, pack="p"))
    read_all(fit_extractor(ExtractorSpec(cell=cell, seed=0), {"p": real}, out, Memory(), "cpu"))
    return out


def shards_of(
    synthetic: SetSpec, cuts: Sequence[int], weights: Path, real: Path, out: Path
) -> list[Path]:
    return [
        make_shard(
            SampleSpec(synthetic=synthetic, start=a, stop=b), weights, real, out / f"shard-{a}"
        )
        for a, b in itertools.pairwise(cuts)
    ]


def a_spec(*filters: Plugin, **changes: Any) -> FilterSpec:
    needed = any(plugins.module("filters", each.name).needs(each.config) for each in filters)
    spec = FilterSpec(
        drawn="d",
        synthetic=a_set(VAE, SAMPLING),
        filters=filters,
        refill=True,
        max_draws=10,
        extractor=plugins.plugin("extractors", "classifier") if needed else None,
        fitted="x" if needed else None,
        classes=CLASSES,
        shards=("s",),
    )
    return replace(spec, **changes)


def filtered(
    spec: FilterSpec,
    weights: Path,
    real: Path,
    extractor: Path,
    out: Path,
    cuts: Sequence[int] = (0, TOTAL),
) -> Path:
    shards = shards_of(spec.synthetic, cuts, weights, real, out)
    done = out / "filter"
    done.mkdir()
    read_all(filter_set(spec, shards, weights, real, extractor, done, "cpu"))
    return done


LOWEST = plugins.plugin("filters", "bottom_fraction", bottom_fraction.Config(fraction=0.5))


def test_a_filtered_set_has_its_quota_and_every_image_is_accounted_for(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    whole = filtered(a_spec(LOWEST), weights, real, extractor, tmp_path)
    rows = read_rows(whole)
    assert tuple(np.bincount([row["label"] for row in rows], minlength=10)) == COUNTS
    assert [row["index"] for row in rows] == list(range(TOTAL))
    result = read_result(whole)
    assert tuple(result["kept"]) == COUNTS
    assert result["rounds"] > 0
    (dropped,) = [each["counts"] for each in result["dropped"]]
    assert sum(dropped) > 0
    for label, quota in enumerate(COUNTS):
        # What was drawn was dropped or kept; a few may be kept beyond the quota's last round.
        assert result["drawn"][label] == dropped[label] + quota
    # Refills are the images that a larger set would hold at their numbers.
    beyond = [row for row in rows if row["class_index"] >= COUNTS[row["label"]]]
    assert beyond
    pairs = [(row["label"], row["class_index"]) for row in rows]
    assert len(set(pairs)) == len(pairs) == len({row["seed"] for row in rows})


def test_what_is_kept_does_not_depend_on_the_shards(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    one = filtered(a_spec(LOWEST), weights, real, extractor, tmp_path / "one")
    four = filtered(a_spec(LOWEST), weights, real, extractor, tmp_path / "four", (0, 4, 12, TOTAL))
    assert read_rows(one) == read_rows(four)


def test_without_refill_the_gap_stays(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    out = filtered(a_spec(LOWEST, refill=False), weights, real, extractor, tmp_path)
    result = read_result(out)
    assert tuple(result["drawn"]) == COUNTS
    assert sum(result["kept"]) == result["images"] == len(read_rows(out)) < TOTAL
    assert result["rounds"] == 0


def test_filters_are_met_in_their_order_and_counted_apart(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    strict = plugins.plugin("filters", "blank", blank.Config(min_std=60.0))
    sure = plugins.plugin("filters", "confidence", confidence.Config(too_easy=False))
    spec = a_spec(strict, sure, strict, refill=False)
    result = read_result(filtered(spec, weights, real, extractor, tmp_path))
    names = [each["filter"] for each in result["dropped"]]
    assert names == ["blank 1", "confidence", "blank 3"]
    # Who meets the same filter twice is dropped by it once.
    assert not sum(result["dropped"][2]["counts"])
    lost = sum(sum(each["counts"]) for each in result["dropped"])
    assert TOTAL - lost == result["images"]


def test_filters_compare_with_the_training_images_of_the_generator(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    of_real = plugins.plugin("filters", "near_duplicate", near_duplicate.Config(of_kept=False))
    made = filtered(a_spec(of_real, refill=False), weights, real, extractor, tmp_path / "made")
    # Each image is a copy of itself: were they compared with each other, none would stay.
    assert read_result(made)["images"] > TOTAL / 2

    # Images that the generator was fitted on, as if it had made them.
    shards = shards_of(a_set(VAE, SAMPLING), (0, TOTAL), weights, real, tmp_path / "memorised")
    pack, rows = Pack(real), pq.read_table(shards[0] / SHARD_FILE).to_pylist()
    training = select(pack, IMAGES)[1]
    for row, index in zip(rows, training.tolist(), strict=False):
        buffer = io.BytesIO()
        Image.fromarray(pack.image(index)[..., 0]).save(buffer, "PNG")
        row["image"]["bytes"] = buffer.getvalue()
    pq.write_table(pa.Table.from_pylist(rows, shard_schema(CLASSES)), shards[0] / SHARD_FILE)
    with pytest.raises(InputError, match="no image is left"):
        read_all(
            filter_set(a_spec(of_real, refill=False), shards, weights, real, None, tmp_path, "cpu")
        )


def test_a_filter_that_keeps_nothing_names_class_and_way_out(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    flat = plugins.plugin("filters", "blank", blank.Config(min_range=255.0, min_std=200.0))
    with pytest.raises(InputError, match="of 9 images drawn of class '0' 0 are kept, 3 are asked"):
        filtered(a_spec(flat, max_draws=3), weights, real, extractor, tmp_path / "refill")
    with pytest.raises(InputError, match="no image is left"):
        filtered(a_spec(flat, refill=False), weights, real, extractor, tmp_path / "none")
    assert not (tmp_path / "none" / "filter" / "result.json").exists()


def test_reconstructed_means_cannot_be_drawn_anew(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    means = vae.Sampling(batch_size=4, mode="reconstruct", posterior="mean")
    few = replace(a_set(VAE, means), counts=(6,) * 10)
    with pytest.raises(InputError, match="make each image once"):
        filtered(a_spec(LOWEST, synthetic=few), weights, real, extractor, tmp_path, cuts=(0, 60))


def test_a_clip_of_a_local_folder_filters(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    folder = str(write_clip(tmp_path / "clip"))
    chosen = plugins.plugin("filters", "clip_score", clip_score.Config(checkpoint=folder))
    lowest = plugins.plugin(
        "filters", "bottom_fraction", bottom_fraction.Config(by="clip", checkpoint=folder)
    )
    spec = a_spec(chosen, lowest, refill=False)
    result = read_result(filtered(spec, weights, real, extractor, tmp_path / "set"))
    # Random weights lean to some classes: some images pass, and some do not.
    assert 0 < result["images"] < TOTAL
    assert sum(result["dropped"][0]["counts"]) > 0


def test_a_filtered_set_is_gathered_like_any_shard(
    real: Path, weights: Path, extractor: Path, tmp_path: Path
) -> None:
    shard = filtered(a_spec(LOWEST), weights, real, extractor, tmp_path)
    spec = GatherSpec(synthetic="f", shards=("f",), classes=CLASSES, size=None)
    out = tmp_path / "pack"
    out.mkdir()
    read_all(gather(spec, [shard], out, TOTAL))
    pack = Pack(out)
    assert tuple(np.bincount(pack.labels, minlength=10)) == COUNTS
    assert np.array_equal(pack.whole[..., 0], pixels_of(read_rows(shard)))
