"""Every editor of diffusers, through its real pipeline with tiny random weights on disk."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from tasks import plugins
from tasks.editing import Edit, Edited, Editor, Given, Mask
from tasks.editors import _painting
from tasks.editors._loading import quiet
from tasks.errors import InputError
from tasks.packs import Pixels
from tests.tasks import tiny_pipelines

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = tuple(tiny_pipelines.WRITERS)
LOCAL = sorted({case.partition(" of ")[0] for case in CASES})
QUICK: dict[str, Any] = {"steps": 2, "prior_steps": 2, "size": 64, "max_tokens": 8}
SHAPES = ((33, 47, 3), (28, 28, 1), (40, 16, 1))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny pipeline of each case."""
    folder = tmp_path_factory.mktemp("pipelines")
    return {case: tiny_pipelines.write(case, folder / case) for case in CASES}


def settings(name: str, **said: Any) -> Any:
    """Of an editor, quick where nothing else is said."""
    kind = plugins.module("editors", name).Config
    quick = {key: value for key, value in QUICK.items() if key in kind.__dataclass_fields__}
    if name == "img2img":
        quick["steps"] = 4
    return kind(**{**quick, **said})


def opened(name: str, checkpoint: Path, **said: Any) -> Editor:
    config = settings(name, checkpoint=str(checkpoint), **said)
    return cast(Editor, plugins.module("editors", name).build(config, Given()))


