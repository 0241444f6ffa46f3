"""The true classes of images: from a `labels.json`, or from the class folders they lie in."""

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.single.documents import read_json
from orchestrator.single.editing_sources import CONTACT_SHEET
from orchestrator.single.places import some
from orchestrator.single.set_folders import SHEET
from orchestrator.single.set_recipes import read_recipe
from tasks.datasets._files import SUFFIXES, images_below
from tasks.datasets._label_files import label_file
from tasks.errors import InputError

Labels = Mapping[str, str]
"""Relative path of an image, with `/`, to the name of its class."""


def images_of(flag: str, folder: Path) -> dict[str, Path]:
    """Every image below a folder, by relative path, sorted.

    Raises InputError naming `flag` where there is none.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{flag} {folder}: there is no such folder")
    found = {path.relative_to(folder).as_posix(): path for path in images_below(folder)}
    if read_recipe(folder) is not None:
        # They show images of the set, and are none of them.
        for sheet in (SHEET, CONTACT_SHEET):
            found.pop(sheet, None)
    if not found:
        raise InputError(f"{flag} {folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def labels_of(flag: str, path: Path) -> Labels:
    """Read labels from a file, or from a folder: its `labels.json`, else its class folders.

    Raises InputError naming `flag` for what says no label, or two.
    """
    if not os.path.isdir(path):
        return _from_file(flag, path)
    images = images_of(flag, path)
    stated = label_file(path)
    if stated is not None:
        return _from_file(flag, stated)
    loose = [name for name in images if "/" not in name]
    if loose:
        raise InputError(
            f"{flag} {path}: {len(loose)} images lie in no class folder: {some(loose)}; put them "
            f'in one, or add a labels.json: {{"{loose[0]}": "class", ...}}'
        )
    return {name: name.partition("/")[0] for name in images}


def _from_file(flag: str, path: Path) -> Labels:
    found = read_json(flag, path)
    if not isinstance(found, dict):
        raise InputError(f'{flag} {path}: a mapping was expected, such as {{"1.png": "cat"}}')
    for name, label in found.items():
        if not isinstance(label, str):
            raise InputError(f"{flag} {path}: the class of {name!r} is {label!r}, and no text")
    if not found:
        raise InputError(f"{flag} {path}: holds no label")
    return found
