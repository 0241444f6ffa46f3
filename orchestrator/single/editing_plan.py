"""Plans the edits of a folder: which there are, what each file is called, and in which steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.inputs import FileCache
from orchestrator.planned import VERSIONS, Step
from orchestrator.single.editing import Edits
from orchestrator.single.editing_sources import Image, Images
from tasks.edit_files import id_of
from tasks.edits.masks import NAMES as MASKS
from tasks.edits.masks import Masks, open_masks
from tasks.edits.naming import edit_seed, file_name, mask_seed, stems
from tasks.edits.prompts import NO_CLASS, Prompt, Prompts, chosen, read_prompts
from tasks.errors import InputError
from tasks.reading import FileFacts
from tasks.specs import EditFilesSpec, FileEdit, Key, content_key

SHARD_EDITS = 32
"""Of one step at most; all edits of an image are in one, as long as there are no more."""
CALLS_AHEAD = 8
"""Edits of one step of a service, as a multiple of its calls at once."""
OF_FILES = ("folder", "file", "per_class", "boxes")
"""Masks that can be of another size than their image."""
assert set(OF_FILES) < set(MASKS)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One edit, and the file it becomes."""

    edit: FileEdit
    id: str
    file: str
    """Path below the output folder, with `/`."""

    @property
    def seed(self) -> int:
        """Of its noise."""
        return edit_seed(self.id)


@dataclass(frozen=True, kw_only=True)
class EditPlan:
    """All edits of a folder."""

    edits: Edits
    images: Images
    planned: tuple[Planned, ...]
    """Image by image."""
    prompts_digest: str

    @property
    def recipe(self) -> dict[str, Any]:
        """What tells a folder of these edits from others."""
        return self.edits.recipe(self.prompts_digest)

    def steps(self, missing: Sequence[Planned]) -> dict[Key, Step]:
        """The steps that make what is missing.

        All edits are cut into shards, whatever is there already: so a run that was stopped goes on
        in the batches that it would have had.
        """
        wanted = {each.file for each in missing}
        found: dict[Key, Step] = {}
        for number, shard in enumerate(self._shards()):
            left = tuple(each.edit for each in shard if each.file in wanted)
            if left:
                step = self._step(left, f"shard {number}")
                found[step.key] = step
        return found

    def _shards(self) -> Iterator[list[Planned]]:
        size = SHARD_EDITS
        if self.edits.about.service:
            size = self.edits.editor.config.concurrency * CALLS_AHEAD
        shard: list[Planned] = []
        for of_image in _by_image(self.planned):
            if shard and len(shard) + len(of_image) > size:
                yield shard
                shard = []
            shard += of_image
            while len(shard) > size:
                yield shard[:size]
                shard = shard[size:]
        yield shard

    def _step(self, edits: tuple[FileEdit, ...], note: str) -> Step:
        given = self.edits
        spec = EditFilesSpec(
            editor=given.editor,
            edits=edits,
            seed=given.seed,
            root=str(self.images.root),
            masks=given.masks,
            generator_file="" if given.generator is None else str(given.generator.path.absolute()),
            generator=given.generator_sha256,
        )
        return Step(
            kind=spec.KIND,
            key=content_key(spec.KIND, VERSIONS[spec.KIND], spec),
            spec=spec,
            needs=(),
            title=f"edit {given.editor.name}",
            size=len(edits),
            note=note,
        )


def plan_edits(edits: Edits, images: Images) -> EditPlan:
    """Plan the edits of every image.

    Raises InputError for prompts, masks or a generator that do not fit the images.
    """
    _check_classes(edits, images)
    prompts, digest = _prompts(edits, images)
    names = stems(each.source for each in images.images)
    with FileCache() as facts:
        masks = None if edits.masks is None else _Checked(edits.masks, images, facts)
        found = [
            _planned(edits, each, image, names[image.source])
            for image in images.images
            for each in _edits_of(edits, image, prompts, masks)
        ]
    return EditPlan(edits=edits, images=images, planned=tuple(found), prompts_digest=digest)


def _planned(edits: Edits, each: FileEdit, image: Image, stem: str) -> Planned:
    return Planned(
        edit=each,
        id=id_of(edits.editor, edits.generator_sha256, edits.seed, each),
        file=file_name(stem, each.prompt_id, each.replica),
    )


def _by_image(planned: Sequence[Planned]) -> Iterator[list[Planned]]:
    group: list[Planned] = []
    for each in planned:
        if group and group[0].edit.source != each.edit.source:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _check_classes(edits: Edits, images: Images) -> None:
    """A fitted generator draws the classes that it was fitted on, and no others."""
    if edits.generator is None:
        return
    known = edits.generator.note.classes
    for image in images.images:
        if image.class_name not in known:
            where = f"class folder {image.class_name!r}" if image.class_name else "no class folder"
            raise InputError(
                f"--input-dir: {image.source!r} lies in {where}, and the generator of --checkpoint "
                f"was fitted on {', '.join(known[:12])}"
            )


def _prompts(edits: Edits, images: Images) -> tuple[Prompts, str]:
    """The prompts of every class, with what stands for all of them in a recipe."""
    classes = images.classes
    if edits.prompts_file is None:
        # The editor's name stands where prompts have theirs.
        only = (Prompt(id=edits.editor.name, text=""),)
        return Prompts(by_class=dict.fromkeys((*classes, NO_CLASS), only)), ""
    by_class: dict[str, tuple[Prompt, ...]] = {}
    try:
        if classes:
            by_class |= read_prompts(edits.prompts_file, classes).by_class
        if any(not image.class_name for image in images.images):
            by_class |= read_prompts(edits.prompts_file, ()).by_class
    except InputError as error:
        raise InputError(f"--prompts-file: {error}") from error
    prompts = Prompts(by_class=by_class)
    return prompts, prompts.digest


def _edits_of(
    edits: Edits, image: Image, prompts: Prompts, masks: "_Checked | None"
) -> Iterator[FileEdit]:
    said = prompts.of(image.class_name)
    for prompt, replica in chosen(said, image.sha256, edits.per_image, edits.seed):
        of_mask = mask_seed(seed=edits.seed, source_hash=image.sha256, replica=replica)
        yield FileEdit(
            source=image.source,
            sha256=image.sha256,
            class_name=image.class_name,
            prompt=prompt.text,
            prompt_id=prompt.id,
            replica=replica,
            mask_digest="" if masks is None else masks.digest(image, of_mask),
        )


class _Checked:
    """The masks of all images; those in files are seen to fit before anything is edited."""

    def __init__(self, config: Any, images: Images, facts: FileFacts) -> None:
        try:
            self._masks: Masks = open_masks(config, images.classes, facts)
        except InputError as error:
            raise _flagged(error) from error
        self._in_files = config.name in OF_FILES
        self._seen: set[tuple[str, int, int]] = set()

    def digest(self, image: Image, seed: int) -> str:
        """Of an image's mask; raises InputError for one that cannot be used."""
        try:
            found = self._masks.digest_of(image.source, image.class_name, seed)
            key = (found, image.height, image.width)
            if self._in_files and key not in self._seen:
                blank = np.zeros((image.height, image.width, 1), np.uint8)
                self._masks.mask(image.source, image.class_name, blank, seed)
                self._seen.add(key)
        except InputError as error:
            raise _flagged(error) from error
        return found


def _flagged(error: InputError) -> InputError:
    text = str(error).removeprefix("mask: ").removeprefix("mask ")
    text = text.replace("say scale: true", "say --mask '{name: ..., path: ..., scale: true}'")
    return InputError(f"--mask {text}".replace("invert: true", "--invert-mask"))
