"""Shards: Parquet files that hold the images of a set as PNG."""

import io
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tasks.packs import Pixels

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_FILE = "shard.parquet"


def png(pixels: Pixels, texts: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """An image, H × W × 1 or 3, as a PNG file.

    Args:
        texts: what the file says beside its pixels, by key.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    for key, text in texts.items():
        said.add_text(key, text)
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain)).save(buffer, "PNG", pnginfo=said)
    return buffer.getvalue()


def image_type() -> "pa.DataType":
    """How an image stands in a row."""
    import pyarrow as pa

    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def labelled(
    classes: tuple[str, ...], integers: Sequence[str], texts: Sequence[str]
) -> "pa.Schema":
    """Hugging Face's image schema: `datasets` reads the file as images with class names.

    Args:
        integers: columns after image and label.
        texts: columns after those.
    """
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        **{name: {"dtype": "int64", "_type": "Value"} for name in integers},
        **{name: {"dtype": "string", "_type": "Value"} for name in texts},
    }
    columns = [
        ("image", image_type()),
        *((name, pa.int64()) for name in ("label", *integers)),
        *((name, pa.string()) for name in texts),
    ]
    return pa.schema(columns, {"huggingface": json.dumps({"info": {"features": features}})})
