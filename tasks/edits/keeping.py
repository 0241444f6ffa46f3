"""Keeps what a process has loaded last, so that a worker loads a model once for all its steps."""

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tasks import plugins
from tasks.caches import cache_dir
from tasks.editing import About, Editor, Given
from tasks.edits.answers import FolderAnswers
from tasks.edits.augmenting import Augmented, Augmenting
from tasks.edits.masks import Masks, open_masks
from tasks.errors import InputError
from tasks.generation import ImageInfo
from tasks.reading import file_sha256
from tasks.specs import Plugin

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A generator that an editor is."""

    folder: Path
    """Of its fit."""
    info: ImageInfo
    """Of the images it was fitted on."""


def folder_of(file: Path, sha256: str) -> Path:
    """A folder that looks as the fit did whose weights are in a file.

    Raises InputError where the file is not there, or is another.
    """
    folder = cache_dir() / "generators" / sha256
    weights = folder / "weights.safetensors"
    try:
        if not weights.exists():
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f".{uuid.uuid4().hex}"
            shutil.copyfile(file, aside)
            aside.replace(weights)
        if file_sha256(weights) == sha256:
            return folder
        weights.unlink()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    raise InputError(f"{file}: was changed since this was planned; run this again")


class _Last(Generic[T]):
    """The value that was made last, with what it was made of."""

    def __init__(self) -> None:
        self._made: tuple[Any, T] | None = None

    def get(self, of: Any, make: Callable[[], T]) -> T:
        if self._made is None or self._made[0] != of:
            # Before the next one is made: two models may not fit on one device.
            self._made = None
            self._made = (of, make())
        return self._made[1]

    def forget(self) -> None:
        self._made = None


_EDITOR: _Last[Editor] = _Last()
_MASKS: _Last[Masks] = _Last()


def forget() -> None:
    """Keep nothing: what is loaded next is loaded anew."""
    _EDITOR.forget()
    _MASKS.forget()


def about(chosen: Plugin) -> About:
    """What must be known of an editor, or of an augmentation in its place."""
    if isinstance(chosen.config, Augmented):
        return About(prompt=False, mask="refused")
    found: About = plugins.module("editors", chosen.name).ABOUT
    return found


def editor_of(
    chosen: Plugin, device: str, fitted: Fitted | None = None, answers: Path | None = None
) -> Editor:
    """The editor, loaded unless it is the one that this process had last.

    Args:
        answers: the folder where a service's answers are kept.

    Raises InputError where it cannot be had.
    """

    def make() -> Editor:
        if isinstance(chosen.config, Augmented):
            return Augmenting(chosen=chosen)
        given = Given(
            device=device,
            fitted=None if fitted is None else fitted.folder,
            info=None if fitted is None else fitted.info,
            answers=None if answers is None else FolderAnswers(answers),
        )
        made: Editor = plugins.build("editors", chosen, given)
        return made

    return _EDITOR.get((chosen, device, fitted, answers), make)


def masks_of(config: Any, classes: tuple[str, ...], device: str) -> Masks:
    """The masks, with the model that sees them, unless this process had them last.

    Raises InputError for files that are not there or cannot be used.
    """
    return _MASKS.get(
        (config, classes, device), lambda: open_masks(config, classes, _Facts(), device)
    )


class _Facts:
    """Facts of files, each found once by this process while size and time of change stay."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, str, int, int], str] = {}

    def __call__(self, path: Path, what: str, compute: Callable[[Path], str]) -> str:
        status = path.stat()
        key = (path, what, status.st_size, status.st_mtime_ns)
        if key not in self._found:
            self._found[key] = compute(path)
        return self._found[key]
