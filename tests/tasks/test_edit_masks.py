"""Masks from files, boxes, strokes and saliency: what is repainted, and what is refused."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from pydantic import TypeAdapter, ValidationError
from scipy.ndimage import label
from sklearn.datasets import load_digits, load_sample_image

from tasks.editing import Mask
from tasks.edits import strokes
from tasks.edits.boxes import Boxes
from tasks.edits.mask_files import File, Folder, PerClass, nearest_scaled
from tasks.edits.masks import KINDS, NAMES, Config, Full, Masks, named, open_masks
from tasks.edits.polarity import black_and_white, grown
from tasks.edits.salient import Saliency
from tasks.edits.strokes import Strokes
from tasks.errors import InputError
from tasks.packs import Pixels

PHOTO: Pixels = np.asarray(load_sample_image("flower.jpg"))[:120, 200:360]
"""120 × 160, of a flower."""
DIGIT: Pixels = (load_digits().images[0] * 15).astype(np.uint8)[..., None]
"""8 × 8."""


UNION = get_args(Config)[0]


def saved(path: Path, levels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(levels, np.uint8)).save(path)
    return path


def half(height: int = 120, width: int = 160) -> Pixels:
    """White on the left."""
    levels = np.zeros((height, width), np.uint8)
    levels[:, : width // 2] = 255
    return levels


def mask_of(masks: Masks, source: str = "a.jpg", class_name: str = "cat", seed: int = 0) -> Mask:
    return masks.mask(source, class_name, PHOTO, seed)


def test_a_class_that_came_later_has_no_mask(tmp_path: Path) -> None:
    saved(tmp_path / "m.png", half())
    (tmp_path / "c.json").write_text('{"cat": "m.png"}')
    masks = open_masks(PerClass(path=str(tmp_path / "c.json")), ("cat",))
    with pytest.raises(InputError, match=r"no mask for class 'dog', of which 'a.jpg' is one"):
        mask_of(masks, class_name="dog")


def test_a_folder_is_matched_by_name(tmp_path: Path) -> None:
    saved(tmp_path / "cat/1.png", half())
    saved(tmp_path / "cat/2.bmp", 255 - half())
    saved(tmp_path / "dog/1.png", half())
    masks = open_masks(Folder(path=str(tmp_path)))
    assert (mask_of(masks, "cat/1.jpg") == (half() == 255)).all()
    assert (mask_of(masks, "cat/2.bmp") == (half() == 0)).all()
    with pytest.raises(InputError, match=r"holds none for 'cat/3.jpg'; cat/3.png would do"):
        mask_of(masks, "cat/3.jpg")
    saved(tmp_path / "cat/2.png", half())
    masks = open_masks(Folder(path=str(tmp_path)))
    assert (mask_of(masks, "cat/2.png") == (half() == 255)).all()
    with pytest.raises(InputError, match=r"'cat/2.bmp' and 'cat/2.png' for 'cat/2.jpg': keep one"):
        mask_of(masks, "cat/2.jpg")


def test_black_can_be_meant(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "m.png", half()))
    white, black = open_masks(File(path=path)), open_masks(File(path=path, invert=True))
    assert (mask_of(white) == ~mask_of(black)).all()
    assert white.digest != black.digest


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA", "LA", "I;16"])
def test_all_ways_to_store_a_mask(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(half())
    if mode == "I;16":
        image = Image.fromarray(half().astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        # As services have it: the transparent part is repainted.
        image = Image.fromarray(np.zeros_like(half())).convert(mode)
        image.putalpha(Image.fromarray(255 - half()))
    else:
        image = image.convert(mode)
    image.save(tmp_path / "m.png")
    assert (mask_of(open_masks(File(path=str(tmp_path / "m.png")))) == (half() == 255)).all()


def test_jpeg_and_smooth_edges_are_taken(tmp_path: Path) -> None:
    large = Image.new("L", (640, 480), 0)
    ImageDraw.Draw(large).ellipse((200, 100, 500, 400), fill=255)
    disc = large.resize((160, 120), Image.Resampling.LANCZOS)
    disc.save(tmp_path / "m.jpg", quality=60)
    found = mask_of(open_masks(File(path=str(tmp_path / "m.jpg"))))
    assert abs(found.mean() - np.pi * 150**2 / (640 * 480)) < 0.005
    small = large.resize((32, 24), Image.Resampling.BOX)
    assert black_and_white(np.asarray(small), "m").any()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (
            half(100, 160),
            r"has 160 × 100 pixels, and 'a.jpg' has 160 × 120: give it the image's size",
        ),
        (half() * 0, r"repaints nothing of 'a.jpg': white is repainted; where black is meant, say"),
        (half() // 255, r"its brightest level is 1: save it with 255 where"),
        (np.indices((120, 160))[1], r"\d+% of it is grey: save it in black \(kept\) and white"),
        (half() // 2 + 40, r"100% of it is grey"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path: Path, levels: Pixels, message: str) -> None:
    path = saved(tmp_path / "m.png", levels)
    with pytest.raises(InputError, match=message) as error:
        mask_of(open_masks(File(path=str(path))))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_white_masks_that_are_inverted_repaint_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", np.full((120, 160), 255))
    assert mask_of(open_masks(File(path=str(path)))).all()
    with pytest.raises(InputError, match="white all over, and invert: true repaints black"):
        mask_of(open_masks(File(path=str(path), invert=True)))


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"not an image")
    with pytest.raises(
        InputError, match=r"m.png': is no image that can be read: mend or replace it"
    ):
        mask_of(open_masks(File(path=str(tmp_path / "m.png"))))
    with pytest.raises(InputError, match="there is no file"):
        open_masks(File(path=str(tmp_path / "none.png")))
    with pytest.raises(InputError, match="there is no folder"):
        open_masks(Folder(path=str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        open_masks(Folder(path=str(tmp_path / "empty")))


@pytest.mark.parametrize(("height", "width"), [(60, 80), (240, 320), (50, 111)])
def test_masks_of_another_size_can_be_scaled(tmp_path: Path, height: int, width: int) -> None:
    path = str(saved(tmp_path / "m.png", half(height, width)))
    found = mask_of(open_masks(File(path=path, scale=True)))
    assert found.shape == (120, 160)
    assert abs(found.mean() - 0.5) < 0.01
    assert found[:, :78].all()


def test_one_mask_for_each_class(tmp_path: Path) -> None:
    saved(tmp_path / "masks/left.png", half())
    right = saved(tmp_path / "right.png", 255 - half())
    listed = tmp_path / "masks/classes.yaml"
    listed.write_text(f"cat: left.png\ndog: {right}\n")
    masks = open_masks(PerClass(path=str(listed)), ("cat", "dog"))
    assert (mask_of(masks, class_name="cat") == ~mask_of(masks, class_name="dog")).all()
    assert masks.digest_of("a", "cat", 0) != masks.digest_of("a", "dog", 0)
    for text, message in (
        ("cat: left.png", "no mask for class 'dog': name its file"),
        ("cat: left.png\ndgo: x", "line 2: a mask for unknown class 'dgo'; did you mean 'dog'"),
        ("cat: left.png\ndog: x.png", "line 2: there is no file '.*x.png'"),
        ("cat: left.png\ndog: 5", "line 2: 5 is no file"),
        ("- left.png", "is a list, not a mapping of class to file"),
    ):
        listed.write_text(text)
        with pytest.raises(InputError, match=message):
            open_masks(PerClass(path=str(listed)), ("cat", "dog"))
    with pytest.raises(InputError, match="there is no such file; give a JSON or YAML mapping"):
        open_masks(PerClass(path=str(tmp_path / "none.json")), ("cat",))


ROWS = [("cat/a.jpg", 10, 20, 30, 40), ("cat/a.jpg", 100, 0, 200, 10), ("b.jpg", 0.4, 0.6, 5, 5)]


def csv_of(folder: Path, rows: Any = ROWS) -> Path:
    path = folder / "boxes.csv"
    lines = [",".join(map(str, row)) for row in (("file", "x", "y", "width", "height"), *rows)]
    path.write_text("\n".join(lines))
    return path


def json_of(folder: Path) -> Path:
    path = folder / "boxes.json"
    keys = ("file", "x", "y", "width", "height")
    path.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in ROWS]))
    return path


def cub_of(folder: Path) -> Path:
    (folder / "images.txt").write_text("1 001.Albatross/a.jpg\n2 b.jpg\n")
    (folder / "bounding_boxes.txt").write_text("1 10.0 20.0 30.0 40.0\n2 0.0 1.0 5.0 5.0\n")
    return folder


def test_boxes_are_repainted(tmp_path: Path) -> None:
    wanted = np.zeros((120, 160), np.bool_)
    wanted[20:60, 10:40] = True
    wanted[0:10, 100:] = True
    for path in (csv_of(tmp_path), json_of(tmp_path)):
        masks = open_masks(Boxes(path=str(path)))
        assert (mask_of(masks, "cat/a.jpg") == wanted).all()
        assert mask_of(masks, "b.jpg").sum() == 25
    inverted = open_masks(Boxes(path=str(csv_of(tmp_path)), invert=True))
    assert (mask_of(inverted, "cat/a.jpg") == ~wanted).all()
    with pytest.raises(InputError, match=r"has no box for 'a.jpg': add one"):
        mask_of(masks, "a.jpg")


def test_boxes_of_cub(tmp_path: Path) -> None:
    for path in (cub_of(tmp_path), tmp_path / "bounding_boxes.txt"):
        masks = open_masks(Boxes(path=str(path), margin=0.1))
        found = mask_of(masks, "001.Albatross/a.jpg")
        assert np.argwhere(found).min(0).tolist() == [16, 7]
        assert np.argwhere(found).max(0).tolist() == [63, 42]
        assert found.sum() == 48 * 36
    (tmp_path / "bounding_boxes.txt").write_text("1 10.0 20.0 30.0\n")
    with pytest.raises(InputError, match=r"row 1: '10.0 20.0 30.0' is no left, top"):
        open_masks(Boxes(path=str(tmp_path)))
    (tmp_path / "bounding_boxes.txt").write_text("1 10.0 20.0 30.0 4\n")
    with pytest.raises(InputError, match=r"has no row for image 2, row 2 of images.txt"):
        open_masks(Boxes(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.jpg", 1, 2, 3, "x"), "row 2: height 'x' is no number of pixels"),
        (("a.jpg", 1, 2, 3, "nan"), "row 2: height 'nan' is no number of pixels"),
        (("a.jpg", 1, 2, 3), "row 2: height None is no number of pixels"),
        (("a.jpg", 1, 2, 0, 3), "row 2: the width is 0; a number above 0 would do"),
        (
            ("a.jpg", 160, 0, 5, 5),
            "row 2: the box 160, 0, 5 × 5 lies outside 'a.jpg', which has 160",
        ),
        (("a.jpg", -9, 0, 5, 5), "row 2: the box -9, 0, 5 × 5 lies outside 'a.jpg'"),
    ],
)
def test_boxes_that_are_none(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mask_of(open_masks(Boxes(path=str(csv_of(tmp_path, [row])))))


def test_files_that_hold_no_boxes(tmp_path: Path) -> None:
    for name, text, message in (
        ("b.csv", "file,x,y\n", "the header is 'file,x,y'; file,x,y,width,height would do"),
        ("b.csv", "file,x,y,width,height\n", "holds no box; expected a CSV or JSON"),
        ("b.json", '{"a": 1}', "is a mapping, not a list of boxes"),
        ("b.json", '[{"file": "a.jpg"}]', r"at \[0\]: is no box; file, x, y, width, height would"),
        ("b.xml", "<a>", "is none; expected a CSV or JSON file of rows"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=message):
            open_masks(Boxes(path=str(tmp_path / name)))
    with pytest.raises(InputError, match="there is no such file; expected a CSV or JSON"):
        open_masks(Boxes(path=str(tmp_path / "none.csv")))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    seed=st.integers(0, 2**63 - 1),
    coverage=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
)
def test_strokes_cover_what_was_asked(
    height: int, width: int, seed: int, coverage: list[float]
) -> None:
    config = Strokes(min_coverage=coverage[0], max_coverage=coverage[1])
    mask = strokes.draw(config, height, width, seed)
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    assert mask.any()
    # A pixel more or less is what whole pixels can cost.
    assert coverage[0] - 1 / mask.size <= mask.mean() <= coverage[1] + 1 / mask.size
    assert (mask == strokes.draw(config, height, width, seed)).all()


def test_strokes_are_each_seeds_own_and_scale_with_the_image() -> None:
    masks = open_masks(Strokes())
    found = [mask_of(masks, seed=seed) for seed in range(40)]
    assert len({mask.tobytes() for mask in found}) == 40
    shares = [float(mask.mean()) for mask in found]
    assert min(shares) < 0.17
    assert max(shares) > 0.33
    # Each stroke is one piece.
    assert all(label(mask)[1] <= 8 for mask in found)
    # No side is preferred.
    middle = np.mean([np.argwhere(mask).mean(0) for mask in found], axis=0)
    assert np.abs(middle / (120, 160) - 0.5).max() < 0.12
    assert masks.digest_of("a", "", 0) != masks.digest_of("a", "", 1)
    small = [strokes.draw(Strokes(), 32, 32, seed).mean() for seed in range(40)]
    assert 0.2 < np.mean(small) < 0.3
    one = Strokes(min_coverage=0.05, max_coverage=0.05, min_width=0.3, max_width=0.3)
    blob = strokes.draw(one, 100, 100, 0)
    assert blob.sum() == 500
    assert label(blob)[1] == 1


def test_strokes_go_up_as_often_as_down() -> None:
    """All start upwards; half are turned around."""
    thin: dict[str, Any] = {
        "min_coverage": 0.01,
        "max_coverage": 0.3,
        "min_width": 0.01,
        "max_width": 0.01,
    }
    config = Strokes(**thin, min_turns=1, max_turns=1)
    middles = [np.argwhere(strokes.draw(config, 32, 32, seed)).mean(0) for seed in range(300)]
    assert np.abs(np.mean(middles, axis=0) / 31 - 0.5).max() < 0.02


@pytest.mark.parametrize("what", ["coverage", "turns", "width"])
def test_ranges_the_wrong_way_round(what: str) -> None:
    values: dict[str, Any] = {f"min_{what}": 1, f"max_{what}": 0.5}
    if what == "turns":
        values = {"min_turns": 5, "max_turns": 2}
    with pytest.raises(ValidationError, match=f"min_{what} . is above max_{what}"):
        Strokes(**values)


@pytest.mark.parametrize(
    "image",
    [PHOTO, PHOTO[:90, :31], PHOTO[:1], PHOTO[..., :1], DIGIT],
    ids=["photo", "narrow", "row", "grey", "digit"],
)
def test_what_stands_out_is_a_share_of_the_image(image: Pixels) -> None:
    image = np.ascontiguousarray(image)
    front = open_masks(Saliency(share=0.25)).mask("a.jpg", "", image, 0)
    back = open_masks(Saliency(share=0.25, repaint="background")).mask("a.jpg", "", image, 0)
    assert front.sum() == round(0.25 * front.size)
    assert (front == ~back).all()
    assert (front == open_masks(Saliency(share=0.25)).mask("a.jpg", "", image, 9)).all()
    more = open_masks(Saliency(share=0.5)).mask("a.jpg", "", image, 0)
    assert (more | front == more).all()


def test_a_square_stands_out_of_a_plain() -> None:
    image = np.full((90, 140, 3), 90, np.uint8)
    image[30:60, 80:120] = (250, 240, 10)
    found = open_masks(Saliency(share=1200 / (90 * 140))).mask("a.jpg", "", image, 0)
    assert found[30:60, 80:120].mean() > 0.95
    with pytest.raises(InputError, match=r"nothing of 'a.jpg' stands out: it is of one colour"):
        open_masks(Saliency()).mask("a.jpg", "", image[:20], 0)


def test_what_lies_along_the_border_is_no_object() -> None:
    image = np.full((100, 100, 3), 90, np.uint8)
    image[85:] = (220, 30, 30)
    image[40:55, 40:55] = (90, 90, 200)
    found = open_masks(Saliency(share=225 / 10_000)).mask("a.jpg", "", image, 0)
    assert found[40:55, 40:55].mean() > 0.9


def test_scaling_takes_the_pixel_in_the_middle() -> None:
    line = np.array([[False, True, False]])
    assert nearest_scaled(line, 1, 2).tolist() == [[False, False]]
    assert nearest_scaled(line, 2, 6).tolist() == [[False, False, True, True, False, False]] * 2


def test_masks_grow_by_a_disc() -> None:
    mask = np.zeros((21, 21), np.bool_)
    mask[10, 10] = True
    found = grown(mask, 5)
    assert found[10, 5]
    assert found[13, 14]
    assert not found[10, 4]
    assert not found[14, 14]
    assert (grown(mask, 0) == mask).all()
    assert grown(~np.zeros((3, 3), np.bool_), 4).all()


def test_growth_comes_after_inversion(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "m.png", half()))
    assert mask_of(open_masks(File(path=path, grow=7)))[0].sum() == 87
    inverted = mask_of(open_masks(File(path=path, grow=7, invert=True)))
    assert inverted[0].sum() == 87
    assert inverted[0, -1]


def test_digests_are_of_content(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        saved(tmp_path / folder / "a.png", half())
        saved(tmp_path / folder / "b.png", half())
    one, two = (open_masks(Folder(path=str(tmp_path / folder))) for folder in ("one", "two"))
    assert one.digest == two.digest
    before = one.digest_of("a.jpg", "cat", 0)
    assert before == two.digest_of("a.jpg", "dog", 5)
    saved(tmp_path / "two/b.png", 255 - half())
    again = open_masks(Folder(path=str(tmp_path / "two")))
    assert again.digest != one.digest
    assert again.digest_of("a.jpg", "cat", 0) == before
    assert again.digest_of("b.jpg", "cat", 0) != one.digest_of("b.jpg", "cat", 0)
    boxes = open_masks(Boxes(path=str(csv_of(tmp_path))))
    of_json = open_masks(Boxes(path=str(json_of(tmp_path))))
    assert boxes.digest == of_json.digest
    assert boxes.digest_of("b.jpg", "", 0) == of_json.digest_of("b.jpg", "", 0)
    assert boxes.digest_of("b.jpg", "", 0) != boxes.digest_of("cat/a.jpg", "", 0)
    assert len({open_masks(each).digest for each in (Strokes(), Saliency(), Full())}) == 3


def test_files_are_hashed_once(tmp_path: Path) -> None:
    asked: list[Path] = []

    def facts(path: Path, what: str, compute: Any) -> str:
        asked.append(path)
        return str(compute(path))

    path = saved(tmp_path / "m.png", half())
    masks = open_masks(File(path=str(path)), facts=facts)
    assert len({masks.digest_of(f"{number}.jpg", "", 0) for number in range(9)}) == 1
    assert len(masks.digest) == 64
    assert asked == [path]


def test_what_a_user_writes_is_checked() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Config)
    assert adapter.validate_json('{"name": "strokes", "grow": 2}') == Strokes(grow=2)
    assert adapter.validate_json('{"name": "full"}') == Full()
    for wrong in (
        {"name": "circle"},
        {"name": "full", "grow": 1},
        {"name": "folder"},
        {"name": "strokes", "grow": 1.5},
        {"name": "saliency", "share": 1.0},
        {"name": "boxes", "path": "b.csv", "margin": float("nan")},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_json(json.dumps(wrong))
    schema = adapter.json_schema()
    assert sorted(schema["discriminator"]["mapping"]) == sorted(NAMES)
    assert {each.__dataclass_fields__["name"].default: each for each in get_args(UNION)} == KINDS
    assert open_masks(Full()).mask("a.jpg", "", PHOTO, 0).all()


def test_what_a_command_names(tmp_path: Path) -> None:
    picture, listed = str(saved(tmp_path / "m.png", half())), tmp_path / "c.json"
    assert named("strokes") == Strokes()
    assert named("full") == Full()
    assert named(picture) == File(path=picture)
    assert named(str(tmp_path)) == Folder(path=str(tmp_path))
    listed.write_text('{"cat": "m.png"}')
    assert named(str(listed)) == PerClass(path=str(listed))
    boxes = str(json_of(tmp_path))
    assert named(boxes) == Boxes(path=boxes)
    assert named(str(cub_of(tmp_path))) == Boxes(path=str(tmp_path))
    with pytest.raises(
        InputError, match="there is no such file or folder; did you mean 'saliency'"
    ):
        named("salience")
    (tmp_path / "x.pdf").write_text("")
    with pytest.raises(InputError, match="is neither an image nor a list"):
        named(str(tmp_path / "x.pdf"))
