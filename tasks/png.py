"""Images as PNG files in memory."""

import io

import numpy as np

from tasks.packs import Pixels


def png(pixels: Pixels) -> bytes:
    """An image, H × W × 1 or 3, as a PNG file."""
    from PIL import Image

    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain)).save(buffer, "PNG")
    return buffer.getvalue()
