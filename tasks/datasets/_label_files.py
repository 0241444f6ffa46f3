"""A folder of images without class folders, and a `labels.json` that says what each one shows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.datasets._files import File, images_below
from tasks.datasets._paths import inside
from tasks.errors import InputError

NAME = "labels.json"


def label_file(folder: Path) -> Path | None:
    """The labels of a folder: in it, or beside it where it holds no other folders."""
    if (folder / NAME).is_file():
        return folder / NAME
    divided = any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
    beside = folder.parent / NAME
    return beside if beside.is_file() and not divided else None


def labelled_files(name: str, folder: Path, labels: Path, classes: Sequence[str]) -> list[File]:
    """The images of `folder`, at any depth, with the labels of `{relative path: class name}`.

    Args:
        name: of the dataset, for messages.

    Raises InputError for images without a label, labels without an image and unknown classes.
    """
    where = f"{name}: {str(labels)!r}"
    stated: dict[Path, str] = {}
    for key, label in _pairs(where, labels):
        path = inside(folder, key, where)
        if path in stated:
            raise InputError(f"{where} names {key!r} twice: keep one")
        stated[path] = label
    images = images_below(folder)
    _none(
        f"{where}: these are none of the classes {', '.join(classes[:12])}",
        sorted({label for label in stated.values() if label not in classes}),
    )
    _none(
        f"{where}: has no label for",
        [path.relative_to(folder).as_posix() for path in images if path not in stated],
    )
    _none(
        f"{where}: has labels for what is no image in {str(folder)!r}",
        [path.relative_to(folder).as_posix() for path in sorted(set(stated) - set(images))],
    )
    number = {each: index for index, each in enumerate(classes)}
    return [
        File(label=number[stated[path]], source=path.relative_to(folder).as_posix(), path=path)
        for path in images
    ]


def _pairs(where: str, labels: Path) -> list[tuple[str, str]]:
    try:
        # As pairs, because a mapping would hide a path that stands there twice.
        pairs: Any = json.loads(labels.read_text(encoding="utf-8"), object_pairs_hook=list)
    except ValueError as error:
        raise InputError(f"{where} is no JSON ({error})") from error
    if not isinstance(pairs, list) or not all(
        isinstance(pair, tuple) and isinstance(pair[1], str) for pair in pairs
    ):
        raise InputError(f"{where}: one mapping of relative path to class name would do")
    return pairs


def _none(what: str, wrong: Sequence[str]) -> None:
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{what}: {', '.join(map(repr, wrong[:3]))}{more}")
