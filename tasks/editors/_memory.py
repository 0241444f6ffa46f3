"""Where the networks of a pipeline lie and compute, by what the device has."""

import importlib.util
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from tasks.editors._settings import Dtype
from tasks.errors import InputError

if TYPE_CHECKING:
    import torch

Placement = Literal["whole", "by model", "by layer"]
"""All networks on the GPU; each while it works; each layer while it works (slow)."""

WORKING_BYTES = 2 * 2**30
"""Left free beside weights, for one image on its way through the largest network."""
LIVE_TENSORS = 14
"""Of a decoder's first width at full resolution, at its peak: about 4 GB for 1024² in 16 bits."""
EDIT_BYTES_PER_PIXEL = 4096
"""Of one image on its way through, guidance included: 1 GB for 512², from which the search for a
batch size starts."""
MOST_AT_ONCE = 16


def resolved_dtype(asked: Dtype, device: "torch.device") -> "torch.dtype":
    """What to compute in.

    Raises InputError for float16 on a CPU, which knows it in part.
    """
    import torch

    if asked != "auto":
        if asked == "float16" and device.type == "cpu":
            raise InputError("dtype: float16 needs a GPU: use auto, float32 or bfloat16")
        found: torch.dtype = getattr(torch, asked)
        return found
    if device.type != "cuda":
        return torch.float32
    wide = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if wide else torch.float16


def placement(part_bytes: Mapping[str, int], free_bytes: int) -> Placement:
    """Choose by the weights of each part, and what the GPU has free before any is on it."""
    if sum(part_bytes.values()) + WORKING_BYTES <= free_bytes:
        return "whole"
    if max(part_bytes.values(), default=0) + WORKING_BYTES <= free_bytes:
        return "by model"
    return "by layer"


def decode_bytes(width: int, pixels: int, item_bytes: int) -> int:
    """What decoding an image takes at its peak.

    Args:
        width: channels of the decoder at full resolution.
    """
    return LIVE_TENSORS * width * pixels * item_bytes


def first_batch_size(free_bytes: int | None, pixels: int) -> int:
    """How many images to try at once.

    Args:
        free_bytes: on the GPU, weights aside; None on a CPU.
        pixels: of the model's image.
    """
    if free_bytes is None:
        # More images only leave a CPU's caches: two at once were slower by a tenth, four too.
        return 1
    size = 1
    while size < MOST_AT_ONCE and 2 * size * EDIT_BYTES_PER_PIXEL * pixels <= free_bytes:
        size *= 2
    return size


def place(pipelines: Iterable[Any], device: "torch.device", pixels: int) -> tuple[str, int | None]:
    """Put pipelines on a device, and set how their decoders work there.

    Returns how, for records, and what the GPU has free after it (None on a CPU).

    Raises InputError where a GPU is too small and `accelerate`, which would help, is not there.
    """
    import torch

    given = list(pipelines)
    for pipeline in given:
        _lay_out(pipeline)
    if device.type != "cuda":
        return "whole", None
    part_bytes = {
        f"{number} {name}": weight_bytes(part)
        for number, pipeline in enumerate(given)
        for name, part in networks(pipeline)
    }
    free = torch.cuda.mem_get_info(device)[0]
    chosen = placement(part_bytes, free)
    if chosen != "whole" and importlib.util.find_spec("accelerate") is None:
        raise InputError(
            f"the checkpoint takes {sum(part_bytes.values()) / 2**30:.1f} GiB, the GPU has "
            f"{free / 2**30:.1f} GiB free: install accelerate, which keeps parts in memory, or use "
            "a larger GPU"
        )
    held = {
        "whole": sum(part_bytes.values()),
        "by model": max(part_bytes.values()),
        "by layer": 0,
    }[chosen]
    left = max(0, free - held)
    tiled = False
    for pipeline in given:
        tiled |= _decode_within(pipeline, left, pixels)
        if chosen == "whole":
            pipeline.to(device)
        elif chosen == "by model":
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline.enable_sequential_cpu_offload(device=device)
    return f"{chosen}{', decoded in tiles' if tiled else ''}", left


def networks(pipeline: Any) -> list[tuple[str, Any]]:
    """The parts of a pipeline that have weights."""
    return [
        (name, part) for name, part in pipeline.components.items() if hasattr(part, "state_dict")
    ]


def weight_bytes(part: Any) -> int:
    """Of a network's weights and buffers."""
    return sum(each.numel() * each.element_size() for each in part.state_dict().values())


def _lay_out(pipeline: Any) -> None:
    """Convolutions are faster with channels last."""
    import torch

    for name, part in networks(pipeline):
        if name in ("unet", "movq") or (name == "vae" and "Qwen" not in type(part).__name__):
            part.to(memory_format=torch.channels_last)


def _decode_within(pipeline: Any, free_bytes: int, pixels: int) -> bool:
    """Decode image by image, and each in tiles where it would not go whole. Says whether tiled."""
    vae = getattr(pipeline, "vae", None)
    if vae is None:
        return False
    widths = getattr(vae.config, "block_out_channels", None)
    width = widths[0] if widths else getattr(vae.config, "base_dim", 128)
    if hasattr(vae, "enable_slicing"):
        vae.enable_slicing()
    tiled = decode_bytes(width, pixels, vae.dtype.itemsize) > free_bytes
    if tiled and hasattr(vae, "enable_tiling"):
        vae.enable_tiling()
    return tiled and hasattr(vae, "enable_tiling")
