"""Any transforms of albumentations, in a row, image by image.

Buslaev et al., "Albumentations: Fast and flexible image augmentations" (Information 11(2), 2020).
2.0.8 is the last release under the MIT licence; it is an optional extra. In a study:

    {name: albumentations, transforms: [{name: HorizontalFlip, p: 0.5}, {name: CLAHE, p: 0.2}]}
"""

import importlib
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass as value
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, JsonValue
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Place
from tasks.augmentations._per_image import PerImage
from tasks.errors import InputError, nearest
from tasks.specs import STRICT

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
PLACE: Place = "worker"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which transforms, in their order."""

    transforms: Annotated[tuple[dict[str, JsonValue], ...], Field(min_length=1)]
    """Each the `name` of a class in albumentations, and its arguments; `p` is its own chance."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image goes through them."""

    def __post_init__(self) -> None:
        for index, each in enumerate(self.transforms):
            if not isinstance(each.get("name"), str):
                raise ValueError(f"transforms[{index}] has no name: give a class of albumentations")


@value(frozen=True, kw_only=True)
class Composed:
    """Runs one image through all transforms."""

    compose: Any
    """albumentations' `Compose`, whose own generators are seeded anew for each image."""

    def __call__(self, image: "Tensor", seed: int) -> "Tensor":
        import torch

        self.compose.set_random_seed(seed)
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        done = self.compose(image=pixels)["image"]
        return torch.from_numpy(np.ascontiguousarray(done.transpose(2, 0, 1)))


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Each transform is tried once on a black image.

    Raises InputError, naming the transform, where albumentations is not installed or has no such
    class, where it refuses or ignores an argument, and where the size or type of images changes.
    """
    # Its import would ask the network for newer versions.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    try:
        albumentations: Any = importlib.import_module("albumentations")
    except ImportError as error:
        raise InputError(
            "albumentations is not installed: pip install 'augury[albumentations]'"
        ) from error
    blank = np.zeros((info.side, info.side, info.channels), np.uint8)
    built = []
    for index, each in enumerate(config.transforms):
        arguments = {key: item for key, item in each.items() if key != "name"}
        where = f"albumentations: transforms[{index}]"
        built.append(_create(albumentations, str(each["name"]), arguments, blank, where))
    # A seed of its own here, or it would draw one from numpy's global state.
    compose = albumentations.Compose(built, seed=0)
    return PerImage(probability=config.probability, transform=Composed(compose=compose))


def _create(
    library: Any,
    name: str,
    arguments: Mapping[str, JsonValue],
    blank: npt.NDArray[np.uint8],
    where: str,
) -> Any:
    """Build one transform, and try it with certainty on `blank`."""
    found: Any = getattr(library, name, None)
    if not _is_transform(library, found):
        known = [each for each in dir(library) if _is_transform(library, getattr(library, each))]
        raise InputError(f"{where}: albumentations has no {name!r}: {nearest(name, known)}")
    try:
        with warnings.catch_warnings():
            # It only warns of arguments it does not know; its advice is another matter.
            warnings.simplefilter("ignore", UserWarning)
            warnings.filterwarnings("error", r"Argument\(s\) .* not valid", UserWarning)
            transform, certain = found(**arguments), found(**{**arguments, "p": 1.0})
            # And it warns of images that it leaves as they are.
            warnings.simplefilter("error", UserWarning)
            seen = library.Compose([certain], seed=0)(image=blank)["image"]
    # Whatever it raises, the arguments are the user's.
    except Exception as error:
        raise InputError(f"{where}: {name} cannot be used: {error}") from error
    if seen.shape != blank.shape or seen.dtype != blank.dtype:
        raise InputError(
            f"{where}: {name} turns {blank.shape} {blank.dtype} into {seen.shape} {seen.dtype}: "
            "the size and type of images must stay"
        )
    return transform


def _is_transform(library: Any, found: Any) -> bool:
    """Whether it is one of the library's transforms, and not one of the classes they build on."""
    foundation = library.BasicTransform
    return (
        isinstance(found, type)
        and issubclass(found, foundation)
        and found.__module__ != foundation.__module__
    )
