"""The real images that a command line names: a folder of class folders, or a dataset by name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.graph import Steps
from orchestrator.inputs import identify
from orchestrator.overlay import overlaid
from orchestrator.parsing import parse_dataset
from orchestrator.real import count, pack_of
from orchestrator.settings import Dataset, SubsetSettings
from tasks.counting import exact, rounded, share
from tasks.errors import InputError
from tasks.specs import Counts, DatasetInfo, ImagesSpec, Plugin

FOLDER = "image_folder"
USUAL_FOLDER = Path("data/real")

FLAGS = {
    "name": "--dataset",
    "root": "--root",
    "size": "--size",
    "test": "--test-dir",
    "skip_bad": "--skip-bad",
}
"""Settings of a dataset, and the flag that says the same."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What was said of the real images."""

    data_dir: Path | None = None
    dataset: str | None = None
    root: str | None = None
    test_dir: Path | None = None
    size: int | None = None
    skip_bad: bool = False
    overrides: tuple[str, ...] = ()
    """`key=value` of further settings of the dataset, as in a study."""

    @property
    def is_folder(self) -> bool:
        return self.dataset is None

    @property
    def said(self) -> tuple[str, ...]:
        """The flags that were given."""
        given = {
            "--data-dir": self.data_dir,
            "--dataset": self.dataset,
            "--root": self.root,
            "--test-dir": self.test_dir,
            "--size": self.size,
            "--skip-bad": self.skip_bad or None,
            "--set dataset": self.overrides or None,
        }
        return tuple(flag for flag, value in given.items() if value is not None)

    @property
    def flag(self) -> str:
        """The flag with its value."""
        if self.is_folder:
            return f"--data-dir {self.data_dir or USUAL_FOLDER}"
        return f"--dataset {self.dataset}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The real images of a command, looked at."""

    named: Named
    dataset: Dataset
    info: DatasetInfo

    @property
    def whole(self) -> str:
        """The split of what a user calls all of it: a folder that nobody divided has one part."""
        return "all" if self.named.is_folder and self.info.undivided else "train"


def find(named: Named) -> Source:
    """Look at the images.

    Raises InputError naming the flag, for what is missing or cannot be used.
    """
    dataset = _dataset(named)
    try:
        info = identify([dataset.reader], fetch=True)[dataset.reader]
    except InputError as error:
        raise _located(error, named, dataset.reader) from error
    return Source(named=named, dataset=dataset, info=info)


def _dataset(named: Named) -> Dataset:
    if named.dataset is not None and named.data_dir is not None:
        raise InputError("--data-dir and --dataset both say which images: keep one")
    if named.root is not None and named.is_folder:
        raise InputError("--root: is where the files of --dataset NAME are; say --data-dir DIR")
    if named.test_dir is not None and not named.is_folder:
        raise InputError(
            f"--test-dir: --dataset {named.dataset} has test images of its own; leave it out"
        )
    root = str(named.data_dir or USUAL_FOLDER) if named.is_folder else named.root
    given: dict[str, Any] = {
        "name": FOLDER if named.dataset is None else named.dataset,
        "root": root,
        "test": None if named.test_dir is None else str(named.test_dir),
        "size": named.size,
        "skip_bad": named.skip_bad or None,
    }
    said = {key: value for key, value in given.items() if value is not None}
    for text in named.overrides:
        if (key := text.partition("=")[0].strip()) in said:
            flag = "--data-dir" if named.is_folder and key in ("name", "root") else FLAGS[key]
            raise InputError(f"--set 'dataset.{text}': {flag} says it already: keep one of the two")
    try:
        return parse_dataset(overlaid(said, named.overrides, False))
    except InputError as error:
        raise flagged(error, named) from error


