"""CLIP of transformers, from the Hugging Face hub or a local folder: images and texts in one space.

Radford et al., "Learning transferable visual models from natural language supervision"
(arXiv 2103.00020, openai/CLIP). Weights are read from safetensors files alone, and code that comes
with a checkpoint is never run.

    clip = load("openai/clip-vit-base-patch32", "main", None, "cpu")
    classes = class_embeddings(clip.texts, prompts("a photo of a {}", ("cat", "dog")))
    probabilities = (clip.scale * clip.images(images) @ classes.T).softmax(1)
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.classifiers._checkpoints import BY_CONTENT, refuse_misfits
from tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.reading import FileFacts

WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
FILES = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt"),
    *WEIGHTS,
)
"""What is read of a checkpoint, and so what a local folder counts by."""
PLACE = "{}"
"""Where the class name stands in a prompt."""


def check_prompt(template: str) -> None:
    """Refuse a prompt that says nothing of the class.

    Raises ValueError.
    """
    if template.count(PLACE) != 1:
        raise ValueError(
            f"prompt={template!r}: say once where the class name goes, as in 'a photo of a {PLACE}'"
        )


def prompts(template: str, classes: Sequence[str]) -> list[str]:
    """The prompt of each class; underscores in names are read as spaces."""
    return [template.replace(PLACE, name.replace("_", " ").strip()) for name in classes]


def class_embeddings(encode: "Callable[[Sequence[str]], Tensor]", texts: Sequence[str]) -> "Tensor":
    """Encode the prompts of all classes, one row each, and see that they differ.

    A tokenizer that does not go with its model, or a prompt cut before the class name, gives all
    classes one embedding, and nothing that is computed from it afterwards looks wrong.

    Raises InputError.
    """
    found = encode(texts)
    for row, text in enumerate(texts):
        near = (found[:row] - found[row]).abs().amax(1) < 1e-6
        if near.any():
            other = texts[int(near.int().argmax())]
            raise InputError(
                f"prompt: CLIP cannot tell {other!r} from {text!r}: name the classes in other "
                "words, shorten the prompt, or use the checkpoint's own tokenizer files"
            )
    return found


def identify(
    checkpoint: str, facts: "FileFacts", setting: str = "checkpoint"
) -> tuple[str, str | None]:
    """Name a local folder by what it contains, so that a key does not hang on where it lies.

    Args:
        checkpoint: a name on the hub, the path of a local folder, or what this returned before.
        facts: remembers hashes, so that a large file is read once.
        setting: the user's name for `checkpoint`, for messages.

    Returns what stands for the checkpoint in keys, and where its folder lies; None for a name on
    the hub or where it was named by content already.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    if checkpoint.startswith(BY_CONTENT):
        return checkpoint, None
    folder = Path(checkpoint).expanduser().absolute()
    if folder.is_dir():
        return content_id(folder, facts), str(folder)
    if checkpoint.startswith((".", "~", "/")) or checkpoint.count("/") > 1:
        raise InputError(f"{setting}: there is no folder {checkpoint}")
    return checkpoint, None


def content_id(folder: Path, facts: "FileFacts | None" = None) -> str:
    """Name a folder by what it contains: sha256 over the lines `name, sha256(bytes)`."""
    from tasks.reading import file_sha256

    paths = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    lines = (
        f"{path.name}, {facts(path, 'sha256', file_sha256) if facts else file_sha256(path)}\n"
        for path in paths
    )
    return BY_CONTENT + hashlib.sha256("".join(lines).encode()).hexdigest()


