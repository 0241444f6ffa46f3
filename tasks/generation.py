"""What a generator must do, and the few conventions that all of them share.

A file of `tasks/generators/` holds

- `VERSION`, an integer that is raised when results change;
- `Config`, frozen and strict: what is fitted, with `steps` and `batch_size`;
- `Sampling`, frozen and strict: how images are drawn, with `batch_size`. Settings that decode real
  images, and so need `sources`, call that `mode: reconstruct`;
- `check(config, sampling)`, pure: raises ValueError where the two cannot go together;
- `build(config, info)`, which returns a Generator with fresh weights drawn from torch's global
  state (`fit` forks and seeds it) and refuses, with one line, images that it cannot make.

Images cross this boundary as uint8, N × C × H × W; networks see them in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tasks.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tasks.packs import Pack

SMALLEST_SIDE, LARGEST_SIDE, SIDE_MULTIPLE = 8, 128, 4


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What a generator must know of the images it is to make."""

    channels: int
    height: int
    width: int
    num_classes: int
    classes: tuple[str, ...] = ()
    """Names in label order, for generators that read them; empty where nobody said."""


class Generator(Protocol):
    """A class-conditional model of images: fitted step by step, then sampled."""

    batch_size: int
    """Training images that one `step` takes."""
    num_steps: int
    """Steps of a whole fit."""
    num_parameters: int
    """Trained numbers, the running average of them not counted again."""

    def to(self, device: str) -> None:
        """Move weights and optimizer state; do so before `load_state_dict`."""
        ...

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        """Take one optimizer step and return the losses by name, as scalars still on the device.

        All noise comes from `rng`, which lives where the weights do; dropout alone takes torch's
        global state, which the caller seeds.

        Args:
            images: uint8, N × C × H × W, on the generator's device.
            labels: int64, N.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: weights, averages, optimizer, step count."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, bit for bit on a CPU."""
        ...

    def sampler_state(self) -> dict[str, "Tensor"]:
        """Only what sampling needs, as contiguous tensors for safetensors."""
        ...

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        """Make `sample` draw from these weights; such a generator is not for further steps."""
        ...

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Any,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        """Make one image per label: uint8, N × C × H × W, on the CPU.

        Args:
            labels: int64, N.
            rngs: one CPU generator per image, from which all the noise of that image comes.
            sampling: the `Sampling` of the generator's file.
            sources: uint8, N × C × H × W, where `needs_sources(sampling)`; else None.
        """
        ...

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        """Pictures of how it works, by name: uint8, rows × columns × C × H × W, on the CPU.

        `interpolation`: images between two latents of one class (GANs, VAEs). `denoising`: an image
        on its way out of noise (diffusion). `reconstruction`: a real image, what the encoder sees
        of it where that differs, and what is made of it (VAEs).

        Args:
            labels: int64, one a row.
            rngs: one CPU generator a row.
            real: uint8, N × C × H × W, a training image of each row's class.
        """
        ...


def needs_sources(sampling: Any) -> bool:
    """Whether images are made from real ones: reconstructions are never called samples."""
    return getattr(sampling, "mode", "sample") == "reconstruct"


def image_info(pack: "Pack") -> tuple[ImageInfo, int | None]:
    """Describe the images of a pack, and the side to read them at (None: as they are).

    Images that differ in shape are cut to squares: the largest side that generators can make.
    """
    num_classes = len(pack.classes)
    if pack.shape is not None:
        channels, height, width = pack.shape
        shape = ImageInfo(
            channels=channels,
            height=height,
            width=width,
            num_classes=num_classes,
            classes=pack.classes,
        )
        return shape, None
    side = min(pack.side, LARGEST_SIDE) // SIDE_MULTIPLE * SIDE_MULTIPLE
    square = ImageInfo(
        channels=pack.channels,
        height=side,
        width=side,
        num_classes=num_classes,
        classes=pack.classes,
    )
    return square, side


def check_image(info: ImageInfo, num_halvings: int) -> None:
    """Refuse images that a network which halves its input `num_halvings` times cannot make.

    Raises InputError.
    """
    if info.channels not in (1, 3):
        raise InputError(f"images of {info.channels} channels: generators make 1 (grey) or 3 (RGB)")
    if info.num_classes < 1:
        raise InputError(f"{info.num_classes} classes: a generator needs at least 1")
    multiple = max(SIDE_MULTIPLE, 2**num_halvings)
    for side in (info.height, info.width):
        if not SMALLEST_SIDE <= side <= LARGEST_SIDE or side % multiple:
            raise InputError(
                f"images of {info.height} x {info.width} pixels: with these channels a generator "
                f"makes sides that are multiples of {multiple} from {max(SMALLEST_SIDE, multiple)} "
                f"to {LARGEST_SIDE}; {_remedy(info, multiple)}"
            )


def _remedy(info: ImageInfo, multiple: int) -> str:
    """A `dataset.size` at which both sides are as a generator needs them, if not larger."""
    short, long = sorted((info.height, info.width))
    first = max(multiple, -(-SMALLEST_SIDE // multiple) * multiple)
    sizes = [
        size
        for size in range(first, LARGEST_SIDE + 1, multiple)
        if (other := round(long * size / short)) <= LARGEST_SIDE and other % multiple == 0
    ]
    if not sizes:
        return "at no dataset.size both sides are: cut the images to squares first"
    smaller = [size for size in sizes if size <= short]
    return f"set dataset.size, for example to {smaller[-1] if smaller else sizes[0]}"


def to_signed(images: "Tensor") -> "Tensor":
    """Map uint8 pixels to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_pixels(signed: "Tensor") -> "Tensor":
    """Map [-1, 1] to uint8, clamped and rounded to the nearest level."""
    return ((signed.float().clamp(-1, 1) + 1) * 127.5).round().byte()


def normal(shape: Sequence[int], rngs: "Sequence[torch.Generator]") -> "Tensor":
    """Draw standard normal noise of `shape` for each image from its own generator, on the CPU."""
    import torch

    return torch.stack([torch.randn(tuple(shape), generator=rng) for rng in rngs])


def num_halvings(info: ImageInfo, smallest: int = 4) -> int:
    """How often both sides can be halved to whole numbers of at least `smallest` pixels."""
    height, width, number = info.height, info.width, 0
    while height % 2 == width % 2 == 0 and min(height, width) // 2 >= smallest:
        height, width, number = height // 2, width // 2, number + 1
    return number


def states(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The state of networks and optimizers, by name."""
    return {name: part.state_dict() for name, part in parts.items()}


def load_states(parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Put back what `states` took."""
    for name, part in parts.items():
        part.load_state_dict(state[name])


def mixed_precision(device: str) -> AbstractContextManager[Any]:
    """Bfloat16 where a GPU makes it fast; float32, and so bit-equal runs, on a CPU."""
    import torch

    on_gpu = device.startswith("cuda")
    return torch.autocast("cuda" if on_gpu else "cpu", dtype=torch.bfloat16, enabled=on_gpu)
