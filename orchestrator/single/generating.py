"""Plans what `augury generate` makes: how many images of which classes, with which settings."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import yaml12
from orchestrator.overlay import overlaid
from orchestrator.parsing import parse_filters
from orchestrator.settings import GeneratedSet, SetSettings
from orchestrator.single.fitting import settings_flag
from orchestrator.single.generator_files import GeneratorFile, load_generator
from orchestrator.single.measuring import extractor_of
from orchestrator.single.places import some
from orchestrator.single.set_recipes import Recipe
from orchestrator.validating import validated
from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.generation import needs_sources
from tasks.reading import file_sha256
from tasks.specs import Counts, Plugin, canonical

MOST_IMAGES = 10_000_000
REFILLING = ("refill", "max_draws")
"""Settings of a set, and not of its sampling, that `--set` may say too."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A set of images, not made yet."""

    file: GeneratorFile
    sampling: Any
    counts: Counts
    seed: int
    filters: tuple[Plugin, ...]
    refilling: SetSettings
    """Whether images are drawn in place of those that filters drop, and how many at most."""
    extractor: Plugin | None
    """What filters see images by; None where there are none."""
    left_out: tuple[str, ...]
    """Classes that the generator was shown no image of."""

    @property
    def asks_for_data(self) -> str:
        """Why the real images are needed; empty where they are not."""
        if needs_sources(self.sampling):
            return "--set mode=reconstruct"
        return f"--filter {self.filters[0].name}" if self.filters else ""

    def as_set(self) -> GeneratedSet:
        """As a study has it."""
        return GeneratedSet(
            generator=self.file.chosen,
            sampling=self.sampling,
            settings=self.refilling,
            filters=self.filters,
        )

    def recipe(self, device: str) -> Recipe:
        """What tells a folder of these images from others."""
        note = self.file.note
        return Recipe(
            generator=note.generator,
            model=f"sha256:{file_sha256(self.file.path)}",
            settings=canonical(self.sampling),
            seed=self.seed,
            images=dict(zip(note.classes, self.counts, strict=True)),
            fitted_on=canonical(note.images),
            filters=[canonical(each) for each in self.filters],
            refilling=refilling_of(self.refilling) if self.filters else None,
            extractor=None if self.extractor is None else canonical(self.extractor),
            device=device.partition(":")[0],
        )


def model_file(given: str) -> GeneratorFile:
    """The model file that `--generator` names.

    Raises InputError where it names none.
    """
    # `os.path`, as a name that is too long is an error to methods of `Path`.
    if os.path.isfile(given):
        return load_generator(Path(given))
    if given in plugins.names("generators"):
        raise InputError(
            f"--generator {given}: has to be fitted first: augury fit --generator {given} --out "
            f"{given}.safetensors"
        )
    what = "is a folder" if os.path.isdir(given) else "there is no such file"
    raise InputError(f"--generator {given}: {what}; give what `augury fit` wrote")


def wanted_of(
    file: GeneratorFile,
    per_class: int,
    classes: Sequence[str],
    seed: int,
    overrides: Sequence[str],
    batch_size: int | None,
    filters: Sequence[str],
    extractor: str | None,
) -> Wanted:
    """Check what was said.

    Raises InputError naming the flag.
    """
    found = filters_of(filters)
    if extractor is not None and not found:
        raise InputError("--extractor: is for --filter; leave it out")
    counts, left_out = _counts(file, per_class, classes)
    of_sampling = [text for text in overrides if _key(text) not in REFILLING]
    of_filters = [text for text in overrides if _key(text) in REFILLING]
    if of_filters and not found:
        raise InputError(f"--set {_key(of_filters[0])}: is for --filter; leave it out")
    return Wanted(
        file=file,
        sampling=_sampling(file.chosen, of_sampling, batch_size),
        counts=counts,
        seed=seed,
        filters=found,
        refilling=_refilling(of_filters),
        extractor=extractor_of(extractor or "classifier", ()) if found else None,
        left_out=left_out,
    )


def _counts(
    file: GeneratorFile, per_class: int, classes: Sequence[str]
) -> tuple[Counts, tuple[str, ...]]:
    known = file.note.classes
    for name in classes:
        if name not in known:
            raise InputError(f"--class: unknown class {name!r}; {nearest(name, known)}")
    shown = dict(zip(known, file.note.images.training, strict=True))
    unseen = tuple(name for name in known if not shown[name])
    for name in classes:
        if name in unseen:
            raise InputError(
                f"--class {name!r}: the generator was fitted on no image of it; leave it out"
            )
    chosen = {name for name in classes or known if shown[name]}
    counts = tuple(per_class if name in chosen else 0 for name in known)
    if sum(counts) > MOST_IMAGES:
        raise InputError(
            f"--per-class {per_class}: {sum(counts):,} images are more than {MOST_IMAGES:,}"
        )
    return counts, () if classes else unseen


def _sampling(chosen: Plugin, overrides: Sequence[str], batch_size: int | None) -> Any:
    module = plugins.module("generators", chosen.name)
    values = overlaid({}, tuple(overrides), False)
    if batch_size is not None:
        if "batch_size" in values:
            raise InputError("--set batch_size: --batch-size says it already: keep one of the two")
        values["batch_size"] = batch_size
    try:
        sampling = validated(module.Sampling, values, "sampling")
        module.check(chosen.config, sampling)
    except InputError as error:
        raise InputError(settings_flag(str(error), "sampling", "--set")) from error
    except ValueError as error:
        raise InputError(f"--set: {error}") from error
    return sampling


def _key(text: str) -> str:
    return text.partition("=")[0].strip()


def _refilling(overrides: Sequence[str]) -> SetSettings:
    try:
        found: SetSettings = validated(SetSettings, overlaid({}, tuple(overrides), False), "set")
    except InputError as error:
        raise InputError(settings_flag(str(error), "set", "--set")) from error
    return found


def refilling_of(settings: SetSettings) -> dict[str, Any]:
    """What a recipe says of it."""
    return {name: getattr(settings, name) for name in REFILLING}


def filters_of(given: Sequence[str]) -> tuple[Plugin, ...]:
    """Names, or mappings as a study has them, in the order in which images meet them.

    Raises InputError for anything else.
    """
    found: list[Any] = []
    for text in given:
        if "," in text and not text.lstrip().startswith("{"):
            raise InputError(f"--filter {text}: separate them by spaces")
        found.append(_yaml("--filter", text))
    try:
        return parse_filters(found, "filters")
    except InputError as error:
        text = str(error)
        for place, name in enumerate(given):
            text = text.replace(f"filters[{place}].name: ", "--filter: ")
            text = text.replace(f"filters[{place}]", f"--filter {name!r}", 1)
        raise InputError(text) from error


def _yaml(flag: str, text: str) -> Any:
    try:
        return yaml12.parse(text)
    except InputError as error:
        raise InputError(f"{flag}: {error}") from error


def folders_note(wanted: Wanted) -> str:
    """Which classes have no folder, if there are such."""
    if not wanted.left_out:
        return ""
    number = len(wanted.left_out)
    them = "class" if number == 1 else "classes"
    return f"no images of {number} {them} that it was not fitted on: {some(wanted.left_out)}"
