"""Edits image files at their own size: a shard of all the edits of a folder."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.datasets._decode import decode
from tasks.devices import memory_peak_bytes, prepare
from tasks.editing import Edit, Edited, Editor
from tasks.edits.answers import FolderAnswers, price_usd
from tasks.edits.documents import read_document
from tasks.edits.keeping import Fitted, editor_of, forget, masks_of
from tasks.edits.mask_files import File, Folder, PerClass
from tasks.edits.masks import Masks
from tasks.edits.naming import edit_id, edit_seed, mask_seed
from tasks.errors import InputError
from tasks.origins import KEY, origins_of, read_origins
from tasks.packs import Pixels
from tasks.results import write_result
from tasks.shards import SHARD_FILE, image_type, png
from tasks.specs import EditFilesSpec, FileEdit, Plugin, Progress, Work, canonical

if TYPE_CHECKING:
    import pyarrow as pa

PNG_TEXT = "augury-edit"
"""Key of the text in an image's file that holds the id of its edit."""
ROWS_AT_ONCE = 16


def id_of(editor: Plugin, generator: str, seed: int, each: FileEdit) -> str:
    """The id of an edit of a file, as `tasks.edits.naming.edit_id` has it.

    Without a prompt the class is what is drawn, and so it counts, as does the generator.

    Args:
        generator: as in `EditFilesSpec`.
    """
    recipe: Any = editor
    if not each.prompt:
        recipe = canonical(editor) | {"class": each.class_name, "generator": generator}
    return edit_id(
        recipe=recipe,
        seed=seed,
        source_hash=each.sha256,
        prompt=each.prompt,
        replica=each.replica,
        mask=each.mask_digest,
    )


def edit_files(
    spec: EditFilesSpec,
    out: Path,
    device: str,
    fitted: Fitted | None = None,
    answers: Path | None = None,
) -> Work:
    """Make the edits of `spec`; write `shard.parquet`, with PNG files in it, and `result.json`.

    What cannot be made now is a row without an image, which says why: `refusal` for good, `left`
    until the next run. Equal images in several files are edited once. Where nothing more can be
    made, as with a wrong key, the result says why in `stopped`, and what was made before is kept.

    Args:
        fitted: for editors that are a generator.
        answers: the folder of a service's answers, for services.
    """
    import pyarrow.parquet as pq

    prepare(device)
    began = time.monotonic()
    editing = _Editing(spec, device, fitted, answers)
    counts = {"edits": len(spec.edits), "made": 0, "refused": 0, "left": 0}
    cost_usd = 0.0
    with pq.ParquetWriter(out / SHARD_FILE, shard_schema()) as writer:
        rows: list[dict[str, Any]] = []
        for edited in editing.all():
            counts[_became(edited)] += len(editing.wanted[edited.id])
            cost_usd += edited.cost_usd
            rows.append(_row(edited, editing.texts(edited.id), price_usd(edited, editing.kept)))
            if len(rows) >= ROWS_AT_ONCE:
                writer.write_table(_table(rows))
                rows = []
            done = counts["made"] + counts["refused"] + counts["left"]
            metrics = {"cost_usd": cost_usd}
            yield Progress(done=done, total=len(spec.edits), metrics=metrics)
        writer.write_table(_table(rows))
    seconds = time.monotonic() - began
    result = {
        **counts,
        "stopped": editing.stopped,
        "stamp": editing.stamp,
        "cost_usd": cost_usd,
        "seconds": seconds,
        "images_per_s": counts["made"] / max(seconds, 1e-9),
        "peak_memory_bytes": memory_peak_bytes(device),
    }
    write_result(out, result)


