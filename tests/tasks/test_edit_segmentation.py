"""Masks by segmentation models, from tiny checkpoints that the tests write to disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.datasets import load_sample_image

from tasks.edits.masks import Masks, open_masks
from tasks.edits.segmenting import Segmentation
from tasks.errors import InputError
from tasks.packs import Pixels

PHOTO: Pixels = np.ascontiguousarray(load_sample_image("flower.jpg")[100:160, 200:290])
untyped: Any = transformers
"""transformers has functions without annotations."""


def segformer(labels: list[str]) -> Any:
    torch.manual_seed(1)
    config = untyped.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    return untyped.SegformerForSemanticSegmentation(config)


def mask2former() -> Any:
    """Of four queries that are sure of what they see, so that there are several segments."""
    torch.manual_seed(5)
    backbone = untyped.SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = untyped.Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=4,
        id2label={0: "cat", 1: "grey_dog"},
        label2id={"cat": 0, "grey_dog": 1},
    )
    model = untyped.Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        model.class_predictor.weight.mul_(40)
        model.class_predictor.bias.copy_(torch.tensor([0.0, 0.0, -9.0]))
    return model


@pytest.fixture(scope="module", autouse=True)
def _one_quiet_thread() -> Iterator[None]:
    before, threads = untyped.utils.logging.get_verbosity(), torch.get_num_threads()
    untyped.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    untyped.utils.logging.set_verbosity(before)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    size = {"height": 64, "width": 64}
    for name, model, processor in (
        ("segformer", segformer(["background", "cat", "dog"]), untyped.SegformerImageProcessor),
        ("indoors", segformer(["wall", "floor"]), untyped.SegformerImageProcessor),
        ("mask2former", mask2former(), untyped.Mask2FormerImageProcessor),
    ):
        model.save_pretrained(folder / name)
        processor(size=size).save_pretrained(folder / name)
    return folder


def opened(path: Path, **changes: Any) -> Masks:
    return open_masks(Segmentation(checkpoint=str(path), **changes))


def classes_of(path: Path) -> Any:
    """The label of each pixel, by transformers' own way from an image to a map."""
    processor = untyped.AutoImageProcessor.from_pretrained(path)
    model = untyped.SegformerForSemanticSegmentation.from_pretrained(path)
    with torch.inference_mode():
        outputs = model(**processor(images=PHOTO, return_tensors="pt"))
    size = PHOTO.shape[:2]
    return processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0].numpy()


def test_a_semantic_model_marks_what_is_named(checkpoints: Path) -> None:
    path = checkpoints / "segformer"
    labels = classes_of(path)
    assert set(np.unique(labels)) == {0, 1, 2}
    for wanted, numbers in (
        (("cat",), [1]),
        (("dog", "Cat"), [1, 2]),
        (("foreground",), [1, 2]),
        (("background",), [0]),
        (("{class}",), [2]),
    ):
        found = opened(path, labels=wanted).mask("a.jpg", "dog", PHOTO, 0)
        assert (found == np.isin(labels, numbers)).all()
    inverted = opened(path, labels=("cat",), invert=True).mask("a.jpg", "", PHOTO, 0)
    assert (inverted == (labels != 1)).all()


def test_grey_images_are_seen_too(checkpoints: Path) -> None:
    grey = PHOTO[..., :1]
    found = opened(checkpoints / "segformer").mask("a.jpg", "", grey, 0)
    three = opened(checkpoints / "segformer").mask("a.jpg", "", np.repeat(grey, 3, axis=2), 0)
    assert found.shape == grey.shape[:2]
    assert (found == three).all()


def segments_of(path: Path) -> tuple[Any, list[dict[str, Any]]]:
    """The segment of each pixel, and what the segments are, by transformers' own way."""
    processor = untyped.AutoImageProcessor.from_pretrained(path)
    model = untyped.Mask2FormerForUniversalSegmentation.from_pretrained(path)
    with torch.inference_mode():
        outputs = model(**processor(images=PHOTO, return_tensors="pt"))
    found = processor.post_process_panoptic_segmentation(
        outputs, threshold=0.5, label_ids_to_fuse=set(), target_sizes=[PHOTO.shape[:2]]
    )[0]
    return found["segmentation"].numpy(), found["segments_info"]


