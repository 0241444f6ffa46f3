"""Reads the pickles that CIFAR is published in, and nothing else that a pickle could be.

A pickle is a program. This one may build numbers, text, lists and mappings, and say what is in an
array of bytes; whatever it names beside that is refused before it is looked up. NumPy itself is not
called either: its own way to restore an array trusts what the pickle says of memory.
"""

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import InputError


def load_batch(data: bytes, where: str) -> dict[str, Any]:
    """Unpickle a mapping, with the `Bytes` of arrays in place of arrays.

    Raises InputError naming `where` for anything that CIFAR's files do not need.
    """
    try:
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except Exception as error:
        # What a damaged or hostile program can raise is without bounds.
        raise InputError(f"{where}: is damaged ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: holds no mapping of data and labels: it is no CIFAR batch")
    # Python 2 wrote the published files: their text comes as bytes.
    return {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in found.items()}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct":
                return _reconstruct
            case "numpy", "ndarray":
                return None
            case "numpy", "dtype":
                return _Kind
            case "_codecs", "encode":
                return _encode
        raise InputError(
            f"asks for {module}.{name}, which no CIFAR batch needs: nothing of it was run; fetch "
            f"the file again"
        )


def _reconstruct(*_: Any) -> "Bytes":
    return Bytes()


def _encode(text: str, codec: str) -> bytes:
    """How Python 3 writes bytes where Python 2 shall read them."""
    if codec != "latin1":
        raise InputError(f"asks for the codec {codec!r}, which no CIFAR batch needs")
    return text.encode(codec)


class _Kind:
    """Stands in for numpy.dtype."""

    __slots__ = ("code",)

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code

    def __setstate__(self, _: Any) -> None:
        """Byte order and the like: one byte has none."""


class Bytes:
    """Stands in for numpy.ndarray: what a pickle says of an array of bytes."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def array(self, width: int, where: str) -> npt.NDArray[np.uint8]:
        """The N × `width` bytes.

        Raises InputError naming `where` where it is something else.
        """
        match self._state:
            case (_, (int(rows), int(columns)), _Kind(code="u1" | "uint8"), False, bytes(data)):
                if columns == width and rows >= 0 and len(data) == rows * columns:
                    return np.frombuffer(data, np.uint8).reshape(rows, columns)
        raise InputError(f"{where}: its data is no array of N × {width} bytes")
