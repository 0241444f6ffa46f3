"""Image bytes to pixels, with every irregularity that image folders hold."""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import InputError
from tasks.packs import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


def decode(data: bytes, where: str) -> Pixels:
    """Decode an image to H × W × C uint8: one channel for grey, three for everything else.

    EXIF rotation is applied, transparency is laid on white, 16 bits are scaled to 8.

    Raises InputError naming `where`, and what to do, for what is not a whole image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                return _eight_bits(upright)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = str(error)
        if isinstance(error, UnidentifiedImageError):
            # Its own text is the address of the buffer.
            why = "an unknown format" if data else "an empty file"
        raise InputError(
            f"{where}: not a readable image ({why}): mend or remove it, or say skip_bad: true"
        ) from error


def _eight_bits(image: "PILImage") -> Pixels:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        # Wider modes do not say how many bits they hold, so their values must.
        wide = image.mode.startswith("I;16") or values.max(initial=0) > 255
        scale = 255 / 65535 if wide else 1.0
        return np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)[..., None]
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        grey = image.mode in ("1", "L", "LA", "La")
        solid = image.convert("RGBA")
        white = Image.new("RGBA", solid.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, solid).convert("L" if grey else "RGB")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))
