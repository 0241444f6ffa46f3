"""The edited sets of a cell, and edited test sets: which shards of edits they gather."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.graph import Steps, key_of
from orchestrator.inputs import FileCache
from orchestrator.planned import VERSIONS
from orchestrator.real import RealImages
from orchestrator.settings import EditedSet, PromptsFile
from tasks import plugins
from tasks.counting import held_in_fold
from tasks.editing import About
from tasks.edits.masks import open_masks
from tasks.edits.prompts import NO_CLASS, Prompt, Prompts, read_prompts
from tasks.errors import InputError
from tasks.specs import (
    Counts,
    EditRecipe,
    EditSpec,
    FitSpec,
    GatherSpec,
    ImagesSpec,
    Key,
    Plugin,
    canonical,
    content_key,
)

SHARD_EDITS = 64
"""Aim for the edits of one shard; all edits of an image are in one."""
SHARD_EDITS_OF_PIPELINES = 16
"""The same where an edit takes seconds: shards at the ends of a subset hold others' edits too."""

NO_PROMPT = Prompt(id="p", text="", weight=None)
"""Of editors that read none."""

ByLabel = tuple[tuple[Prompt, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Edits:
    """Edits of some images, planned."""

    pack: Key
    counts: Counts
    """In label order."""
    shards: tuple[Key, ...]
    fit: Key | None


def edited_set(name: str, each: EditedSet, real: RealImages, steps: Steps) -> Edits:
    """Plan the edits of a cell's training images.

    Raises InputError for prompts or masks that do not fit the dataset.
    """
    path = f"synthetic.{name}"
    recipe = _recipe(path, each, real.images.pack, real, real.images, steps)
    return _gathered(recipe, _prompts(path, each, real), real, real.images, steps)


def edited_test(name: str, each: EditedSet, real: RealImages, steps: Steps) -> Edits:
    """Plan the edits of all test images; what is fitted for them sees all training images.

    Raises InputError for prompts or masks that do not fit the dataset.
    """
    if real.images.fold is not None:
        raise InputError(
            f"evaluate_on.{name}: in cross-validation test images are training images of other "
            "folds, and their edits cannot be told from those: leave out folds, or this set"
        )
    everything = replace(real.images, training=real.pool)
    path = f"evaluate_on.{name}"
    recipe = _recipe(path, each, real.test, real, everything, steps)
    return _gathered(recipe, _prompts(path, each, real), real, None, steps)


def _recipe(
    path: str, each: EditedSet, pack: Key, real: RealImages, shown: ImagesSpec, steps: Steps
) -> EditRecipe:
    generator, fit = _generator(each.editor), None
    if generator is not None:
        spec = FitSpec(generator=generator, images=shown, seed=each.settings.seed)
        title, size = f"fit {generator.name}", generator.config.steps
        fit = steps.add(spec, (shown.pack,), title, size, key_of(spec))
    masks_digest = ""
    if each.masks is not None and not real.info.placeholder:
        try:
            with FileCache() as facts:
                masks_digest = open_masks(each.masks, real.info.classes, facts).digest
        except InputError as error:
            raise InputError(f"{path}.mask: {error}") from error
    return EditRecipe(
        editor=each.editor,
        pack=pack,
        per_image=each.settings.multiplier or each.settings.per_image or 1,
        seed=each.settings.seed,
        masks=each.masks,
        masks_digest=masks_digest,
        fit=fit,
        generator=generator,
    )


def _prompts(path: str, each: EditedSet, real: RealImages) -> ByLabel:
    """What images of each class are edited to."""
    classes = real.info.classes
    if each.prompts is None or real.info.placeholder:
        return tuple((NO_PROMPT,) for _ in classes)
    try:
        found = _read(each.prompts, classes)
    except InputError as error:
        raise InputError(f"{path}.prompts: {error}") from error
    drawn = each.settings.multiplier is not None
    return tuple(
        tuple(_weighted(prompt) if drawn else prompt for prompt in found.of(name))
        for name in classes
    )


@functools.lru_cache(maxsize=64)
def _read(file: PromptsFile, classes: tuple[str, ...]) -> Prompts:
    return read_prompts(Path(file.path), classes or (NO_CLASS,))


def _weighted(prompt: Prompt) -> Prompt:
    """Prompts without weights are drawn alike."""
    return replace(prompt, weight=1.0) if prompt.weight is None else prompt


def _per_image(prompts: Sequence[Prompt], per_image: int) -> int:
    """Edits of one image, as `tasks.edits.prompts.chosen` makes them."""
    return per_image * (len(prompts) if any(p.weight is None for p in prompts) else 1)


def _gathered(
    recipe: EditRecipe,
    prompts: ByLabel,
    real: RealImages,
    images: ImagesSpec | None,
    steps: Steps,
) -> Edits:
    """Plan the shards that hold the edits of `images`, or of all in the pack, and their pack."""
    about: About = plugins.module("editors", recipe.editor.name).ABOUT
    aim = SHARD_EDITS_OF_PIPELINES if about.fits is None else SHARD_EDITS
    split = "test" if images is None else "train"
    held = real.info.splits[split].counts
    split_seed = 0 if images is None else images.split_seed
    shards: list[Key] = []
    counts = []
    for label, number in enumerate(held):
        each = _per_image(prompts[label], recipe.per_image)
        wanted = range(number) if images is None else _ranks(label, number, images)
        counts.append(each * len(wanted))
        size = max(1, aim // each)
        for start, stop in _cut(wanted, size, number, exact=about.service):
            spec = EditSpec(
                recipe=recipe,
                prompts=prompts[label],
                split_seed=split_seed,
                label=label,
                start=start,
                stop=stop,
            )
            needs = (recipe.pack, *((recipe.fit,) if recipe.fit else ()))
            edits = each * (spec.stop - spec.start)
            shards.append(steps.add(spec, needs, f"edit {recipe.editor.name}", edits, key_of(spec)))
    synthetic = content_key("edits", VERSIONS["edit"], (recipe, prompts, split_seed, images))
    gather = GatherSpec(
        synthetic=synthetic,
        shards=tuple(shards),
        classes=real.info.classes,
        size=real.size,
        sources=images,
    )
    needs = (*shards, *((images.pack,) if images is not None else ()))
    title = f"gather {recipe.editor.name}"
    pack = steps.add(gather, needs, title, sum(counts), key_of(gather))
    return Edits(pack=pack, counts=tuple(counts), shards=tuple(shards), fit=recipe.fit)


def _cut(wanted: Sequence[int], size: int, number: int, exact: bool) -> list[tuple[int, int]]:
    """Cut images into shards, by the first rank and the one after the last.

    Shards begin and end where those of all images do, so that subsets share them, but for what
    costs money: a service is asked for nothing that is not `wanted`, and knows what it was asked.
    """
    if not exact:
        return [
            (place * size, min((place + 1) * size, number))
            for place in sorted({rank // size for rank in wanted})
        ]
    found: list[tuple[int, int]] = []
    for rank in wanted:
        if found and found[-1][1] == rank and rank % size:
            found[-1] = (found[-1][0], rank + 1)
        else:
            found.append((rank, rank + 1))
    return found


def _ranks(label: int, number: int, images: ImagesSpec) -> list[int]:
    """Where the training images stand among all of their class, as `tasks.packs.select` has it."""
    left = list(range(number))
    del left[held_in_fold(number, images.fold)]
    skipped = images.validation[label] if images.validation_pack is None else 0
    return left[skipped : skipped + images.training[label]]


def _generator(editor: Plugin) -> Plugin | None:
    """What an editor fits first, by the settings that it holds of it."""
    about: About = plugins.module("editors", editor.name).ABOUT
    if about.fits is None:
        return None
    return plugins.plugin("generators", about.fits, getattr(editor.config, about.fits))


def edits_in_words(each: EditedSet) -> str:
    """What edits, and where it was told something: `sdedit (strength 0.8; mask saliency)`."""
    told = _told(each.editor.config)
    if each.masks is not None:
        told.append("; ".join([f"mask {each.masks.name}", *_told(each.masks)]))
    told += [f"{key} {value}" for key, value in vars(each.settings).items() if value]
    return each.editor.name + (f" ({'; '.join(told)})" if told else "")


def _told(config: Any) -> list[str]:
    """The settings that are not what they are where nothing is said."""
    usual = {item.name: item.default for item in dataclasses.fields(config)}
    return [
        f"{key} {value}"
        for key, value in canonical(config).items()
        if isinstance(value, str | int | float) and value != usual[key] and key != "name"
    ]
