"""The frozen values that cross from orchestrator to tasks, and the key that names a result."""

import dataclasses
import functools
import hashlib
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import ConfigDict

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""For what a user can write: unknown keys, NaN, and `30.0` or `true` for an int are refused."""

Key = str
"""64 hexadecimal digits: the sha256 of everything that defines a step."""

Counts = tuple[int, ...]
"""Images per class, in label order."""


class NotHashed:
    """Marks a field that says where or how, not what: it never enters a key."""


T = TypeVar("T")
Locator = Annotated[T, NotHashed()]
"""A root or an address: `root: Locator[str]`. Two copies of the same data have equal keys."""


@functools.cache
def _hashed_fields(kind: type) -> tuple[str, ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(
        item.name
        for item in dataclasses.fields(kind)
        if not any(isinstance(m, NotHashed) for m in getattr(hints[item.name], "__metadata__", ()))
    )


def canonical(value: Any) -> Any:
    """Reduce `value` to JSON types: every default written out, locators left out, `2.0` as `2`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: canonical(getattr(value, name)) for name in _hashed_fields(type(value))}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be part of a key: use a finite number")
        return int(value) if value.is_integer() else value
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def canonical_json(value: Any) -> str:
    """The one spelling of `value`: sorted keys, no spaces, plain ASCII."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(kind: str, version: int, settings: Any) -> Key:
    """Name a result by what defines it: sha256 of `{kind, version, settings}` in canonical form.

    `settings` holds the keys of the step's inputs as plain strings.
    """
    text = canonical_json({"kind": kind, "version": version, "settings": settings})
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One file of `tasks/<kind>/` with its settings: what a study's `{name: ..., ...}` becomes."""

    name: str
    version: int
    config: Any
    """The frozen `Config` of that file."""


@dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """What one split of a dataset contains."""

    digest: str
    """sha256 over the sorted lines `class/path, sha256(bytes)`, or over the uncompressed arrays."""
    counts: Counts
    skipped: tuple[str, ...] = ()
    """Images left out because they cannot be read (`skip_bad: true`), as `class/path`."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What planning needs to know of a dataset or folder, without its pixels."""

    classes: tuple[str, ...]
    """Class names in label order."""
    splits: dict[str, SplitInfo]
    """By split name: `train` and `test`; `val` where validation images come apart; `all`."""
    image_bytes: int = 0
    """Bytes of one decoded image, 0 where unknown; for estimates only."""
    undivided: bool = False
    """It came without a test split: `test` is a fixed stratified part, and `all` is offered too."""
    placeholder: bool = False
    """The data is not there yet: counts are invented, and such a plan cannot be run."""


@dataclass(frozen=True, kw_only=True)
class PackSpec:
    """Decode one split once into a memory-mapped array."""

    KIND: ClassVar[str] = "pack"
    reader: Plugin
    split: str
    size: int | None
    """Side in pixels; None keeps uniform images and gives others a short side of 256."""
    digest: str
    classes: tuple[str, ...]
    """Class names in label order; a folder of synthetic images may hold fewer of them."""
    grayscale: bool = False
    """Colour images become grey ones."""


@dataclass(frozen=True, kw_only=True)
class DuplicatesSpec:
    """Find the images of a test split that also stand, exactly or nearly, in the train split."""

    KIND: ClassVar[str] = "duplicates"
    train: Key
    test: Key


@dataclass(frozen=True, kw_only=True)
class ImagesSpec:
    """Real images by count: each class is ordered by sha256(split_seed, image hash); the first
    `validation` are for validation and the next `training` are for training."""

    pack: Key
    split_seed: int
    validation: Counts
    training: Counts
    validation_pack: Key | None = None
    """Of the validation images, where the dataset has a split of its own for them."""
    fold: tuple[int, int] | None = None
    """(index, of so many): that slice of each class is held out as the test images, before the
    others are counted off."""


@dataclass(frozen=True, kw_only=True)
class FitSpec:
    """Fit a generator on the training images of `images`."""

    KIND: ClassVar[str] = "fit"
    generator: Plugin
    images: ImagesSpec
    seed: int


@dataclass(frozen=True, kw_only=True)
class SetSpec:
    """A synthetic set: so many images per class from one fitted generator."""

    fit: Key
    sampling: Any
    """The frozen `Sampling` of the generator's file; its batch size is part of what a set is."""
    counts: Counts
    seed: int
    generator: Annotated[Plugin, NotHashed()]
    """As in the fit, whose key holds it."""
    images: Annotated[ImagesSpec, NotHashed()]
    """What the generator was fitted on, as in the fit."""


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """One shard of a synthetic set: images `start` to `stop` in class-major order."""

    KIND: ClassVar[str] = "sample"
    synthetic: SetSpec
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class GatherSpec:
    """Decode the shards of a synthetic set into one pack, once, for all trials that use it."""

    KIND: ClassVar[str] = "gather"
    synthetic: Key
    """Of the set; of its `filter` step where it is filtered."""
    shards: Annotated[tuple[Key, ...], NotHashed()]
    """How a set was cut into shards is not part of what it is; the `filter` step alone where it is
    filtered."""
    classes: tuple[str, ...]
    size: int | None
    sources: Annotated[ImagesSpec | None, NotHashed()] = None
    """Of edits: the real images whose edits are gathered, as `synthetic` says; None is all."""


