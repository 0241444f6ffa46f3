"""The parts of the page about synthetic sets: tables, pictures, maps, curves."""

import base64
import functools
import io
import re
import struct
from dataclasses import replace

import pytest
from PIL import Image

from orchestrator.report.contact import joined, most_within
from orchestrator.report.gain_figure import gain_figure
from orchestrator.report.html import html
from orchestrator.report.loss_figures import loss_figures, thinned
from orchestrator.report.results import FeatureMap
from orchestrator.report.set_files import set_files, study_files
from orchestrator.report.set_maps import MOST_POINTS, map_svg
from orchestrator.report.set_page import set_table
from orchestrator.report.set_panels import (
    MOST_TILES,
    SHEETS_BYTES,
    case_galleries,
    galleries,
    sample_gallery,
    sheets_of,
)
from tests.orchestrator.report import pieces, samples, set_samples
from tests.orchestrator.report.set_samples import made_set, set_sheet, study_of

LARGEST_PAGE = 10_000_000


@functools.cache
def page(name: str) -> str:
    return html(set_samples.ALL[name]())


def size_of(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_everything_known_of_ten_sets_is_on_a_page_of_reasonable_size() -> None:
    text = page("generators")
    assert len(text) < LARGEST_PAGE
    for said in (
        "<h2>Synthetic sets</h2>",
        "<h2>Measures and gain</h2>",
        "<h2>Audit</h2>",
        "<h2>Filters</h2>",
        "dvae: worst cases, the synthetic image beside the real one",
        "<summary>Nearest real images</summary>",
        "<summary>Latent interpolation</summary>",
        "<summary>Denoising steps</summary>",
        "<summary>Reconstructions</summary>",
        "Map of real and synthetic images",
        "Losses of the generators by optimizer step",
        "ddpm, class by class",
    ):
        assert said in text


def test_many_sets_are_folded_away_and_few_are_not() -> None:
    folded = "<details>\n<summary>Nearest real images</summary>"
    assert folded in page("generators")
    assert folded not in page("hostile_sets")


def test_the_tables_of_the_page_hold_gain_and_cost_together() -> None:
    grid = set_table(set_samples.generators())
    assert grid is not None
    assert grid.headings[-8:] == (
        *("rec. MSE ↓", "gain (points)", "reading", "pairs"),
        *("failed fits", "fit time", "peak memory", "images/s"),
    )
    place = grid.headings.index("gain (points)")
    assert grid.lines[0].texts[place] == "−0.85\n−1.35 to −0.35"
    assert grid.lines[0].texts[place + 1] == "lower\nnot confirmed"
    assert grid.lines[0].is_indication
    assert set_table(samples.digits()) is None


def test_names_of_sets_are_escaped_in_figures_and_tiles() -> None:
    text = page("hostile_sets")
    assert "alert(2)" in text
    assert "<script" not in text


def test_folders_have_no_fit_to_show() -> None:
    assert "Losses of the generators" not in page("folder_set")
    assert "what a fit cost" not in page("folder_set")
    assert "peak memory" not in page("folder_set")
    assert "<h2>Measures and gain</h2>" not in page("folder_set")


def test_pictures_are_joined_without_loss() -> None:
    rows = [[set_samples._glyph(c, i) for i in range(3)] for c in range(2)]
    sheet = joined([rows[0], rows[1][:1]])
    assert sheet is not None
    assert (sheet.num_rows, sheet.num_columns, sheet.is_enlarged) == (2, 3, True)
    image = Image.open(io.BytesIO(sheet.png))
    assert image.size == (3 * 9 - 1, 2 * 9 - 1)
    assert sheet.width == 4 * 26
    part = image.crop((9, 0, 17, 8)).convert("L")
    assert part.tobytes() == Image.open(io.BytesIO(rows[0][1])).tobytes()
    assert image.getpixel((20, 12)) == (0, 0)  # nothing where a row is shorter
    assert joined([[], []]) is None


def test_large_pictures_are_shown_as_they_are() -> None:
    sheet = joined([[set_samples._glyph(0, 0, 96)]])
    assert sheet is not None
    assert not sheet.is_enlarged
    assert sheet.width < 96


def test_sheets_show_fewer_images_rather_than_a_page_too_large() -> None:
    gallery = sample_gallery(set_samples.long_names())
    assert gallery is not None
    assert "Up to 3 images of each class" in gallery.caption
    total = sum(len(base64.b64decode(tile.address.split(",")[1])) for tile in gallery.tiles)
    assert total < 1.2 * SHEETS_BYTES
    assert most_within(10, (4, 2, 1), lambda count: 100 * count) == 1
    assert len(page("long_names")) < LARGEST_PAGE


def test_a_sheet_may_lack_classes() -> None:
    sheets = (pieces.sheet("real", 3, 2), pieces.sheet("ddpm", 2, 12))
    gallery = sample_gallery(replace(samples.digits(), sheets=sheets))
    assert gallery is not None
    assert gallery.caption == (
        "Up to 8 images of each class, in label order: the first 3 of 10 classes."
    )
    assert [tile.label for tile in gallery.tiles] == ["real", "ddpm"]
    assert [tile.rows for tile in gallery.tiles] == [("0", "1", "2"), ("0", "1")]
    assert sample_gallery(samples.nothing_finished()) is None


def test_of_sets_that_differ_by_seed_one_is_drawn() -> None:
    result = set_samples.several_fits()
    result = replace(result, sheets=(set_sheet("real"), *set_samples.sheets_for(result.sets)))
    gallery = sample_gallery(result)
    assert gallery is not None
    assert [tile.label for tile in gallery.tiles] == [
        *("real", "wgan_gp (seed 0)", "cgan (seed 0)", "biggan (seed 0)", "vae (seed 0)"),
    ]
    assert gallery.caption.endswith("Of sets that differ by their seed alone, one is drawn.")
    found = sheets_of(result)
    assert len(found) == 12
    fewer = replace(result, sheets=result.sheets[:-1])
    assert len(sheets_of(fewer)) == 11


def test_a_step_that_failed_behind_a_set_is_told() -> None:
    result = set_samples.generators()
    first = replace(result.sets[0], errors=("audit vanilla_gan: ValueError: no such column",))
    told = replace(result, sets=(first, *result.sets[1:]))
    assert "ValueError: no such column" in html(told)
    assert "ValueError: no such column" not in html(result)


def test_no_more_tiles_than_a_page_can_hold() -> None:
    sets = [made_set(f"g{i}") for i in range(MOST_TILES + 3)]
    result = study_of(sets)
    (nearest, *_) = galleries(result)
    assert len(nearest.tiles) == MOST_TILES
    assert f"No more than {MOST_TILES} tiles" in nearest.caption


def test_neighbours_stand_below_each_other_in_label_order() -> None:
    result = set_samples.three_sets()
    (nearest, interpolation) = galleries(result)
    assert nearest.title == "Nearest real images"
    assert nearest.tiles[0].rows == ("synthetic", "real", "synthetic", "real")
    assert interpolation.title == "Latent interpolation"
    assert interpolation.tiles[0].rows == ()


def test_each_worst_case_says_what_it_is() -> None:
    (found,) = case_galleries(set_samples.generators())
    assert found.title == "dvae"
    assert [tile.label for tile in found.tiles][:3] == [
        *("test: exact copy", "test: exact copy", "test: near copy, distance 3.00"),
    ]
    assert found.tiles[-1].label == "train: in feature space, distance 0.0213"


def test_a_map_has_a_dot_for_each_image_and_a_name_for_each_class() -> None:
    found = set_samples.feature_map(0)
    drawing = map_svg(found, "tsne", samples.CLASSES)
    assert drawing.count("h0") == 360
    assert re.findall(r">(\d)</text>", drawing) == list(samples.CLASSES)
    for colour in ("var(--muted)", "var(--s0)", "var(--s1)"):
        assert f'stroke="{colour}"' in drawing
    places = [float(x) for x in re.findall(r"[M ](-?\d+\.\d)", drawing)]
    assert min(places) >= 0
    assert max(places) <= 300
    assert "<text" not in map_svg(found, "pca", [str(i) for i in range(100)])


def test_a_map_of_many_images_is_thinned_and_one_of_none_is_nothing() -> None:
    many = set_samples.feature_map(0, num_points=MOST_POINTS + 50)
    assert map_svg(many, "tsne", ()).count("h0") == 3 * MOST_POINTS
    assert map_svg(replace(many, pca=()), "pca", ()) == ""
    alone = FeatureMap(pca=((1.0, 1.0),), tsne=((1.0, 1.0),), group=(1,), label=(0,))
    assert map_svg(alone, "pca", ()).count("h0") == 1


def test_losses_have_a_panel_each_and_fits_that_failed_a_cross() -> None:
    vanilla, failed, *_ = loss_figures(set_samples.generators())
    assert vanilla.label == "vanilla_gan"
    for name in ("discriminator (log)", "generator (log)", "fake", "penalty"):
        assert f">{name}<" in vanilla.svg
    assert "fake (log)" not in vanilla.svg  # it is negative
    assert (vanilla.note, failed.note) == ("", "failed")
    assert "mathdefault" not in vanilla.svg
    several = loss_figures(set_samples.several_fits())
    assert [each.note for each in several][:2] == ["3 fits", "3 fits, 1 failed"]
    assert loss_figures(samples.digits()) == ()


def test_curves_are_thinned_by_parts() -> None:
    points = [(float(step), float(step)) for step in range(1, 1001)]
    found = thinned(points, 10)
    assert found[0] == (100.0, 50.5)
    assert found[-1] == (1000.0, 950.5)
    assert thinned(points[:10], 10) == points[:10]


def test_sets_are_points_against_their_gain_once_there_are_three() -> None:
    found = gain_figure(set_samples.three_sets())
    assert found is not None
    assert found.names == ("vanilla_gan", "lsgan", "wgan_gp")
    assert "fid ↓, rho" in found.svg
    assert gain_figure(set_samples.folder_set()) is None


def test_pictures_of_a_set_are_files_with_plain_names() -> None:
    result = set_samples.generators()
    sheets = sheets_of(result)
    each = result.sets[6]
    found = set_files(each, sheets.get(each.key), result.classes)
    assert set(found) == {
        *("samples.png", "nearest_real.png", "interpolation.png", "reconstruction.png"),
        *("audit.png", "map_tsne.svg", "map_pca.svg"),
    }
    assert size_of(found["samples.png"]) == (8 * 9 - 1, 10 * 9 - 1)
    assert found["map_tsne.svg"].startswith(b'<svg xmlns="http://www.w3.org/2000/svg"')
    assert b"var(" not in found["map_tsne.svg"]
    assert set_files(result.sets[1], None, result.classes) == {}
    nasty = set_samples.hostile_sets().sets[0]
    assert all(re.fullmatch(r"\w+\.(png|svg)", name) for name in set_files(nasty, None, ()))


@pytest.mark.parametrize(("name", "files"), [("generators", 2), ("digits", 0)])
def test_a_study_with_sets_has_their_tables_as_files(name: str, files: int) -> None:
    assert len(study_files(set_samples.ALL[name]())) == files
