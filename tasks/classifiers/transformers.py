"""Any image classifier of transformers (Wolf et al., 1910.03771), from the Hugging Face hub or a
local folder.

Weights are read from safetensors files alone, and code that comes with a checkpoint is never run.
"""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from tasks.classification import Classifier, ClassifierInfo, normalisation
from tasks.classifiers import _transformers_checkpoint as checkpoints
from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.classifiers._sides import check_side
from tasks.errors import InputError
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    from torch import nn

    from tasks.classifiers._transformers_network import ImageClassifier
    from tasks.reading import FileFacts

VERSION = 1
DEFAULT_SIDE = 224
"""Where neither the checkpoint nor the study says one."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which checkpoint, and whether its weights are the start."""

    checkpoint: str = "google/vit-base-patch16-224"
    """A name on the hub, or the path of a local folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    pretrained: bool = False
    """Start from the checkpoint's weights; else only its description is used."""
    folder: Locator[str | None] = None
    """Where the folder lies that `checkpoint` names by content; filled in by planning."""
    network: str | None = None
    """The model's description as JSON, instead of the checkpoint's; weights files carry it."""

    def __post_init__(self) -> None:
        if self.folder is not None and not self.checkpoint.startswith(BY_CONTENT):
            raise ValueError("folder is filled in by planning: say checkpoint: <path> instead")


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local folder by what it contains, so that a key does not hang on where it lies.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    if config.checkpoint.startswith(BY_CONTENT):
        return config
    folder = Path(config.checkpoint).expanduser().absolute()
    if folder.is_dir():
        found = checkpoints.content_id(folder, config.pretrained, facts)
        return replace(config, checkpoint=found, folder=str(folder))
    if config.checkpoint.startswith((".", "~", "/")) or config.checkpoint.count("/") > 1:
        raise InputError(f"train.model.checkpoint: there is no folder {config.checkpoint}")
    return config


def build(config: Config, info: ClassifierInfo, load_pretrained: bool = True) -> Classifier:
    """Create the network with a head of `num_classes`, fresh where the checkpoint's is another.

    Input size and normalisation are those of the checkpoint's image processor unless the study
    gives others; grey images are repeated over three channels.

    Raises InputError where the checkpoint cannot be had, is of no image classifier or holds other
    tensors than its description says, and where the model has not what the study asks for.
    """
    from tasks.classifiers._transformers_network import draw, load

    start = config.pretrained and load_pretrained
    if start and config.network is not None:
        raise InputError("train.model.network: has no weights; say pretrained: false")
    if not load_pretrained and config.network is None:
        # Else a stranger's weights file could make us fetch what it names.
        raise InputError("says nothing of its network, as a weights file must")
    folder = _folder(config) if config.network is None else None
    described = _described(config, folder)
    processor = {} if folder is None else checkpoints.read_processor(folder)
    side = info.input_size or checkpoints.side(processor) or _own_side(described) or DEFAULT_SIDE
    if info.drop_path is not None:
        if not hasattr(described, "drop_path_rate"):
            raise InputError(f"train.drop_path: {described.model_type} has none")
        described.drop_path_rate = info.drop_path
    described.num_labels = info.num_classes
    interpolate = _fit_side(described, side, config.pretrained)
    if start and folder is not None:
        model = load(described, folder, _spoken(config))
    else:
        model = draw(described)
    network = _finished(model, config, info, interpolate)
    channels = int(getattr(described, "num_channels", 3))
    check_side(network, channels, side, described.model_type)
    mean, std = normalisation(info, channels, *_own_normalisation(processor, info, config))
    origin = "" if config.pretrained else ", from scratch"
    return Classifier(
        network=network,
        features=network.features,
        input_size=side,
        channels=channels,
        mean=mean,
        std=std,
        resolved=f"{_spoken(config)} ({described.model_type}){origin}",
        rebuild={"network": checkpoints.as_json(described)},
    )


def _spoken(config: Config) -> str:
    """The checkpoint as messages and records name it."""
    if config.checkpoint.startswith(BY_CONTENT):
        return config.checkpoint[: len(BY_CONTENT) + 12]
    return f"{config.checkpoint}@{config.revision}"


def _folder(config: Config) -> Path:
    """The local folder of the checkpoint, fetched from the hub if need be."""
    if config.folder is not None:
        folder = Path(config.folder)
        if checkpoints.content_id(folder, config.pretrained) != config.checkpoint:
            raise InputError(f"train.model: {folder.name} is not what it was when it was planned")
        return folder
    folder = Path(config.checkpoint).expanduser()
    if folder.is_dir():
        return folder
    return checkpoints.fetch(config.checkpoint, config.revision, config.pretrained)


def _described(config: Config, folder: Path | None) -> Any:
    """The model's configuration as transformers has it."""
    text = config.network
    if text is None:
        assert folder is not None
        try:
            text = (folder / "config.json").read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"train.model: {_spoken(config)} holds no readable config.json"
            ) from error
    return checkpoints.description(text)


def _own_side(described: Any) -> int | None:
    size = getattr(described, "image_size", None)
    if isinstance(size, list | tuple) and size:
        size = size[0]
    return size if isinstance(size, int) else None


def _own_normalisation(
    processor: checkpoints.Values, info: ClassifierInfo, config: Config
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    said = checkpoints.normalisation(processor)
    if said is None and config.pretrained and (info.mean is None or info.std is None):
        raise InputError(
            f"train.model: {_spoken(config)} says no image_mean and image_std in its "
            "preprocessor_config.json: give train.mean and train.std"
        )
    return said or ((0.5,), (0.5,))


def _fit_side(described: Any, side: int, pretrained: bool) -> bool:
    """Set the image size; say whether position embeddings must be interpolated at each call.

    Pre-trained weights hold embeddings for one size, and a network from scratch has them for any.
    """
    own = _own_side(described)
    if own is None or own == side:
        return False
    published = _outline(described)
    described.image_size = side
    if not pretrained or _shapes(published) == _shapes(_outline(described)):
        return False
    described.image_size = own
    # A model without this argument interpolates by itself, or refuses what it is shown.
    return "interpolate_pos_encoding" in inspect.signature(published.forward).parameters


def _outline(described: Any) -> "nn.Module":
    """The model without memory for its weights."""
    import torch

    from tasks.classifiers._transformers_network import draw

    with torch.device("meta"):
        return draw(described)


def _shapes(network: "nn.Module") -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _finished(
    model: Any, config: Config, info: ClassifierInfo, interpolate: bool
) -> "ImageClassifier":
    """Wrap the model, with what the study says of it."""
    from tasks.classifiers._transformers_network import ImageClassifier
    from tasks.initialisation import initialise

    named = model.config.model_type
    if not hasattr(model, "classifier"):
        raise InputError(f"train.model: {named} has no single head")
    if info.initialisation != "default":
        if config.pretrained:
            raise InputError("train.initialisation: pre-trained weights are there; say default")
        initialise(model, info.initialisation)
    if info.gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise InputError(f"train.gradient_checkpointing: {named} has none")
        # Renamed in transformers 5; the older name warns there.
        older = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})
    return ImageClassifier(model, interpolate, info.dropout or 0.0)
