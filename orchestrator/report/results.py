"""What a report is made from: the outcomes of one study's trials, by cell and seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tasks.specs import Counts, Key

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
Status = Literal["finished", "failed", "missing", "deferred"]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial, as far as it got."""

    key: Key | None
    """None while the trial is deferred."""
    seed: int
    status: Status
    fold: int | None = None
    """From 0, in cross-validation: the slice of the images that the trial was tested on."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Fractions by metric name: the study's metrics, then `top1_last` and `val_top1`."""
    history: tuple[Mapping[str, float], ...] = ()
    """One row an evaluation: step, epoch, train_loss, train_accuracy, val_loss, val_accuracy."""
    per_class: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Metric name -> one value per class, for metrics that have them."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Counts, rows true and columns predicted."""
    shifted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Evaluation set -> metric -> value, for the sets named by `evaluate_on`."""
    reference: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """For evaluation sets that lack classes: the clean scores over those classes that they have."""
    companion: Mapping[str, float] = field(default_factory=dict)
    """`agreement`, `companion_top1` and `combined_top1`, where a second classifier was fitted."""
    seconds: float = 0.0
    """Training and evaluation."""
    device: str = ""
    threads: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    """One line, where the trial failed."""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One point of the grid with a trial for each seed."""

    coordinates: Mapping[str, Any]
    """Axis path (or `arm`) -> value, in the order of the study."""
    label: str
    trials: tuple[TrialResult, ...]
    baseline: int | None
    """Index of the cell it is compared with; None for a baseline itself, or where none fits."""
    steps: int
    num_real: int
    num_synthetic: int
    num_parameters: int | None
    """Of the classifier; None before it is known."""
    model: str
    real_per_class: Counts = ()
    """Real training images of each class, in label order."""
    synthetic_per_class: Counts = ()
    """Synthetic training images of each class, of all sets together."""
    sets: tuple[Key, ...] = ()
    """The synthetic sets it trains on, as `SetResult.key` has them."""


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """What one kind of work took, for the part of a study that is finished."""

    what: str
    """Such as `fit ddpm`, `sample ddpm`, `train`, `evaluate`."""
    steps: int
    hours: float
    device: str
    money_usd: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SetSample:
    """A few images of a synthetic set (or of the real training images), for a sheet."""

    name: str
    images: tuple[tuple[bytes, ...], ...]
    """PNG bytes: one row a class, in label order."""
    key: Key | None = None
    """Of the set's pack; None for the real images."""


Strip = tuple[bytes, ...]
"""Images side by side, as PNG bytes."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The fit of the generator behind a set."""

    key: Key
    seed: int
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    num_parameters: int = 0
    num_steps: int = 0
    device: str = ""
    error: str = ""
    """One line, where it failed: it diverged, mostly."""


@dataclass(frozen=True, kw_only=True)
class FilterResult:
    """What the filters of a set kept, class by class."""

    drawn: Counts
    kept: Counts
    dropped: Mapping[str, Counts]
    """By filter, in the order in which images met them."""


