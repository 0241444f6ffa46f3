"""Which columns of a table hold the images, the labels and the splits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

Features = Mapping[str, Any]
"""What the `datasets` library says of each column: `{"_type": "ClassLabel", "names": [...]}`."""

IMAGE_NAMES = ("image", "img", "path", "file_name", "file")
LABEL_NAMES = ("label", "labels", "class", "target")
"""Looked for, in this order, where a table does not say what its columns are."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns, and what the table says of its classes."""

    image: str
    """Of bytes, of `{bytes, path}`, or of paths."""
    label: str
    """Of integers or of text."""
    split: str | None = None
    names: tuple[str, ...] | None = None
    """Class names in label order, where they are stated."""


def find_columns(
    where: str,
    schema: "pa.Schema",
    features: Features,
    *,
    image: str | None,
    label: str | None,
    split: str | None,
) -> Columns:
    """Choose columns: those named by the user, else by the features, else by type and name.

    Args:
        where: the dataset or file, for messages.

    Raises InputError, with the columns there are, where one cannot be told.
    """
    for name in (image, label, split):
        if name is not None and name not in schema.names:
            raise InputError(f"{where}: has no column {name!r}; {nearest(name, schema.names)}")
    features = {name: features[name] for name in features if name in schema.names}
    image = image or _only(_of_type(features, "Image")) or _image(schema)
    label = label or _only(_of_type(features, "ClassLabel")) or _named(schema, LABEL_NAMES)
    for what, found in (("image", image), ("label", label)):
        if found is None:
            raise InputError(
                f"{where}: cannot tell which column holds the {what}s: say `{what}: NAME`, one of "
                f"{', '.join(schema.names)}"
            )
    assert image is not None
    assert label is not None
    _check_types(where, schema, image, label)
    return Columns(image=image, label=label, split=split, names=_class_names(features.get(label)))


def stated_features(schema: "pa.Schema") -> Features:
    """What the `datasets` library wrote into a Parquet file's metadata, if it wrote the file."""
    try:
        stated = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return stated if isinstance(stated, dict) else {}


def _of_type(features: Features, kind: str) -> list[str]:
    return [
        name
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == kind
    ]


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _named(schema: "pa.Schema", wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in schema.names), None)


def _image(schema: "pa.Schema") -> str | None:
    return _only([f.name for f in schema if _holds_bytes(f.type)]) or _named(schema, IMAGE_NAMES)


def _holds_bytes(kind: "pa.DataType") -> bool:
    import pyarrow.types as t

    if t.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(t.is_binary(kind) or t.is_large_binary(kind))


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow.types as t

    if t.is_dictionary(kind):
        kind = kind.value_type
    return bool(t.is_string(kind) or t.is_large_string(kind))


def _check_types(where: str, schema: "pa.Schema", image: str, label: str) -> None:
    import pyarrow.types as t

    kind = schema.field(image).type
    if not (_holds_bytes(kind) or _is_text(kind)):
        raise InputError(
            f"{where}: column {image!r} holds {kind}; bytes, a struct of bytes and path, or paths "
            f"would do for images"
        )
    kind = schema.field(label).type
    if not (t.is_integer(kind) or _is_text(kind)):
        raise InputError(
            f"{where}: column {label!r} holds {kind}; integers or text would do for labels"
        )


def _class_names(feature: Any) -> tuple[str, ...] | None:
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None