@dataclass(frozen=True, kw_only=True)
class SyntheticImages:
    """What a trial takes from a synthetic set: the first `counts` of each class, by hash."""

    pack: Key
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How the images of synthetic sets take part; how many do is said by counts."""

    synthetic_probability: float = 0.0
    """Chance that a drawn real image is swapped for a synthetic one of its class (DA-Fusion);
    synthetic images are then drawn in no other way."""
    loss_weight: float = 1.0
    """Of a synthetic image; a real one counts 1."""
    soft_label: float = 1.0
    """Probability that a synthetic image's label gives its class; the others share the rest."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a training that sees only some of the cell's images."""

    steps: int
    real: bool
    synthetic: bool


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a classifier is trained, in optimizer steps."""

    steps: int
    eval_every: int
    """Validation after every so many steps, and after the last."""
    batch_size: int
    optimizer: str
    lr: float
    weight_decay: float
    momentum: float
    schedule: str
    warmup_steps: int
    label_smoothing: float
    input_size: int | None
    milestones: tuple[int, ...] = ()
    """Steps after which `schedule: step` multiplies the rate by `decay`."""
    decay: float = 0.1
    mean: tuple[float, ...] | None = None
    """Of the channels, 0..1; None is the model's own."""
    std: tuple[float, ...] | None = None
    initialisation: str = "default"
    dropout: float | None = None
    """Before the head; None is the model's own."""
    drop_path: float | None = None
    """Stochastic depth; None is the model's own."""
    ema: float | None = None
    """Decay of the averaged weights, which are then the ones validated and kept."""
    clip_grad: float | None = None
    """Largest norm of all gradients together."""
    accumulate: int = 1
    """Micro-batches a step is cut into."""
    gradient_checkpointing: bool = False
    precision: str = "auto"
    """`float32`, `bfloat16`, `float16`; `auto` is bfloat16 on a GPU and float32 elsewhere."""
    compile: bool = False
    augmentations: tuple[Plugin, ...] = ()
    """In the order of their application."""


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """A trial without its seed."""

    images: ImagesSpec
    """`training` is all zeros where a trial sees no real image."""
    sets: tuple[SyntheticImages, ...]
    model: Plugin
    recipe: Recipe
    num_classes: int
    mixing: Mixing = Mixing()
    stages: tuple[Stage, ...] = ()
    """In order, with the recipe's steps in all; none is one stage that sees every image."""
    companion: Plugin | None = None
    """A second classifier, fitted beside the network and compared with it."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Train one classifier; only training and validation images are seen."""

    KIND: ClassVar[str] = "trial"
    cell: CellSpec
    seed: int


@dataclass(frozen=True, kw_only=True)
class EvaluateSpec:
    """Predict a test split with the stored weights of a trial."""

    KIND: ClassVar[str] = "evaluate"
    trial: Key
    test: Key
    held_out: ImagesSpec | None = None
    """In cross-validation: its fold of `test`, which is the train pack, is what is predicted."""
    without: Key | None = None
    """The found duplicates, whose test images are left out."""
    classes: Annotated[tuple[str, ...], NotHashed()] = ()
    """In the label order of the trial, whose key says them; a test set may order them its way."""
    companion: Annotated[Plugin | None, NotHashed()] = None
    """As in the trial's cell; it is asked for its predictions too."""


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """Fit the small classifier whose features serve where no pre-trained weights are at hand."""

    KIND: ClassVar[str] = "extractor"
    cell: CellSpec
    seed: int


@dataclass(frozen=True, kw_only=True)
class FeaturesSpec:
    """Describe every image of a pack, in its order, by an extractor."""

    KIND: ClassVar[str] = "features"
    extractor: Plugin
    fitted: Key | None
    """The `extractor` step, for those that are fitted on the study's own images."""
    pack: Key


@dataclass(frozen=True, kw_only=True)
class RealReference:
    """Real images that synthetic ones are compared with, and their features."""

    train: ImagesSpec
    """Whose training images are meant."""
    train_features: Key
    test: Key
    """The pack of the test images; in cross-validation that of the train split."""
    test_features: Key


@dataclass(frozen=True, kw_only=True)
class FidelitySpec:
    """Measure how near a synthetic set is to the real training images."""

    KIND: ClassVar[str] = "fidelity"
    pack: Key
    """Of the synthetic set."""
    features: Key
    real: RealReference
    measures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CasSpec:
    """Classification accuracy score: train on a synthetic set alone, test on real images."""

    KIND: ClassVar[str] = "cas"
    cell: CellSpec
    """With the synthetic set and no real training image."""
    seed: int
    test: Key
    classes: Annotated[tuple[str, ...], NotHashed()]


