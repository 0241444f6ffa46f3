"""Inception-v3 of TensorFlow's 2015 release, which FID is defined by: 2,048 features.

The network, the conversion of the weights and TensorFlow's way to resize are torch-fidelity's
(github.com/toshas/torch-fidelity, after github.com/mseitzer/pytorch-fid); Heusel et al., arXiv
1706.08500. The published weights are fetched once into torch's hub folder.
"""

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

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
PUBLISHED = "published"
URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
"""Ends in the first digits of the file's sha256."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Where its weights are."""

    weights: str = PUBLISHED
    """`published`, or the path of a local file that holds them."""
    file: Locator[str | None] = None
    """Where the file lies that `weights` names by content; filled in by planning."""

    def __post_init__(self) -> None:
        if self.file is not None and not self.weights.startswith(BY_CONTENT):
            raise ValueError("file is filled in by planning: say weights: <path> instead")


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local file by what it contains, so that a key does not hang on where it lies.

    Raises InputError where there is none.
    """
    from tasks.classifiers._checkpoints import content_id

    if config.weights == PUBLISHED or config.weights.startswith(BY_CONTENT):
        return config
    path = Path(config.weights).expanduser().absolute()
    if not path.is_file():
        raise InputError(
            f"extractor.weights: there is no file {config.weights}: say the path of one, or "
            f"{PUBLISHED}"
        )
    return replace(config, weights=content_id(path, facts), file=str(path))


def build(config: Config, fitted: Path | None, device: str) -> "_Inception":
    """Load the network.

    Raises InputError where the weights cannot be had, or are not this network's.
    """
    from tasks.devices import move, prepare

    place = prepare(device)
    network = _load(_file(config))
    move(network, place)
    return _Inception(network, _spoken(config), place)


def _spoken(config: Config) -> str:
    if config.weights == PUBLISHED:
        return URL.rpartition("/")[2]
    return config.weights[: len(BY_CONTENT) + 12]


def _file(config: Config) -> Path:
    """The weights on this machine, fetched if need be."""
    from tasks.classifiers._checkpoints import content_id

    if config.weights == PUBLISHED:
        return _fetched()
    path = Path(config.file or config.weights).expanduser()
    if not path.is_file():
        raise InputError(f"extractor.weights: there is no file {path}")
    if config.file is not None and content_id(path) != config.weights:
        raise InputError(f"extractor: {path.name} is not what it was when this was planned")
    return path


def _fetched() -> Path:
    """Where torch and torch-fidelity keep the file, too."""
    import torch

    name = URL.rpartition("/")[2]
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = path.stem.rpartition("-")[2]
    try:
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=digits, progress=False)
    except (OSError, RuntimeError, URLError) as error:
        raise InputError(
            f"extractor: the weights of inception cannot be had from {URL} ({error}): put the file "
            f"at {path}, or say weights: PATH, or another extractor"
        ) from error
    return path


def _load(path: Path) -> Any:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import (  # type: ignore[import-untyped]
        FeatureExtractorInceptionV3,
    )

    from tasks.classifiers._checkpoints import read

    # torch-fidelity would run what a pickle says: it is given one of tensors that were read safely.
    tensors = io.BytesIO()
    try:
        torch.save(read(path).tensors, tensors)
    except InputError as error:
        raise InputError(f"extractor: {error}") from error
    tensors.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], tensors)
    except RuntimeError as error:  # from load_state_dict, a line for each tensor
        said = " ".join(str(error).split())
        raise InputError(
            f"extractor: {path.name} does not fit torch-fidelity's Inception-v3 ({said[:200]} ...)"
        ) from error


class _Inception:
    def __init__(self, network: Any, weights: str, place: "torch.device") -> None:
        from importlib.metadata import version

        self._network, self._place = network, place
        self.stamp = {
            "extractor": "inception",
            "weights": weights,
            "resize": "bilinear as in TensorFlow 1, not antialiased "
            f"(torch-fidelity {version('torch-fidelity')})",
            "size": str(network.INPUT_IMAGE_SIZE),
            "dtype": "float32",
            "features": "2048, pooled",
        }

    def __call__(self, images: "Tensor") -> Extracted:
        import torch

        colour = images.to(self._place).expand(-1, 3, -1, -1)
        with torch.inference_mode():
            (features,) = self._network(colour)
        return Extracted(features=features.cpu().numpy(), probabilities=None)
