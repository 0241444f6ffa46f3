"""What a single file holds: whole models as their authors published them, told by their names."""

import math
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import InputError

SAFETENSORS = ".safetensors"
MARKS = {
    "SDXL": ("conditioner.embedders.",),
    "SD": ("cond_stage_model.",),
    "FLUX": (
        *("double_blocks.", "model.diffusion_model.double_blocks."),
        "single_transformer_blocks.",
    ),
}
"""How the names of some weights begin, by what the file then holds."""


HELD_IN = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.", "text_encoders.clip_l."),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.t5xxl."),
    "transformer": (
        *("model.diffusion_model.", "double_blocks.", "single_blocks.", "final_layer."),
        *("img_in.", "txt_in.", "time_in.", "vector_in.", "guidance_in."),
        *("transformer_blocks.", "single_transformer_blocks.", "norm_out.", "proj_out."),
        *("x_embedder.", "context_embedder.", "time_text_embed."),
    ),
}
"""How the names of a part's weights begin in a file that holds the part."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a file holds."""

    family: str | None
    """`SD`, `SDXL` or `FLUX`; None for anything else."""
    numbers: Mapping[str, int]
    """In each weight, by its name."""

    def numbers_of(self, part: str) -> int:
        """In all weights of a part of the pipeline; 0 where the file does not hold it."""
        begins = HELD_IN.get(part, ())
        return sum(count for name, count in self.numbers.items() if name.startswith(begins))


def look(path: Path) -> Held:
    """See what a file holds, reading little of it.

    Raises InputError, in one line, for files that are damaged or hold Python objects.
    """
    numbers = _safetensors(path) if path.suffix == SAFETENSORS else _pickled(path)
    for family, marks in MARKS.items():
        if any(name.startswith(marks) for name in numbers):
            return Held(family=family, numbers=numbers)
    return Held(family=None, numbers=numbers)


def _safetensors(path: Path) -> dict[str, int]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            names = list(file.keys())
            return {name: math.prod(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path.name}: not a readable safetensors file: it is damaged, cut short or another"
        ) from error


def _pickled(path: Path) -> dict[str, int]:
    """Of what torch.save wrote; nothing in it is executed, here or when diffusers reads it."""
    import torch

    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                # torch reads deflated archives too, of which a small file can hold any amount.
                if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                    raise InputError(f"{path.name}: is compressed, which torch.save never does")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except InputError:
        raise
    except Exception as error:  # bytes of a stranger fail in as many ways as there are bytes
        raise InputError(
            f"{path.name}: cannot be read as plain tensors: it is damaged, no file of torch.save, "
            "or holds Python objects, which are never run; save it as safetensors"
        ) from error
    # As diffusers looks for it.
    while isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    named = content.items() if isinstance(content, Mapping) else ()
    return {str(name): each.numel() for name, each in named if isinstance(each, torch.Tensor)}
