"""Which images an image was made from, as its own file says: whatever is renamed or moved.

An edit's PNG file holds the sha256 of its source's file and of the source's pixels, and those that
the source named in turn.
"""

import hashlib
import io

import numpy as np

from tasks.packs import Pixels

KEY = "augury-origins"
"""Of the text in a PNG file."""
HEAD_BYTES = 65536
"""Of a file, in which the text begins: it stands before the pixels."""


def read_origins(data: bytes) -> tuple[str, ...]:
    """The hashes that an image's file names; none where it is no edit, or no PNG any more."""
    if KEY.encode() not in data[:HEAD_BYTES]:
        return ()
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            text = image.info.get(KEY, "")
    except (OSError, ValueError, SyntaxError):
        return ()
    return tuple(text.split()) if isinstance(text, str) else ()


def pixels_sha256(pixels: Pixels) -> str:
    """As readers of arrays name their images."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def origins_of(sha256: str, pixels: Pixels, named: tuple[str, ...]) -> tuple[str, ...]:
    """What an edit of an image names, sorted.

    Args:
        sha256: of the image, as its reader has it.
        named: what the image itself names, where it is an edit.
    """
    return tuple(sorted({sha256, pixels_sha256(pixels), *named}))
