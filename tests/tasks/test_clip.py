"""CLIP checkpoints: what is loaded is what transformers runs, counted by content."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tasks.clip import check_prompt, class_embeddings, identify, load, prompts
from tasks.errors import InputError
from tests.tasks.tiny_clip import SIDE, SIZE, write_clip

untyped: Any = transformers
CLASSES = ("cat", "dog", "sea_lion")


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    untyped.utils.logging.set_verbosity_error()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny")


def pixels(*shape: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=rng)


def unchanged(path: Path, what: str, compute: Any) -> Any:
    return compute(path)


def test_both_sides_give_what_transformers_gives(folder: Path) -> None:
    clip, images = load(str(folder), "main", None, "cpu"), pixels(2, 3, 20, 25)
    texts = prompts("a photo of a {}", CLASSES)
    assert texts[2] == "a photo of a sea lion"
    model = untyped.CLIPModel.from_pretrained(folder).eval()
    tokens = untyped.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    processor = untyped.CLIPImageProcessor.from_pretrained(folder)
    seen = processor(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model(pixel_values=clip.preprocessed(images), **tokens)
        found, classes = clip.images(images), clip.texts(texts)
    assert torch.allclose(classes, expected.text_embeds, atol=1e-6)
    assert torch.allclose(found, expected.image_embeds, atol=1e-6)
    assert torch.allclose(
        clip.scale * found @ classes.T, expected.logits_per_image.detach(), atol=1e-4
    )
    assert torch.allclose(clip.preprocessed(images), seen, atol=1e-5)
    blurred = pixels(2, 3, 5, 5).float().div(255)
    blurred = torch.nn.functional.interpolate(blurred, (20, 25), mode="bilinear")
    whole = clip.preprocessed((blurred * 255).round().byte())
    assert (whole - clip.preprocessed(blurred)).abs().max() < 1.5 / 255 / 0.26
    assert (clip.size, clip.side) == (SIZE, SIDE)


def test_gradients_reach_grey_images_of_any_size(folder: Path) -> None:
    clip = load(str(folder), "main", None, "cpu")
    images = (pixels(2, 1, 8, 12) / 255).requires_grad_()
    similarity = (clip.images(images) @ clip.texts(["a cat"]).T).sum()
    (gradient,) = torch.autograd.grad(similarity, images)
    assert gradient.shape == images.shape
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()


def test_texts_are_told_apart_and_those_that_are_not_are_refused(folder: Path) -> None:
    clip = load(str(folder), "main", None, "cpu")
    found = class_embeddings(clip.texts, prompts("a photo of a {}", CLASSES))
    assert torch.allclose(found.norm(dim=1), torch.ones(3))
    assert ((found @ found.T).fill_diagonal_(0) < 0.999).all()
    same = prompts("a photo of a {}", ("sea_lion", "cat", "sea lion"))
    with pytest.raises(InputError, match="cannot tell 'a photo of a sea lion' from"):
        class_embeddings(clip.texts, same)
    with pytest.raises(InputError, match="shorten the prompt"):
        class_embeddings(clip.texts, prompts("very " * 40 + "{}", CLASSES))

    def constant(texts: Sequence[str]) -> torch.Tensor:
        return torch.zeros(len(texts), 4)

    with pytest.raises(InputError, match="cannot tell 'a' from 'b'"):
        class_embeddings(constant, ["a", "b"])


def test_a_tokenizer_that_ends_texts_otherwise_is_found_out(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path / "copy")
    said = json.loads((copy / "config.json").read_text())
    # CLIP takes the vector at the first end of text; where there is none, that of the start.
    said["text_config"]["eos_token_id"] = 5000
    (copy / "config.json").write_text(json.dumps(said))
    clip = load(str(copy), "main", None, "cpu")
    with pytest.raises(InputError, match="own tokenizer files"):
        class_embeddings(clip.texts, prompts("{}", CLASSES))


@pytest.mark.parametrize("template", ["a photo", "{} or {}", ""])
def test_prompts_name_the_class_once(template: str) -> None:
    check_prompt("a photo of a {}")
    with pytest.raises(ValueError, match="say once where"):
        check_prompt(template)


def copied(source: Path, out: Path) -> Path:
    out.mkdir()
    for path in source.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def test_a_folder_counts_by_content_its_tokenizer_too(folder: Path, tmp_path: Path) -> None:
    copy = copied(folder, tmp_path / "copy")
    named, where = identify(str(folder), unchanged)
    same, elsewhere = identify(str(copy), unchanged)
    assert named == same
    assert (where, elsewhere) == (str(folder), str(copy))
    assert identify(named, unchanged) == (named, None)
    assert load(named, "main", where, "cpu").resolved == named[:19]
    with pytest.raises(InputError, match="say where it lies"):
        load(named, "main", None, "cpu")
    (copy / "merges.txt").write_text("#version: 0.2\na t</w>\n")
    assert identify(str(copy), unchanged)[0] != named
    with pytest.raises(InputError, match="copy is not what it was when it was planned"):
        load(same, "main", elsewhere, "cpu")


def test_paths_that_are_not_there_are_no_names_of_the_hub(tmp_path: Path) -> None:
    for given in (str(tmp_path / "gone"), "./gone", "~/gone", "models/of/mine"):
        with pytest.raises(InputError, match=r"^clip: there is no folder"):
            identify(given, unchanged, "clip")
    name = "openai/clip-vit-base-patch32"
    assert identify(name, unchanged) == (name, None)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("config.json", "has no model that transformers can load"),
        ("model.safetensors", "has no model that transformers can load"),
        ("vocab.json", "has no tokenizer that transformers can load"),
        ("preprocessor_config.json", "has no image processor that transformers can load"),
    ],
)
def test_what_a_checkpoint_lacks_is_said_in_one_line(
    gone: str, message: str, folder: Path, tmp_path: Path
) -> None:
    copy = copied(folder, tmp_path / "copy")
    (copy / gone).unlink()
    with pytest.raises(InputError, match=message) as error:
        load(str(copy), "main", None, "cpu")
    assert "\n" not in str(error.value)


def test_weights_that_are_missing_and_other_models_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    copy = copied(folder, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    del tensors["logit_scale"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"do(es)? not fit clip \(logit_scale is missing"):
        load(str(copy), "main", None, "cpu")
    (copy / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(InputError, match="is a vit, not a clip"):
        load(str(copy), "main", None, "cpu")


def test_a_hub_that_cannot_be_reached_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    # A port where nobody listens, and an empty cache.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(InputError, match="openai/clip-vit-base-patch32 cannot be had") as error:
        load("openai/clip-vit-base-patch32", "main", None, "cpu")
    assert time.monotonic() - started < 20
    assert "\n" not in str(error.value)