def image(shape: tuple[int, int, int], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def box(shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape[:2], np.bool_)
    mask[shape[0] // 4 : shape[0] // 2, shape[1] // 3 : -2] = True
    return mask


def edit_of(seed: int, shape: tuple[int, int, int] = SHAPES[0], **said: Any) -> Edit:
    given: dict[str, Any] = {"image": image(shape), "prompt": "a cat", "mask": box(shape), **said}
    return Edit(id=f"edit {seed}", seed=seed, **given)


def pixels(made: Sequence[Edited]) -> list[Pixels]:
    """By id, whatever came first."""
    images = [each.image for each in sorted(made, key=lambda each: each.id)]
    assert all(each is not None for each in images), made
    return [each for each in images if each is not None]


def furthest(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("case", CASES)
def test_the_contract(case: str, checkpoints: dict[str, Path]) -> None:
    """Sizes, channels, seeds, batches and masks, of images that differ in all of them."""
    name = case.partition(" of ")[0]
    # Its pipeline takes masks one by one.
    batch_size = 1 if name == "kandinsky_inpaint" else 4
    editor = opened(name, checkpoints[case], batch_size=batch_size)
    another: dict[str, Any] = {"image": image(SHAPES[0], seed=7)}
    another["mask"] = box(SHAPES[0])[::-1].copy()
    edits = [
        edit_of(0),
        edit_of(1, prompt="a dog on the green lawn of a house", **another),
        edit_of(2, prompt=""),
        *(edit_of(3 + number, shape) for number, shape in enumerate(SHAPES[1:])),
    ]
    together = pixels(list(editor.edit(edits)))
    for edit, made in zip(edits, together, strict=True):
        assert made.shape == edit.image.shape
        assert made.dtype == np.uint8
        assert edit.mask is not None
        assert (made[~edit.mask] == edit.image[~edit.mask]).all()
        assert (made[edit.mask] != edit.image[edit.mask]).mean() > 0.5
    alone = [pixels(list(editor.edit([edit])))[0] for edit in edits[:2]]
    assert max(map(furthest, alone, together[:2])) <= 1
    again = pixels(list(editor.edit(edits[:1])))[0]
    assert (again == alone[0]).all()
    mask = edits[0].mask
    assert mask is not None
    around = np.where(mask[..., None], edits[0].image, image(SHAPES[0], seed=1))
    for said in ({"seed": 9}, {"prompt": "zebra"}, {"image": around}):
        (other,) = pixels(list(editor.edit([replace(edits[0], **said)])))
        assert (other[mask] != alone[0][mask]).any(), said


@pytest.mark.parametrize("case", CASES)
def test_stamps_name_checkpoints_by_content(case: str, checkpoints: dict[str, Path]) -> None:
    import diffusers

    untyped: Any = diffusers
    name = case.partition(" of ")[0]
    module = plugins.module("editors", name)
    config = settings(name, checkpoint=str(checkpoints[case]))
    named = module.identify(config, lambda path, what, compute: compute(path))
    assert named.checkpoint.startswith("sha256:")
    assert named.folder == str(checkpoints[case])
    assert module.identify(named, lambda path, what, compute: "") == named
    stamp = module.build(named, Given()).stamp
    assert stamp == module.build(config, Given()).stamp
    assert stamp["weights"] == named.checkpoint
    assert stamp["dtype"] == "float32"
    assert stamp["diffusers"] == untyped.__version__


@pytest.mark.parametrize("case", CASES)
def test_half_the_bits_give_nearly_the_same(case: str, checkpoints: dict[str, Path]) -> None:
    """As GPUs compute, whatever part of a pipeline then needs float32."""
    name = case.partition(" of ")[0]
    whole, half = (opened(name, checkpoints[case], dtype=d) for d in ("float32", "bfloat16"))
    assert half.stamp["dtype"] == "bfloat16"
    one, other = (pixels(list(each.edit([edit_of(0)])))[0] for each in (whole, half))
    assert np.abs(one.astype(int) - other).mean() < 10


@pytest.mark.parametrize("name", LOCAL)
def test_unknown_settings_are_refused(name: str) -> None:
    adapter: TypeAdapter[Any] = plugins.adapter("editors", name)
    assert adapter.validate_json("{}").checkpoint
    for wrong in ({"stepz": 3}, {"steps": 3.0}, {"size": 0}, {"dtype": "int8"}, {"folder": "a"}):
        with pytest.raises(ValidationError):
            adapter.validate_json(json.dumps(wrong))
    with pytest.raises(ValidationError, match=r"strict|Input should be 1"):
        adapter.validate_json(json.dumps({"strict": True, "batch_size": 2}))


def test_too_little_strength_for_a_step_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"strength=0\.1 of steps=4 is no step"):
        settings("img2img", steps=4, strength=0.1)
    settings("img2img", steps=4, strength=0.25)


@pytest.mark.parametrize("name", ["sdxl_inpaint", "kandinsky_inpaint", "flux_fill"])
def test_who_repaints_needs_a_mask(name: str, checkpoints: dict[str, Path]) -> None:
    module = plugins.module("editors", name)
    assert module.ABOUT.mask == "needed"
    editor = opened(name, checkpoints[name])
    with pytest.raises(InputError, match="under a mask"):
        list(editor.edit([edit_of(0, mask=None)]))


@pytest.mark.parametrize("name", ["instruct_pix2pix", "img2img", "flux_kontext"])
def test_who_needs_no_mask_edits_the_whole_image(name: str, checkpoints: dict[str, Path]) -> None:
    assert plugins.module("editors", name).ABOUT.mask == "optional"
    whole = edit_of(0, mask=None)
    made = pixels(list(opened(name, checkpoints[name]).edit([whole])))[0]
    assert (made != whole.image).mean() > 0.5


@pytest.mark.parametrize("name", ["sdxl_inpaint", "flux_fill"])
def test_the_model_never_sees_what_the_mask_hides(name: str, checkpoints: dict[str, Path]) -> None:
    """Were the mask the other way round, it would be all that it saw."""
    shape = (64, 64, 3)
    mask = np.zeros(shape[:2], np.bool_)
    mask[16:48, 16:48] = True
    source = image(shape)
    inside, outside = source.copy(), source.copy()
    inside[mask] = image(shape, seed=1)[mask]
    outside[~mask] = image(shape, seed=1)[~mask]
    editor = opened(name, checkpoints[name], strength=1.0)
    made = pixels(
        list(
            editor.edit(
                [
                    replace(edit_of(0, image=each, mask=mask), id=str(number))
                    for number, each in enumerate((source, inside, outside))
                ]
            )
        )
    )
    assert (made[0][mask] == made[1][mask]).all()
    assert (made[0][mask] != made[2][mask]).any()


def test_kandinsky_keeps_what_is_black(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its latents outside of the mask are the source's, and those inside are not."""
    shape = (64, 64, 3)
    mask = np.zeros(shape[:2], np.bool_)
    mask[:, 32:] = True
    editor = opened("kandinsky_inpaint", checkpoints["kandinsky_inpaint"])
    # What the pipeline gives, before the source is put back around it.
    monkeypatch.setattr(_painting, "keep_outside", lambda source, edited, mask: edited)
    edits = [
        replace(edit_of(seed, image=image(shape), mask=mask), id=str(seed)) for seed in range(2)
    ]
    one, other = pixels(list(editor.edit(edits)))
    moved = np.abs(one.astype(int) - other).mean((0, 2))
    assert moved[:16].mean() < 0.5 * moved[48:].mean()


def test_kandinsky_takes_decoder_and_prior_apart(tmp_path: Path) -> None:
    with tiny_pipelines.seeded(0), quiet():
        decoder, prior, both = tiny_pipelines.kandinsky(tmp_path)
    apart = opened("kandinsky_inpaint", decoder, prior=str(prior))
    whole = opened("kandinsky_inpaint", both)
    edits = [edit_of(0), edit_of(1, prompt="a dog")]
    for one, other in zip(*(pixels(list(e.edit(edits))) for e in (apart, whole)), strict=True):
        assert (one == other).all()
    assert ", prior sha256:" in apart.stamp["weights"]
    with pytest.raises(InputError, match=r"KandinskyV22InpaintPipeline.*kandinsky_inpaint takes"):
        opened("kandinsky_inpaint", decoder, prior=str(decoder))
    negative = opened("kandinsky_inpaint", both, negative_prompt="blurred", guidance_scale=1.0)
    assert (pixels(list(negative.edit(edits)))[0] != one).any()


GUIDED: dict[str, tuple[dict[str, Any], ...]] = {
    "instruct_pix2pix": ({"guidance_scale": 30.0}, {"image_guidance_scale": 9.0}),
    "img2img": ({"guidance_scale": 30.0}, {"negative_prompt": "zebra"}),
    "sdxl_inpaint": ({"guidance_scale": 30.0}, {"negative_prompt": "zebra"}),
    "kandinsky_inpaint": ({"guidance_scale": 30.0}, {"prior_guidance_scale": 30.0}),
    "flux_fill": ({"guidance_scale": 1.0},),
    "flux_kontext": ({"guidance_scale": 30.0},),
}


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_counts(name: str, checkpoints: dict[str, Path]) -> None:
    first = pixels(list(opened(name, checkpoints[name]).edit([edit_of(0)])))[0]
    for said in GUIDED[name]:
        other = opened(name, checkpoints[name], **said)
        assert (pixels(list(other.edit([edit_of(0)])))[0] != first).any(), said


def test_guidance_away_from_a_prompt(checkpoints: dict[str, Path]) -> None:
    for name in ("flux_kontext", "qwen_image_edit"):
        plain = opened(name, checkpoints[name], true_cfg_scale=1.0)
        away = opened(name, checkpoints[name], true_cfg_scale=9.0, negative_prompt="cat")
        one, other = (pixels(list(each.edit([edit_of(0)])))[0] for each in (plain, away))
        assert (one != other).any()


def test_strength_moves_images_further(checkpoints: dict[str, Path]) -> None:
    source = edit_of(0, mask=None)
    said = {"steps": 10, "guidance_scale": 1.0}
    weak, strong = (
        opened("img2img", checkpoints["img2img"], strength=strength, **said)
        for strength in (0.1, 1.0)
    )
    one, other = (pixels(list(each.edit([source])))[0] for each in (weak, strong))
    assert (one != other).mean() > 0.5


def test_padding_keeps_pixels_to_the_size(checkpoints: dict[str, Path]) -> None:
    resized, padded = (
        opened("img2img", checkpoints["img2img"], fit=fit) for fit in ("resize", "pad")
    )
    edit = edit_of(0, mask=None)
    one, other = (pixels(list(each.edit([edit])))[0] for each in (resized, padded))
    assert one.shape == other.shape == edit.image.shape
    assert (one != other).any()


def test_strict_is_one_image_at_a_time(checkpoints: dict[str, Path]) -> None:
    strict = opened("img2img", checkpoints["img2img"], strict=True)
    assert strict.batch_size == 1
    # More at once are slower on a CPU.
    assert opened("img2img", checkpoints["img2img"]).batch_size == 1
    assert opened("img2img", checkpoints["img2img"], batch_size=3).batch_size == 3
    edits = [edit_of(seed) for seed in range(3)]
    apart = [pixels(list(strict.edit([edit])))[0] for edit in edits]
    for one, other in zip(apart, pixels(list(strict.edit(edits))), strict=True):
        assert (one == other).all()


def test_memory_that_does_not_do_is_tried_with_less(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = opened("img2img", checkpoints["img2img"], batch_size=4)
    edits = [edit_of(seed) for seed in range(4)]
    expected = pixels(list(editor.edit(edits)))
    asked: list[int] = []
    whole = cast(_painting.Painter, editor)
    ask = whole._ask

    def starved(batch: _painting.Asked) -> Any:
        asked.append(len(batch.prompts))
        if len(batch.prompts) > 1:
            # Noise drawn before memory is out must not count.
            torch.rand(3, generator=batch.rngs[0])
            raise torch.OutOfMemoryError("CUDA out of memory")
        return ask(batch)

    monkeypatch.setattr(whole, "_ask", starved)
    for one, other in zip(pixels(list(editor.edit(edits))), expected, strict=True):
        assert furthest(one, other) <= 1
    assert asked == [4, 2, 1, 1, 1, 1]
    assert editor.batch_size == 1


@pytest.mark.parametrize("flags", [False, True])
def test_a_flagged_image_is_a_refusal_and_no_black_image(flags: bool, tmp_path: Path) -> None:
    kind = "StableDiffusionPipeline"
    with tiny_pipelines.seeded(0), quiet():
        folder = tiny_pipelines.stable_diffusion(tmp_path, kind, flags=flags)
    for made in opened("img2img", folder).edit([edit_of(seed) for seed in range(3)]):
        assert (made.image is None) == flags
        assert made.refusal == (_painting.FLAGGED if flags else "")


def test_numbers_that_are_not_finite_are_left_and_no_image(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = cast(_painting.Painter, opened("img2img", checkpoints["img2img"], batch_size=2))
    ask = editor._ask

    def broken(batch: _painting.Asked) -> Any:
        output = ask(batch)
        output.images[0, 0, 0, 0] = np.nan
        return output

    monkeypatch.setattr(editor, "_ask", broken)
    first, second = editor.edit([edit_of(0), edit_of(1)])
    assert (first.image, first.left) == (None, _painting.NOT_FINITE)
    assert second.image is not None
    assert not first.refusal


def test_an_image_too_narrow_is_refused_and_the_others_are_edited(
    checkpoints: dict[str, Path],
) -> None:
    edits = [edit_of(0), edit_of(1, (4, 300, 3), mask=None), edit_of(2)]
    made = {each.id: each for each in opened("img2img", checkpoints["img2img"]).edit(edits)}
    assert "too narrow" in made["edit 1"].refusal
    assert all(made[edits[number].id].image is not None for number in (0, 2))


def test_a_size_below_what_the_model_takes_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="size=32: this checkpoint works on multiples of 64"):
        opened("qwen_image_edit", checkpoints["qwen_image_edit"], size=32)
