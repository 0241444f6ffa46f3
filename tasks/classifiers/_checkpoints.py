"""Weights in files that anybody may have written: found, told apart by content, and read."""

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tasks.reading import FileFacts

PICKLES = (".pt", ".pth", ".bin")
"""Suffixes of what torch.save writes; other files are safetensors, unless they begin otherwise."""
PICKLED = (b"PK\x03\x04", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
"""How what torch.save writes begins: an archive, and before torch 1.6 a pickle."""
IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
"""The names that weights have in a folder, the preferred one first."""
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "weights")
"""Keys under which training scripts keep the tensors, the preferred one first."""
PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
BY_CONTENT = "sha256:"
"""How a setting begins that names local files by what they contain."""


def weights_file(path: Path) -> Path:
    """Find the one file that `path`, a file or a folder, stands for.

    Raises InputError where there is none.
    """
    if path.is_file():
        return path
    for name in IN_FOLDERS:
        if (path / name).is_file():
            return path / name
    if path.is_dir():
        raise InputError(f"train.model: {path} holds neither {' nor '.join(IN_FOLDERS)}")
    raise InputError(f"train.model: there are no weights at {path}")


def content_id(path: Path, facts: "FileFacts | None" = None) -> str:
    """Name a file by what it contains: `sha256:` and 64 hexadecimal digits.

    Args:
        facts: remembers hashes, so that a large file is read once.
    """
    from tasks.reading import file_sha256

    return BY_CONTENT + (facts(path, "sha256", file_sha256) if facts else file_sha256(path))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a weights file holds."""

    tensors: "dict[str, Tensor]"
    """On the CPU."""
    note: str | None
    """Augury's own text, in files that Augury wrote."""


def read(path: Path) -> Stored:
    """Read a safetensors file, or one of torch.save that holds tensors alone; nothing is executed.

    What a file is says its content; the suffix decides where that says nothing.

    Raises InputError, in one line that begins with the file's name, for any other file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror})") from error
    # The length of a header, which may well begin as a pickle does, and then the header.
    if start[8:] == b"{":
        return _read_safetensors(path)
    is_pickle = start.startswith(PICKLED) or path.suffix in PICKLES
    return _read_pickle(path) if is_pickle else _read_safetensors(path)


def _read_safetensors(path: Path) -> Stored:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(str(path), framework="pt") as file:
            note = (file.metadata() or {}).get("augury")
        return Stored(tensors=load_file(str(path)), note=note)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path.name}: not a readable safetensors file: it is damaged, cut short or another"
        ) from error


def _read_pickle(path: Path) -> Stored:
    import torch

    try:
        # torch reads deflated archives too, of which a small file can hold any amount.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                    raise InputError(f"{path.name}: is compressed, which torch.save never does")
        with warnings.catch_warnings():
            # Which pickles torch is used to helps nobody whose file is refused in a line.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            # Opened here, as torch takes the suffix of a path at its word.
            with path.open("rb") as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # bytes of a stranger fail in as many ways as there are bytes
        raise InputError(
            f"{path.name}: cannot be read as plain tensors: it is damaged, no file of torch.save, "
            "or holds Python objects, which are never run; save it as safetensors"
        ) from error
    note = content.get("augury") if isinstance(content, dict) else None
    return Stored(tensors=_tensors(path, content), note=note if isinstance(note, str) else None)


def _tensors(path: Path, content: Any) -> "dict[str, Tensor]":
    """The tensors by name, from under whatever a training script wraps around them."""
    import torch

    if isinstance(content, Mapping):
        inner = next((content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)), content)
        if inner and all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor)
            for name, tensor in inner.items()
        ):
            # A stride of 0 makes any size of one number; whoever copies it pays for all of it.
            if any(
                t.numel() * t.element_size() > t.untyped_storage().nbytes() for t in inner.values()
            ):
                raise InputError(f"{path.name}: a tensor is larger than what is stored of it")
            return _without_prefix(dict(inner))
    raise InputError(f"{path.name}: holds no tensors by name")


def _without_prefix(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def misfits(network: "nn.Module", tensors: "Mapping[str, Tensor]") -> list[str]:
    """Say of each tensor that is missing, unknown or of another shape that it is; [] is a fit."""
    wanted = network.state_dict()
    # Networks saved before torch 0.4.1 have no such counter, and none needs it.
    missing = [n for n in wanted if n not in tensors and not n.endswith("num_batches_tracked")]
    return [
        *(
            f"{name} is {_shape(tensors[name])}, not {_shape(wanted[name])}"
            for name in wanted
            if name in tensors and tensors[name].shape != wanted[name].shape
        ),
        *(f"{name} is missing" for name in missing),
        *(f"{name} is unknown" for name in tensors if name not in wanted),
    ]


def _shape(tensor: "Tensor") -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def refuse_misfits(found: Sequence[str], file: str, model: str, at_most: int = 3) -> None:
    """Raise InputError with the first of `found`, if there are any."""
    if found:
        more = f" and {len(found) - at_most} more" if len(found) > at_most else ""
        raise InputError(f"{file} does not fit {model} ({', '.join(found[:at_most])}{more})")