class _Editing:
    """The edits of a shard, batch by batch."""

    def __init__(
        self, spec: EditFilesSpec, device: str, fitted: Fitted | None, answers: Path | None
    ) -> None:
        self.spec, self.stopped = spec, ""
        self.stamp: dict[str, str] = {}
        self.wanted: dict[str, list[FileEdit]] = {}
        for each in spec.edits:
            id = id_of(spec.editor, spec.generator, spec.seed, each)
            self.wanted.setdefault(id, []).append(each)
        self._device, self._fitted, self._answers = device, fitted, answers
        self._last: tuple[str, Pixels] | None = None
        self._origins: dict[str, tuple[str, ...]] = {}
        self.kept = None if answers is None else FolderAnswers(answers)

    def all(self) -> Iterator[Edited]:
        """Every id once, in any order; where it is stopped, the rest is left."""
        waiting = list(self.wanted)
        try:
            editor = editor_of(self.spec.editor, self._device, self._fitted, self._answers)
            masks = self._masks()
            self.stamp = dict(editor.stamp)
            while waiting:
                batch = waiting[: editor.batch_size]
                for edited in self._batch(batch, editor, masks):
                    waiting.remove(edited.id)
                    yield edited
        except InputError as error:
            self.stopped = str(error)
            # Whoever mends it, such as a key, is to find nothing of before.
            forget()
        for id in waiting:
            yield Edited(id=id, image=None, left=self.stopped)

    def texts(self, id: str) -> dict[str, str]:
        """What the image of an edit says of itself; its id stands first, for who looks for it."""
        origins = self._origins.get(self.wanted[id][0].sha256, ())
        return {PNG_TEXT: id, KEY: " ".join(origins)}

    def _batch(self, ids: Sequence[str], editor: Editor, masks: Masks | None) -> Iterator[Edited]:
        edits: dict[str, Edit] = {}
        for id in ids:
            try:
                edits[id] = self._opened(id, masks)
            except InputError as error:
                yield Edited(id=id, image=None, left=str(error))
        for edited in editor.edit(tuple(edits.values())) if edits else ():
            shape = edits.pop(edited.id).image.shape
            if edited.image is not None and edited.image.shape != shape:
                raise ValueError(f"{self.spec.editor.name} made {edited.image.shape} of {shape}")
            yield edited
        if edits:
            raise ValueError(f"{self.spec.editor.name} forgot {len(edits)} of its edits")

    def _opened(self, id: str, masks: Masks | None) -> Edit:
        """Raises InputError for a file that is not what it was, and for a mask of no use."""
        each = self.wanted[id][0]
        image = self._image(each)
        info = None if self._fitted is None else self._fitted.info
        return Edit(
            id=id,
            image=image,
            prompt=each.prompt,
            seed=edit_seed(id),
            label=None if info is None else info.classes.index(each.class_name),
            mask=None if masks is None else self._mask(each, image, masks),
        )

    def _image(self, each: FileEdit) -> Pixels:
        if self._last is not None and self._last[0] == each.sha256:
            return self._last[1]
        path = Path(self.spec.root, each.source)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != each.sha256:
            raise InputError(f"{path}: was changed while it was to be edited; run this again")
        image = decode(data, str(path))
        self._origins[each.sha256] = origins_of(each.sha256, image, read_origins(data))
        self._last = (each.sha256, image)
        return image

    def _masks(self) -> Masks | None:
        config = self.spec.masks
        if config is None:
            return None
        classes: tuple[str, ...] = ()
        if isinstance(config, PerClass):
            # Of all classes, of which a shard has some: planning has seen that they are right.
            content = read_document(Path(config.path), "masks by class").content
            classes = tuple(content) if isinstance(content, dict) else ()
        return masks_of(config, classes, self._device)

    def _mask(self, each: FileEdit, image: Pixels, masks: Masks) -> Any:
        seed = mask_seed(seed=self.spec.seed, source_hash=each.sha256, replica=each.replica)
        if isinstance(masks.config, Folder | File | PerClass):
            digest = masks.digest_of(each.source, each.class_name, seed)
            if digest != each.mask_digest:
                raise InputError(
                    f"the mask of {each.source!r} was changed before it was used; run this again"
                )
        return masks.mask(each.source, each.class_name, image, seed)


def _became(edited: Edited) -> str:
    if edited.image is not None:
        return "made"
    return "refused" if edited.refusal else "left"


def _row(edited: Edited, texts: Mapping[str, str], cost_usd: float) -> dict[str, Any]:
    image = None
    if edited.image is not None:
        image = {"bytes": png(edited.image, texts), "path": None}
    return {
        "image": image,
        "id": edited.id,
        "seed": edit_seed(edited.id),
        "refusal": edited.refusal,
        "left": "" if image or edited.refusal else edited.left or "there is no image",
        "cost_usd": cost_usd,
        "seconds": edited.seconds,
    }


def shard_schema() -> "pa.Schema":
    """A row for each id; the image is null where there is none."""
    import pyarrow as pa

    texts = ("id", "refusal", "left")
    return pa.schema(
        [
            ("image", image_type()),
            *((name, pa.string()) for name in texts),
            ("seed", pa.int64()),
            *((name, pa.float64()) for name in ("cost_usd", "seconds")),
        ]
    )


def _table(rows: Sequence[dict[str, Any]]) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), shard_schema())
