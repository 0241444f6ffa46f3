"""An editor for tests: the negative of an image with a little noise, and a log of what was asked.

What `trouble` names is a file; the words in it decide what goes wrong, so that it can be mended.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from tasks.editing import About, Edit, Edited, Editor, Given
from tasks.errors import InputError
from tasks.specs import STRICT, Locator

VERSION = 1
ABOUT = About()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """How strong, and where it is logged."""

    strength: int = 10
    batch_size: int = 5
    pause_s: Locator[float] = 0.0
    """Before each image, so that there is something to interrupt."""
    log: Locator[str | None] = None
    trouble: Locator[str | None] = None


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where the trouble is `build`."""
    _log(config, f"build on {given.device}")
    if _trouble(config) == "build":
        raise InputError("negative: there is no checkpoint of that name")
    return Negative(config)


class Negative:
    """An `Editor`."""

    def __init__(self, config: Config) -> None:
        self.batch_size = config.batch_size
        self.stamp = {"dtype": "uint8"}
        self._config = config

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        """Raises InputError where the trouble is `stop`, and other errors by other words."""
        assert 0 < len(edits) <= self.batch_size
        trouble = _trouble(self._config)
        for edit in edits:
            if trouble == "fail":
                raise RuntimeError("the model gave no finite numbers")
            if trouble == "stop":
                raise InputError("negative: the account has no credit left")
            if trouble == "refuse" and "forbidden" in edit.prompt:
                yield Edited(id=edit.id, image=None, refusal="not safe")
                continue
            if trouble == "forget":
                continue
            time.sleep(self._config.pause_s)
            _log(self._config, f"edit {edit.id}")
            yield Edited(id=edit.id, image=self._image(edit), seconds=0.5)

    def _image(self, edit: Edit) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        noise = np.random.default_rng(edit.seed).integers(
            0, self._config.strength, edit.image.shape
        )
        made = np.clip(255 - edit.image.astype(int) + noise, 0, 255).astype(np.uint8)
        return made if edit.mask is None else np.where(edit.mask[..., None], made, edit.image)


def _log(config: Config, line: str) -> None:
    if config.log is not None:
        with Path(config.log).open("a") as file:
            file.write(f"{line}\n")


def _trouble(config: Config) -> str:
    path = Path(config.trouble or "/nowhere")
    return path.read_text() if path.exists() else ""