def flagged(error: InputError, named: Named) -> InputError:
    """The same complaint about settings of a dataset, with what to type."""
    text = str(error)
    if re.match(r"dataset\.root: is missing", text):
        return InputError(f"{named.flag}: say where it is: --root DIR")
    if missing := re.match(r"dataset\.(\w+): is missing", text):
        key = missing[1]
        return InputError(f"{named.flag}: say --set dataset.{key}={key.upper()}")
    for key, flag in FLAGS.items():
        if text.startswith(f"dataset.{key}: unknown key"):
            return InputError(f"{flag}: {named.dataset} has no such setting: leave it out")
        text = re.sub(rf"^dataset\.{key}: ", f"{flag}: ", text)
    text = re.sub(r"^dataset(\.\w+)", r"--set dataset\1", text)
    return InputError(re.sub(r"^dataset: ", "--set dataset: ", text))


def _located(error: InputError, named: Named, reader: Plugin) -> InputError:
    """A complaint about files, with the flag that names them."""
    if not named.is_folder:
        flag = "" if str(error).startswith(f"{named.dataset}: ") else f"{named.dataset}: "
        return InputError(f"--dataset {flag}{bare(error)}")
    flag, error = blamed(reader, error)
    more = "" if named.data_dir is not None else "; say --data-dir DIR or --dataset NAME"
    return InputError(f"{flag}: {bare(error)}{more if flag == '--data-dir' else ''}")


def bare(error: InputError) -> str:
    """A complaint about class folders, with what to type here."""
    text = str(error).removeprefix(f"{FOLDER}: ")
    return text.replace("say skip_bad: true", "say --skip-bad")


def blamed(reader: Plugin, error: InputError) -> tuple[str, InputError]:
    """The flag that named the folder which cannot be used, and what is wrong with it."""
    if reader.config.test is not None:
        try:
            identify([replace(reader, config=replace(reader.config, test=None))], fetch=True)
        except InputError as other:
            return "--data-dir", other
        return "--test-dir", error
    return "--data-dir", error


def plan_images(
    dataset: Dataset,
    split: str,
    wanted: SubsetSettings,
    val_fraction: float | None,
    steps: Steps,
) -> tuple[ImagesSpec, Counts]:
    """Plan the pack of a split, and count its validation and training images, as a study does.

    Args:
        val_fraction: of the images, held out for validation; None holds none out. Of no effect
            where the dataset has validation images apart.

    Returns the images, and how many of each class validation leaves.
    """
    info = steps.infos[dataset.reader]
    pool = info.splits[split].counts
    pack, validation_pack = pack_of(dataset, info, split, steps), None
    if "val" in info.splits:
        validation_pack = pack_of(dataset, info, "val", steps)
        validation = info.splits["val"].counts
    else:
        validation = tuple(0 for _ in pool)
        if val_fraction is not None:
            validation = _validation(pool, val_fraction)
        pool = tuple(all_ - out for all_, out in zip(pool, validation, strict=True))
    images = ImagesSpec(
        pack=pack,
        split_seed=dataset.split.split_seed,
        validation=validation,
        training=count(pool, wanted),
        validation_pack=validation_pack,
    )
    return images, pool


def _validation(pool: Counts, fraction: float) -> Counts:
    number = rounded(exact(fraction) * sum(pool))
    if not 0 < number < sum(pool):
        less = "validation" if not number else "training"
        raise InputError(
            f"--val-fraction {fraction}: of {sum(pool)} images leaves none for {less}; "
            f"add images, or say another fraction"
        )
    return share(number, pool)


def section(overrides: Sequence[str], name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part `name.key=value` from the others: those of the section, without its name, and the rest.

    `name={...}` sets a whole section and is none of either.

    Raises InputError for it.
    """
    own = []
    for text in overrides:
        path = text.partition("=")[0].strip()
        if path == name:
            raise InputError(f"--set {text!r}: say one setting of it, as in {name}.key=value")
        if path.startswith(f"{name}."):
            own.append(text.strip().removeprefix(f"{name}."))
    return tuple(own), tuple(t for t in overrides if not t.strip().startswith(f"{name}."))
