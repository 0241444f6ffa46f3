"""The images of a folder that are to be edited, each looked at once."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.inputs import FileCache
from orchestrator.report.wording import counted
from orchestrator.single.places import some
from orchestrator.single.set_folders import SHEET
from orchestrator.single.set_recipes import read_recipe
from orchestrator.single.watching import Bar, Lines
from tasks.datasets._decode import decode
from tasks.datasets._files import SUFFIXES, images_below
from tasks.datasets._splits import SPLIT_NAMES
from tasks.errors import InputError
from tasks.reading import FileFacts, file_sha256
from tasks.specs import Progress

FLAG = "--input-dir"
CONTACT_SHEET = "contact_sheet.png"
UNREADABLE = "! "


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image before it is edited."""

    source: str
    """Path below the folder, with `/`."""
    sha256: str
    class_name: str
    """The top folder it lies in; empty where it lies in none."""
    height: int
    width: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a folder."""

    root: Path
    images: tuple[Image, ...]
    """Sorted by path."""
    skipped: tuple[str, ...]
    """Left out because they cannot be read."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the top folders; none where there are no such."""
        return tuple(sorted({each.class_name for each in self.images} - {""}))


def find_images(root: Path, skip_bad: bool, watcher: Bar | Lines) -> Images:
    """Look at every image below a folder; what was seen of a file is remembered while it stays.

    Raises InputError where there is none, and, unless `skip_bad`, for one that cannot be read.
    """
    if not os.path.isdir(root):
        raise InputError(f"{FLAG} {root}: there is no such folder")
    paths = _paths(root)
    if not paths:
        raise InputError(f"{FLAG} {root}: holds no image ({', '.join(sorted(SUFFIXES))})")
    _check_top(root, paths)
    found: list[Image] = []
    skipped: list[tuple[str, str]] = []
    with FileCache() as facts:
        for done, path in enumerate(paths, 1):
            source = path.relative_to(root).as_posix()
            if not _is_text(source):
                raise InputError(f"{FLAG}: the name of {source!r} is no text in UTF-8: rename it")
            shape = _shape(path, facts)
            if shape.startswith(UNREADABLE):
                skipped.append((source, shape.removeprefix(UNREADABLE)))
            else:
                found.append(_image(path, source, shape, facts))
            watcher.show("look at images", Progress(done=done, total=len(paths)), "images")
    if skipped and not skip_bad:
        source, why = skipped[0]
        more = f" (and {len(skipped) - 1:,} more)" if len(skipped) > 1 else ""
        raise InputError(
            f"{FLAG}: {str(root / source)!r} cannot be read ({why}){more}: mend or remove it, or "
            f"say --skip-bad"
        )
    if not found:
        raise InputError(f"{FLAG} {root}: none of {counted(len(paths), 'image')} can be read")
    return Images(
        root=root.absolute(), images=tuple(found), skipped=tuple(name for name, _ in skipped)
    )


def _paths(root: Path) -> Sequence[Path]:
    found = images_below(root)
    if read_recipe(root) is None:
        return found
    # A folder that was written here shows its images on a sheet, which is none of them.
    return [path for path in found if path not in (root / SHEET, root / CONTACT_SHEET)]


def _check_top(root: Path, paths: Sequence[Path]) -> None:
    """Splits are no classes, which is what top folders are taken for."""
    parts = [path.relative_to(root).parts for path in paths]
    top = sorted({each[0] if len(each) > 1 else "" for each in parts})
    if len(top) > 1 and set(top) <= set(SPLIT_NAMES):
        raise InputError(
            f"{FLAG} {root}: {some(top)} in it are splits and no classes: name one of them, as "
            f"{FLAG} {root / top[0]}"
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _image(path: Path, source: str, shape: str, facts: FileFacts) -> Image:
    folder, sign, _ = source.partition("/")
    height, width, channels = map(int, shape.split())
    return Image(
        source=source,
        sha256=facts(path, "sha256", file_sha256),
        class_name=folder if sign else "",
        height=height,
        width=width,
        channels=channels,
    )


def _shape(path: Path, facts: FileFacts) -> str:
    try:
        return facts(path, "height, width and channels", _measured)
    except OSError as error:
        return f"{UNREADABLE}{error.strerror}"


def _measured(path: Path) -> str:
    try:
        shape = decode(path.read_bytes(), "").shape
    except InputError as error:
        why = str(error).partition("not a readable image (")[2].partition("): mend")[0]
        return f"{UNREADABLE}{why}"
    return " ".join(map(str, shape))