def test_a_universal_model_marks_segments(checkpoints: Path) -> None:
    path = checkpoints / "mask2former"
    places, segments = segments_of(path)
    of_label = {
        number: np.isin(places, [each["id"] for each in segments if each["label_id"] == number])
        for number in (0, 1)
    }
    assert all(0.02 < mask.mean() < 0.98 for mask in of_label.values())
    for labels, wanted in (
        (("cat",), of_label[0]),
        (("grey dog",), of_label[1]),
        (("{class}",), of_label[1]),
        (("foreground",), of_label[0] | of_label[1]),
    ):
        found = opened(path, labels=labels).mask("a.jpg", "grey_dog", PHOTO, 0)
        assert (found == wanted).all()
    with pytest.raises(
        InputError, match=r"repaints nothing of 'a.jpg': the model sees none of the"
    ):
        opened(path, threshold=1.0).mask("a.jpg", "", PHOTO, 0)


def test_labels_that_a_model_does_not_know(checkpoints: Path) -> None:
    with pytest.raises(InputError, match="knows no 'dgo'; did you mean 'dog'"):
        opened(checkpoints / "segformer", labels=("dgo",)).mask("a.jpg", "", PHOTO, 0)
    with pytest.raises(InputError, match="knows no 'ship'; choose from: background, cat, dog"):
        opened(checkpoints / "segformer", labels=("{class}",)).mask("a.jpg", "ship", PHOTO, 0)
    with pytest.raises(
        InputError, match=r"knows no background: say what .* choose from: floor, wall"
    ):
        opened(checkpoints / "indoors").mask("a.jpg", "", PHOTO, 0)


def test_checkpoints_that_cannot_be_used(checkpoints: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        opened(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no config.json, which transformers leaves beside"):
        opened(tmp_path / "empty").mask("a.jpg", "", PHOTO, 0)
    for name, leave_out, message in (
        ("no_weights", "model.safetensors", "is nothing that transformers can load"),
        ("no_processor", "preprocessor_config.json", "has no preprocessor_config.json"),
    ):
        (tmp_path / name).mkdir()
        for file in (checkpoints / "segformer").iterdir():
            if file.name != leave_out:
                (tmp_path / name / file.name).write_bytes(file.read_bytes())
        with pytest.raises(InputError, match=message) as error:
            opened(tmp_path / name).mask("a.jpg", "", PHOTO, 0)
        assert "\n" not in str(error.value)
    described = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    (tmp_path / "empty/config.json").write_text(json.dumps(described))
    (tmp_path / "empty/preprocessor_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"\(vit\) segments nothing: such as SegFormer or"):
        opened(tmp_path / "empty").mask("a.jpg", "", PHOTO, 0)


def test_a_name_that_is_not_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    masks = open_masks(Segmentation(checkpoint="nobody/no-such-model-of-augury"))
    with pytest.raises(InputError, match=r"nobody/no-such-model-of-augury cannot be had \(Local"):
        masks.mask("a.jpg", "", PHOTO, 0)


def test_digests_are_of_weights_and_not_of_places(checkpoints: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in (checkpoints / "segformer").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    one, two = opened(checkpoints / "segformer"), opened(copied)
    assert one.digest == two.digest
    assert one.digest_of("a.jpg", "cat", 0) == two.digest_of("b.jpg", "dog", 1)
    assert one.digest != opened(checkpoints / "indoors").digest
    by_class = opened(copied, labels=("{class}",))
    assert by_class.digest_of("a.jpg", "cat", 0) != by_class.digest_of("a.jpg", "dog", 0)
    on_hub = [
        open_masks(Segmentation(checkpoint="a/b", revision=revision)).digest
        for revision in ("main", "v2")
    ]
    assert len(set(on_hub)) == 2


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom tasks.edits import masks, naming, prompts, sizing\n"
        "masks.open_masks(masks.Full())\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