class Clip:
    """A CLIP with fixed weights; both of its sides give vectors of unit length."""

    def __init__(self, model: Any, tokenizer: Any, processor: Any, resolved: str) -> None:
        """Take over the parts as transformers loads them.

        Args:
            resolved: the checkpoint, as records name it.
        """
        self.resolved = resolved
        self.scale = float(model.logit_scale.exp())
        """What a cosine is multiplied by before the softmax over texts."""
        self.size = int(model.config.projection_dim)
        """Numbers of a vector."""
        self.side = int(model.config.vision_config.image_size)
        """Pixels of the square images that the network sees."""
        self._model = model
        self._tokenizer = tokenizer
        self._processor = processor

    def to(self, device: str) -> None:
        """Move the weights."""
        self._model.to(device)

    def texts(self, texts: Sequence[str]) -> "Tensor":
        """Encode texts, N × size; what exceeds the context of the model is cut off."""
        import torch
        from torch.nn.functional import normalize

        model = self._model
        tokens = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        device = model.logit_scale.device
        with torch.inference_mode():
            pooled = model.text_model(
                input_ids=tokens["input_ids"].to(device),
                attention_mask=tokens["attention_mask"].to(device),
            ).pooler_output
            found = normalize(model.text_projection(pooled), dim=1)
        return found.clone()  # outside inference mode: others may need it in a gradient

    def images(self, images: "Tensor") -> "Tensor":
        """Encode images, N × C × H × W -> N × size.

        Args:
            images: grey or colour; uint8, or floats in 0..1, through which a gradient may flow.
        """
        from torch.nn.functional import normalize

        model = self._model
        seen = self.preprocessed(images.to(model.logit_scale.device))
        pooled = model.vision_model(pixel_values=seen).pooler_output
        return normalize(model.visual_projection(pooled), dim=1)

    def preprocessed(self, images: "Tensor") -> "Tensor":
        """Scale, crop and normalise as the checkpoint's image processor says, differentiably."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional

        said = self._processor
        seen = images.expand(-1, 3, -1, -1)
        if said["do_resize"]:
            mode = InterpolationMode(said["interpolation"])
            # Whole pixels are cut off at black and white here; floats keep their gradient.
            seen = functional.resize(seen, said["size"], mode, antialias=True)
        if not seen.is_floating_point():
            seen = seen / 255
        if said["do_center_crop"]:
            # torchvision's own centre is another by a pixel where an odd number is cut off.
            high, wide = said["crop_size"]
            top, left = (seen.shape[2] - high) // 2, (seen.shape[3] - wide) // 2
            seen = functional.crop(seen, top, left, high, wide)
        if said["do_normalize"]:
            seen = functional.normalize(seen, said["image_mean"], said["image_std"])
        return seen


def load(checkpoint: str, revision: str, folder: str | None, device: str) -> Clip:
    """Load a CLIP in float32, for `device`.

    Args:
        checkpoint: a name on the hub, the path of a folder, or what `identify` made of it.
        revision: branch, tag or commit on the hub.
        folder: where the folder lies that `checkpoint` names by content.

    Raises InputError where it cannot be had, is no CLIP, or lacks a part.
    """
    spoken = checkpoint[:19] if checkpoint.startswith(BY_CONTENT) else f"{checkpoint}@{revision}"
    place = _folder(checkpoint, revision, folder)
    model = _model(place, spoken).eval().requires_grad_(False).to(device)
    return Clip(model, _tokenizer(place, spoken), _processor(place, spoken), spoken)


def _folder(checkpoint: str, revision: str, folder: str | None) -> Path:
    """The local folder of the checkpoint, fetched from the hub if need be."""
    if folder is not None:
        if content_id(Path(folder)) != checkpoint:
            raise InputError(f"CLIP: {Path(folder).name} is not what it was when it was planned")
        return Path(folder)
    if checkpoint.startswith(BY_CONTENT):
        raise InputError(f"CLIP: {checkpoint[:19]} is a local folder: say where it lies")
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download

    # One request says whether the hub is there; transformers would try each file for half a minute.
    try:
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"CLIP: {checkpoint} cannot be had ({type(error).__name__}): fetch it into the cache "
            "of huggingface_hub, or say the path of a folder"
        ) from error


def _model(folder: Path, spoken: str) -> Any:
    import torch
    import transformers

    untyped: Any = transformers
    with _refused(spoken, "model"), _quiet(untyped):
        described = untyped.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        if described.model_type != "clip":
            raise InputError(f"CLIP: {spoken} is a {described.model_type}, not a clip")
        model, loading = untyped.CLIPModel.from_pretrained(
            str(folder),
            config=described,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=True,
        )
    found = [*(f"{name} is missing" for name in sorted(loading["missing_keys"]))]
    refuse_misfits(found, f"CLIP: the weights of {spoken}", "clip")
    return model


def _tokenizer(folder: Path, spoken: str) -> Any:
    import transformers

    untyped: Any = transformers
    with _refused(spoken, "tokenizer"), _quiet(untyped):
        return untyped.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )


def _processor(folder: Path, spoken: str) -> dict[str, Any]:
    """What the image processor does, sizes as torchvision takes them."""
    import transformers
    from torchvision.transforms.functional import pil_modes_mapping

    untyped: Any = transformers
    with _refused(spoken, "image processor"), _quiet(untyped):
        said = untyped.CLIPImageProcessor.from_pretrained(str(folder), local_files_only=True)
        modes = {code: mode.value for mode, code in pil_modes_mapping.items()}
        return {
            **{k: bool(getattr(said, k)) for k in ("do_resize", "do_center_crop", "do_normalize")},
            "size": _size(said.size),
            "crop_size": _size(said.crop_size),
            "interpolation": modes[int(said.resample)],
            "image_mean": [float(value) for value in said.image_mean],
            "image_std": [float(value) for value in said.image_std],
        }


def _size(said: Any) -> list[int]:
    """One side (the shorter one) or height and width."""
    if (short := said.get("shortest_edge")) is not None:
        return [int(short)]
    return [int(said["height"]), int(said["width"])]


@contextmanager
def _refused(spoken: str, part: str) -> Iterator[None]:
    """Make one line of whatever transformers says of files that it cannot read."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # files of a stranger fail in as many ways as there are models
        message = str(error).strip().partition("\n")[0]
        raise InputError(
            f"CLIP: {spoken} has no {part} that transformers can load ({type(error).__name__}: "
            f"{message[:200]})"
        ) from error


@contextmanager
def _quiet(untyped: Any) -> Iterator[None]:
    logging = untyped.utils.logging
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
