"""DINOv2, which learnt from images alone, without labels or texts.

Oquab et al., "DINOv2: learning robust visual features without supervision" (arXiv 2304.07193); as
an extractor: Stein et al., "Exposing flaws of generative model evaluation metrics" (arXiv
2306.04675, github.com/layer6ai-labs/dgm-eval), whose resize this is: the whole image to a square.
Any DINOv2 of transformers, from the Hugging Face hub or a local folder; the paper's figures are of
facebook/dinov2-large.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.errors import InputError
from tasks.extraction import Extracted
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tasks.reading import FileFacts

VERSION = 1
NEEDS_FIT = False
FAMILY = ("dinov2", "dinov2_with_registers")
"""As transformers names the models that will do."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels, where the checkpoint says none: ImageNet's, as all published ones have."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and how large it sees images."""

    checkpoint: str = "facebook/dinov2-base"
    """A name on the hub, or the path of a local folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    size: Annotated[int, Field(ge=14, le=1024)] = 224
    """Side in pixels that images are scaled to."""
    folder: Locator[str | None] = None
    """Where the folder lies that `checkpoint` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        if self.folder is not None and not self.checkpoint.startswith(BY_CONTENT):
            raise ValueError("folder is filled in by planning: say checkpoint: <path> instead")


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local folder by what it contains, so that a key does not hang on where it lies.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    from tasks.classifiers._transformers_checkpoint import content_id

    if config.checkpoint.startswith(BY_CONTENT):
        return config
    folder = Path(config.checkpoint).expanduser().absolute()
    if folder.is_dir():
        return replace(config, checkpoint=content_id(folder, True, facts), folder=str(folder))
    if config.checkpoint.startswith((".", "~", "/")) or config.checkpoint.count("/") > 1:
        raise InputError(f"extractor.checkpoint: there is no folder {config.checkpoint}")
    return config


def build(config: Config, fitted: Path | None, device: str) -> "_DinoV2":
    """Load the checkpoint in float32, from safetensors files alone.

    Raises InputError where it cannot be had, or is no DINOv2.
    """
    from tasks.classifiers import _transformers_checkpoint as checkpoints
    from tasks.devices import prepare

    place = prepare(device)
    with _blamed_on_extractor():
        folder = _folder(config)
        model = _model(folder, _spoken(config)).to(place)
        mean, std = checkpoints.normalisation(checkpoints.read_processor(folder)) or (MEAN, STD)
    return _DinoV2(model, config, mean, std, place)


def _spoken(config: Config) -> str:
    if config.checkpoint.startswith(BY_CONTENT):
        return config.checkpoint[: len(BY_CONTENT) + 12]
    return f"{config.checkpoint}@{config.revision}"


def _folder(config: Config) -> Path:
    """The local folder of the checkpoint, fetched from the hub if need be."""
    from tasks.classifiers import _transformers_checkpoint as checkpoints

    if config.folder is not None:
        folder = Path(config.folder)
        if checkpoints.content_id(folder, True) != config.checkpoint:
            raise InputError(f"extractor: {folder.name} is not what it was when it was planned")
        return folder
    folder = Path(config.checkpoint).expanduser()
    if folder.is_dir():
        return folder
    return checkpoints.fetch(config.checkpoint, config.revision, weights=True)


def _model(folder: Path, spoken: str) -> Any:
    from tasks.classifiers._transformers_checkpoint import description
    from tasks.classifiers._transformers_network import load

    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"extractor: {spoken} holds no readable config.json") from error
    described = description(text)
    if described.model_type not in FAMILY:
        raise InputError(f"extractor: {spoken} is a {described.model_type}, not a dinov2")
    # Loaded as a classifier, whose head is fresh and left aside.
    model: Any = load(described, folder, spoken)
    return model.base_model.eval().requires_grad_(False)


@contextmanager
def _blamed_on_extractor() -> Iterator[None]:
    """What reads checkpoints of classifiers names the setting of a classifier."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace("train.model:", "extractor:", 1)) from error


class _DinoV2:
    def __init__(
        self,
        model: Any,
        config: Config,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        place: "torch.device",
    ) -> None:
        from tasks.images import Normalise

        self._model, self._size, self._place = model, config.size, place
        self._normalise = Normalise(mean, std, place)
        self.stamp = {
            "extractor": "dinov2",
            "weights": _spoken(config),
            "resize": "bicubic, antialiased (torchvision), whole image to a square",
            "size": str(config.size),
            "dtype": "float32",
            "features": f"{model.config.hidden_size}, class token",
        }

    def __call__(self, images: "Tensor") -> Extracted:
        import torch
        from torchvision.transforms.v2 import InterpolationMode, functional

        square = [self._size, self._size]
        seen = functional.resize(
            images.to(self._place), square, InterpolationMode.BICUBIC, antialias=True
        )
        colour = self._normalise(seen.expand(-1, 3, -1, -1))
        with torch.inference_mode():
            features = self._model(pixel_values=colour).pooler_output
        return Extracted(features=features.cpu().numpy(), probabilities=None)
