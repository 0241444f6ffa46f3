"""Random crops and horizontal flips, as nearly every recipe begins.

`pad`: the image is padded and a window of its own size cut out (CIFAR: He et al., arXiv:1512.03385,
section 4.2; torchvision's RandomCrop). `resized`: a part of random area and aspect is enlarged to
the whole (Szegedy et al., arXiv:1409.4842; torchvision's RandomResizedCrop, bilinear). A part is
never larger than the image, so that antialiasing would change nothing.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.augmentation import Augmentation, AugmentationInfo, Batch, Place, chosen
from tasks.augmentations._boxes import BoxLaw, placed
from tasks.errors import InputError
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
PLACE: Place = "either"
ATTEMPTS = 10
"""Of torchvision, to draw a part that fits; the whole image is taken where none does."""

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How images are cropped and flipped."""

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Chance that an image is changed at all."""
    crop: Literal["pad", "resized", "none"] = "pad"
    padding: Annotated[int, Field(ge=1, le=512)] | None = None
    """Pixels on each side, with `crop: pad`; None is an eighth of the side, the 4 of 32 pixels."""
    border: Literal["zero", "reflect"] = "zero"
    """What the padding shows: black, or the image mirrored at its outermost pixels."""
    scale: tuple[Share, Share] = (0.08, 1.0)
    """Smallest and largest share of the image, with `crop: resized`."""
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of that part; its logarithm is uniform."""
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance of a horizontal flip."""

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            ends = getattr(self, name)
            if ends[0] > ends[1]:
                raise ValueError(f"{name}={list(ends)}: give the smaller end first")


@dataclass(frozen=True, kw_only=True)
class Base:
    """An `Augmentation`."""

    config: Config
    padding: int

    def __call__(self, batch: Batch, generator: "torch.Generator") -> Batch:
        config, num_images = self.config, len(batch.images)
        changed = chosen(num_images, config.probability, generator)
        flipped = changed & chosen(num_images, config.flip, generator)
        if config.crop == "resized":
            images = self._resized(batch.images, changed, flipped, generator)
        else:
            images = self._shifted(batch.images, changed, flipped, generator)
        return replace(batch, images=images)

    def _shifted(
        self, images: "Tensor", changed: "Tensor", flipped: "Tensor", generator: "torch.Generator"
    ) -> "Tensor":
        """Pad, cut windows out and flip them in one gather over whole pixels."""
        import torch
        from torch.nn import functional

        num_images, channels, side, _ = images.shape
        padding = self.padding if self.config.crop == "pad" else 0
        reflects = self.config.border == "reflect"
        pixels = images.permute(0, 2, 3, 1)
        if padding and not reflects:
            pixels = functional.pad(pixels, (0, 0, padding, padding, padding, padding))
        first, wide = (0, side) if reflects else (padding, side + 2 * padding)
        shift = torch.randint(
            -padding, padding + 1, (2, num_images), generator=generator, device=images.device
        )
        places = torch.arange(side, device=images.device)
        rows, columns = (first + shift * changed)[:, :, None] + places
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
        if reflects:
            rows, columns = (_mirrored(each, side) for each in (rows, columns))
        rows = rows + wide * torch.arange(num_images, device=images.device)[:, None]
        index = (rows * wide)[:, :, None] + columns[:, None, :]
        # Pixels of all images in one list: this moves whole pixels, and no image at a time.
        taken = pixels.reshape(-1, channels).index_select(0, index.flatten())
        return taken.view(num_images, side, side, channels).permute(0, 3, 1, 2)

    def _resized(
        self, images: "Tensor", changed: "Tensor", flipped: "Tensor", generator: "torch.Generator"
    ) -> "Tensor":
        import torch
        from torch.nn import functional

        side, ratio = images.shape[-1], self.config.ratio
        law = BoxLaw(
            area=self.config.scale,
            aspect=(1 / ratio[1], 1 / ratio[0]),
            uniform_aspect=False,
            attempts=ATTEMPTS,
            smallest=1,
            largest=side,
        )
        sizes = law.draw(len(images), side, generator)
        box = placed(torch.where(sizes > 0, sizes, side), side, generator)
        rows = _centres(box.top, box.bottom, side)
        columns = _centres(box.left, box.right, side)
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
        grid = torch.stack(
            [
                columns[:, None, :].expand(-1, side, -1),
                rows[:, :, None].expand(-1, -1, side),
            ],
            dim=-1,
        )
        whole = functional.grid_sample(
            images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        if not images.is_floating_point():
            whole = whole.round_().to(images.dtype)
        return torch.where(changed.view(-1, 1, 1, 1), whole, images)


def _mirrored(places: "Tensor", side: int) -> "Tensor":
    return (side - 1) - ((side - 1) - places.abs()).abs()


def _centres(low: "Tensor", high: "Tensor", side: int) -> "Tensor":
    """Where the pixels of an enlarged part lie in the image: N × side, -1..1 from edge to edge.

    They stay within the outermost pixels of the part: nothing beside it shows through.
    """
    import torch

    steps = torch.arange(side, device=low.device) + 0.5
    places = low[:, None] + steps * ((high - low) / side)[:, None]
    within = places.clamp(min=low[:, None] + 0.5, max=high[:, None] - 0.5)
    return within * (2 / side) - 1


def build(config: Config, info: AugmentationInfo) -> Augmentation:
    """Raises InputError where an image is too small to be mirrored that far."""
    padding = config.padding if config.padding is not None else max(1, info.side // 8)
    if config.crop == "pad" and padding >= info.side:
        raise InputError(
            f"base: padding={padding} and images of {info.side} pixels: at most {info.side - 1} "
            f"would do"
        )
    return Base(config=config, padding=padding)