@dataclass(frozen=True, kw_only=True)
class AuditSpec:
    """Look for images of a synthetic set that stand in the test split, or were memorised."""

    KIND: ClassVar[str] = "audit"
    pack: Key
    """Of the synthetic set."""
    features: Key
    real: RealReference


@dataclass(frozen=True, kw_only=True)
class GateSpec:
    """Stop the trials of a set whose audit found more than a study allows."""

    KIND: ClassVar[str] = "gate"
    audit: Key
    max_test_duplicates: int | None
    """Synthetic images that are exact or near copies of test images."""
    max_memorisation: float | None
    """Share of synthetic images that are copies of training images."""
    name: Annotated[str, NotHashed()] = ""
    """Of the set, for the message."""


@dataclass(frozen=True, kw_only=True)
class LineageSpec:
    """Stop the trials on images whose files say that they are edits of test images."""

    KIND: ClassVar[str] = "lineage"
    images: Key
    """The pack of what is trained on."""
    tests: tuple[Key, ...]
    real: ImagesSpec
    """Says which images validate: edits of them are counted."""
    name: Annotated[str, NotHashed()]
    """Where a study says what is trained on, for the message."""


@dataclass(frozen=True, kw_only=True)
class FilterSpec:
    """Drop images of a generated set, and draw others in their place until the quota is met."""

    KIND: ClassVar[str] = "filter"
    drawn: Key
    """Of the set as it was drawn first."""
    synthetic: SetSpec
    """Its recipe: counts are the quota, and refills go on behind them."""
    filters: tuple[Plugin, ...]
    """In the order in which an image meets them."""
    refill: bool
    max_draws: int
    """Images drawn of a class at most, as a multiple of its quota."""
    extractor: Plugin | None
    """Where a filter asks for features or probabilities."""
    fitted: Key | None
    classes: tuple[str, ...]
    shards: Annotated[tuple[Key, ...], NotHashed()]


@dataclass(frozen=True, kw_only=True)
class EditRecipe:
    """How images of a pack are edited, whichever of them are."""

    editor: Plugin
    pack: Key
    per_image: int
    """As `tasks.edits.prompts.chosen` has it."""
    seed: int
    masks: Annotated[Any, NotHashed()] = None
    """The Config of masks."""
    masks_digest: str = ""
    """What all masks depend on: settings, and the content of files."""
    fit: Key | None = None
    """Of the generator, for editors that are one."""
    generator: Annotated[Plugin | None, NotHashed()] = None
    """As in the fit."""


@dataclass(frozen=True, kw_only=True)
class EditSpec:
    """Edits of the images `start` to `stop` of one class, ordered by sha256(split_seed, hash).

    No subset is named, so a part of the data has the edits that all of it has; nor other classes'
    prompts, so a prompt that is changed edits its own class anew.
    """

    KIND: ClassVar[str] = "edit"
    recipe: EditRecipe
    prompts: tuple[Any, ...]
    """Of the class, each a `tasks.edits.prompts.Prompt`; an empty one where none is read."""
    split_seed: int
    label: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class FileEdit:
    """One edit of an image file."""

    source: str
    """Its path below the root, with `/`."""
    sha256: str
    class_name: str
    """Empty where images lie in no class folders."""
    prompt: str
    prompt_id: str
    replica: int
    mask_digest: str = ""


@dataclass(frozen=True, kw_only=True)
class EditFilesSpec:
    """Edits of image files, at their own size."""

    KIND: ClassVar[str] = "edit_files"
    editor: Plugin
    edits: tuple[FileEdit, ...]
    seed: int
    root: Annotated[str, NotHashed()]
    masks: Annotated[Any, NotHashed()] = None
    """The Config of masks; the digest of each stands with its edit."""
    generator_file: Annotated[str, NotHashed()] = ""
    """What `augury fit` wrote, for editors that are a fitted generator; `generator` says what."""
    generator: str = ""
    """sha256 of that file."""


Spec = (
    PackSpec
    | DuplicatesSpec
    | FitSpec
    | SampleSpec
    | FilterSpec
    | GatherSpec
    | EditSpec
    | EditFilesSpec
    | ExtractorSpec
    | FeaturesSpec
    | FidelitySpec
    | CasSpec
    | AuditSpec
    | GateSpec
    | LineageSpec
    | TrialSpec
    | EvaluateSpec
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a running step is, and what it measured since it last said so."""

    done: int
    total: int
    metrics: dict[str, float] = field(default_factory=dict)


class Checkpoints(Protocol):
    """Where a long step keeps its state, so that a lost worker costs minutes and not hours."""

    def load(self) -> dict[str, Any] | None:
        """The last saved state (tensors, numbers, text; read with `weights_only=True`), if any."""
        ...

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save what `state()` returns, unless it was done a short while ago."""
        ...


Work = Iterator[Progress]
"""What a task returns: it works as it is iterated, and writes its files before it ends."""