@dataclass(frozen=True, kw_only=True)
class AuditCase:
    """A synthetic image beside the real one that it is too near to."""

    kind: Literal["exact", "near", "feature"]
    split: Literal["train", "test"]
    distance: float
    synthetic: bytes
    real: bytes


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What was looked for in a set before training on it, and found."""

    num_images: int
    test_exact: int
    test_near: int
    train_exact: int
    train_near: int
    memorised: int
    """Synthetic images that are copies of training images, exact, near or in feature space."""
    nearer_to_test: float
    """Share of synthetic images that lie nearer to a test image than 99 % of test images do to a
    training image."""
    quantiles: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Distances in feature space to the nearest image, at `QUANTILES` of the images:
    `synthetic_to_train`, `synthetic_to_test`, and the baseline `test_to_train`."""
    cases: tuple[AuditCase, ...] = ()
    gate: str = ""
    """One line, where the study's `audit` stopped the trials of this set."""


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """Images as points of a plane, by what an extractor says of them."""

    pca: tuple[tuple[float, float], ...]
    tsne: tuple[tuple[float, float], ...]
    group: tuple[int, ...]
    """0 real training images, 1 synthetic, 2 real test images."""
    label: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SetResult:
    """One synthetic set: how it came about, and what was measured of it, as far as that is done."""

    key: Key
    """Of its pack."""
    name: str
    """As the study has it, with what tells it from others of that name."""
    group: str
    """Equal for sets that differ by their seed alone."""
    seed: int | None
    """Of the fit and of the samples; None for a folder."""
    generator: str
    """The file of the generator or of the editor; empty for a folder."""
    per_class: Counts
    edited: bool = False
    """Its images are real training images, edited."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """`fid`, `kid`, ... as far as asked, `cas`; `reconstruction_mse` of those that reconstruct."""
    stamp: Mapping[str, str] = field(default_factory=dict)
    """What the measures depend on: extractor, weights, resize, number of images, ..."""
    warnings: tuple[str, ...] = ()
    held_out: Mapping[str, float] = field(default_factory=dict)
    """The same measures of the real test images, where these are not among the real ones."""
    images_per_s: float | None = None
    """Of the sampler, on one worker."""
    sampling_seconds: float = 0.0
    fit: FitResult | None = None
    filtered: FilterResult | None = None
    audit: AuditResult | None = None
    losses: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """Loss name -> (step, value) of the fit."""
    visuals: Mapping[str, tuple[Strip, ...]] = field(default_factory=dict)
    """`interpolation`, `denoising`, `reconstruction`: rows of images."""
    neighbours: tuple[tuple[int, bytes, bytes], ...] = ()
    """Label, synthetic image, and its nearest real training image."""
    errors: tuple[str, ...] = ()
    """One line for each step behind it that failed, but for the fit and the gate."""
    map: FeatureMap | None = None


@dataclass(frozen=True, kw_only=True)
class DuplicateCheck:
    """Test images that also stand in the train split."""

    where: str
    """`test`, or the name of an evaluation set."""
    num_test: int
    num_exact: int
    num_near: int
    dropped: bool
    """They were left out of the scores (`drop_test_duplicates`)."""
    pairs: tuple[tuple[bytes, bytes], ...] = ()
    """A few of them, test image beside train image, as PNG bytes."""


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """Everything a report shows of one study. Values only: no disk, no Ray, no torch behind it."""

    name: str
    question: str
    axes: tuple[str, ...]
    """Axis paths (and `arm`) in the order of the study."""
    metrics: tuple[str, ...]
    """Metric names in the order to be shown; the first is the main one."""
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    cells: tuple[CellResult, ...]
    baseline: Mapping[str, Any]
    """The coordinates named by `compare`; empty where nothing is compared."""
    num_validation: int
    num_test: int
    match: str
    """`steps` or `epochs`: how the training budget was shared out."""
    differences: tuple[str, ...] = ()
    """For arms: which settings differ beside the one in question, a line each."""
    folds: int | None = None
    """Of cross-validation: each trial is tested on one held-out slice of the train split, the same
    for all seeds."""
    evaluation_sets: Mapping[str, int] = field(default_factory=dict)
    """Name -> images, of the other test sets (`evaluate_on`), in the order of the study."""
    edited_tests: Mapping[str, str] = field(default_factory=dict)
    """Name -> what edits them, of those that are edits of the study's own test images."""
    lower_is_better: frozenset[str] = frozenset()
    """Of `metrics`, those in which a smaller number is the better one."""
    duplicates: tuple[DuplicateCheck, ...] = ()
    costs: tuple[CostLine, ...] = ()
    sheets: tuple[SetSample, ...] = ()
    """The real training images first."""
    sets: tuple[SetResult, ...] = ()
    """The synthetic sets of all cells, in the order in which cells name them."""
    measures: tuple[str, ...] = ()
    """Names of the measures asked for, in order."""
    command: str = ""
    """How to make this report again."""
    store: str = ""
    commit: str = ""
    notes: tuple[str, ...] = ()
    """Warnings to print beside the table: mixed devices, skipped images, unknown lineage."""


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """The files of a report on disk."""

    folder: Path
    files: tuple[Path, ...]
