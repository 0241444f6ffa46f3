"""The typed sections of a study."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.counting import FACTORS, Imbalance, Profile
from tasks.specs import STRICT, Locator, Plugin

BYTES_PER_PARAMETER = 16
"""In training: weights, gradients and two optimizer moments, in float32."""

Variant = Literal["real", "synthetic", "mixed"]
VARIANTS: tuple[Variant, ...] = ("real", "synthetic", "mixed")
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
Whole = Annotated[int, Field(ge=0, le=10**9)]
Channels = tuple[Annotated[float, Field(ge=0, le=1)], ...]

PEAK_RATES = {
    "adamw": 1e-3,
    "adam": 1e-3,
    "sgd": 0.1,
    "rmsprop": 1e-3,
    "lamb": 5e-3,
    "lion": 1e-4,
}
WEIGHT_DECAYS = {
    "adamw": 0.05,
    "adam": 0.0,
    "sgd": 5e-4,
    "rmsprop": 0.0,
    "lamb": 0.02,
    "lion": 0.5,
}
"""Usual ones where a study says nothing; lamb's are those of timm's A2 recipe for ResNet-50."""


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitSettings:
    """What a study says of a dataset beside its reader's own settings."""

    size: Annotated[int, Field(ge=4, le=4096)] | None = None
    """Short side of the packed images; None keeps uniform images and gives others 256."""
    grayscale: bool = False
    """Colour images become grey ones."""
    mean: Channels | None = None
    """Of each channel, 0..1, taken away before the network; None is the model's own."""
    std: Channels | None = None
    """Of each channel, divided by; None is the model's own."""
    split_seed: int = 0
    """Decides which training images are validation, and which come first in subsets."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of the training images; of no effect where the dataset has validation images of its own."""
    drop_test_duplicates: bool = False
    """Leave test images out of the scores that also stand in the train split."""

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or neither")
        if self.mean is not None and self.std is not None:
            if not len(self.mean) == len(self.std) or len(self.mean) not in (1, 3):
                raise ValueError("mean and std hold one number for grey images, three for colour")
            if self.grayscale and len(self.mean) == 3:
                raise ValueError("mean holds three numbers, but grayscale images have one channel")
            if min(self.std) == 0:
                raise ValueError("std holds 0, which cannot be divided by")


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class ImbalanceSettings:
    """How the classes of a subset differ in size; see `tasks.counting.Imbalance`."""

    name: Profile
    """`balanced`, `semi` (long-tailed at 0.1), `long_tail`, or `step` (the later half is rare)."""
    factor: Annotated[float, Field(gt=0, le=1)] | None = None
    """The smallest class over the largest; None is the profile's own."""

    @property
    def imbalance(self) -> Imbalance:
        factor = FACTORS[self.name] if self.factor is None else self.factor
        return Imbalance(profile=self.name, factor=factor)


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class SubsetSettings:
    """How many real training images a trial may use; see `tasks.counting.subset`."""

    fraction: Fraction = 1.0
    """Of what is left after validation; synthetic images are scaled alike."""
    max_real: Positive | None = None
    """Real images in all."""
    max_synth: Positive | None = None
    """Synthetic images in all, over all sets."""
    per_class: Positive | None = None
    """Real images of any one class."""
    imbalance: ImbalanceSettings | None = None
    """A profile of class sizes, in label order; `max_real` is then what all of them fit."""


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class SetSettings:
    """How many images a generated set has, and its seed."""

    multiplier: Positive | None = None
    """Synthetic images for each real training image; 1 where nothing is said."""
    per_class: Positive | None = None
    """Synthetic images of each class, instead."""
    histogram: dict[str, Whole] | tuple[Whole, ...] | None = None
    """Synthetic images by class name, others none; or a list in label order. Instead."""
    seed: Whole = 0
    """Of fitting and of sampling; training has seeds of its own."""
    refill: bool = True
    """Draw others in place of images that filters drop."""
    max_draws: Annotated[int, Field(ge=1, le=1000)] = 10
    """Images drawn of a class at most, as a multiple of those asked for."""

    def __post_init__(self) -> None:
        said = {
            "multiplier": self.multiplier,
            "per_class": self.per_class,
            "histogram": self.histogram,
        }
        given = [name for name, value in said.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both say how many: keep one")
        if self.histogram is not None:
            numbers = (
                self.histogram.values() if isinstance(self.histogram, dict) else self.histogram
            )
            if not sum(numbers):
                raise ValueError("histogram asks for no image at all: give some class a number")


MixingName = Literal["concat", "replace", "swap", "fill_tail"]


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class MixingSettings:
    """How real and synthetic images come together in `variant: mixed`."""

    name: MixingName = "concat"
    """`concat`: one list; `replace`: synthetic images take the place of real ones; `swap`: a drawn
    real image becomes a synthetic one of its class by chance; `fill_tail`: synthetic images bring
    rare classes up to the largest."""
    ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of `replace`: the share of synthetic images; 0.5 where nothing is said."""
    synthetic_probability: Fraction | None = None
    """Of `swap`; 0.5 where nothing is said, as in DA-Fusion."""
    loss_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Of a synthetic image; a real one counts 1."""
    soft_label: Fraction = 1.0
    """Probability that a synthetic image's label gives its class; the others share the rest."""

    def __post_init__(self) -> None:
        if self.ratio is not None and self.name != "replace":
            raise ValueError("ratio belongs to `name: replace`: leave it out, or say so")
        if self.synthetic_probability is not None and self.name != "swap":
            raise ValueError(
                "synthetic_probability belongs to `name: swap`: leave it out, or say so"
            )


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class StageSettings:
    """One part of a staged training."""

    variant: Variant
    epochs: Positive


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainSettings:
    """How classifiers are trained; `model`, `augmentation` and `companion` are read apart."""

    epochs: Positive = 30
    """Passes over n_ref images; see `match`."""
    steps: Positive | None = None
    """Optimizer steps, instead of epochs."""
    match: Literal["steps", "epochs"] = "steps"
    """`steps`: all arms get the steps of the real images of the base; `epochs`: each its own."""
    stages: tuple[StageSettings, ...] | None = None
    """Parts of the training that see other variants, in order; their epochs add up to `epochs`."""
    batch_size: Positive = 64
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    """Micro-batches that a batch is cut into, to save memory."""
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop", "lamb", "lion"] = "adamw"
    lr: Annotated[float, Field(gt=0)] | None = None
    """Peak rate; None is the optimizer's usual one: 1e-3 for adamw, 0.1 for sgd."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """None is the optimizer's usual one: 0.05 for adamw, 5e-4 for sgd."""
    momentum: Share = 0.9
    """Of sgd (Nesterov) and rmsprop."""
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    milestones: tuple[Positive, ...] | None = None
    """Epochs after which `schedule: step` multiplies the rate by `decay`."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.1
    warmup_epochs: Whole = 0
    label_smoothing: Share = 0.0
    dropout: Share | None = None
    """Before the head; None is the model's own."""
    drop_path: Share | None = None
    """Stochastic depth; None is the model's own."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of averaged weights, which are then the ones that are validated and kept."""
    clip_grad: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of all gradients together."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 elsewhere."""
    compile: bool = False
    """With torch.compile: a minute at the start, for faster steps on a GPU."""
    initialisation: Literal["default", "he", "xavier"] = "default"
    """Of weights that are trained from scratch."""
    input_size: Annotated[int, Field(ge=8, le=2048)] | None = None
    """Side of the training images; None is the model's own."""
    pretrained: bool | str = False
    """Start from published weights, or from those of a local file or folder."""

    def __post_init__(self) -> None:
        if (self.schedule == "step") != (self.milestones is not None):
            raise ValueError("schedule: step and milestones go together: give both, or neither")
        if self.milestones is not None and list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise, such as [60, 120, 160]")
        if self.steps is None and self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs} of {self.epochs} epochs leaves none at the "
                f"full rate: give fewer"
            )
        if self.accumulate > 1 and self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate: {self.accumulate} leaves fewer than the two images that batch norm "
                f"needs in a micro-batch; batch_size {self.batch_size} allows "
                f"{max(1, self.batch_size // 2)}"
            )
        if self.stages is not None:
            if not self.stages:
                raise ValueError("stages is empty: name one or more, or leave it out")
            total = sum(stage.epochs for stage in self.stages)
            if self.steps is None and total != self.epochs:
                raise ValueError(
                    f"the stages add up to {total} epochs, train.epochs is {self.epochs}: "
                    f"they must be equal, so that all cells are trained alike"
                )


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A reader with the split settings."""

    reader: Plugin
    split: SplitSettings


@dataclass(frozen=True, kw_only=True)
class EditedTest:
    """A further test set of edited test images, named by `evaluate_on`; nothing trains on it."""

    name: str
    edits: "EditedSet"


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A further test set, named by `evaluate_on`."""

    name: str
    dataset: Dataset
    part: str | None
    """The split of it that is predicted; None is `test`, or `all` where it came undivided."""
    allow_missing: bool
    """It may lack classes of the dataset."""


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class AuditSettings:
    """What an audit of a synthetic set may find before its trials are stopped."""

    max_test_duplicates: Whole | None = None
    """Synthetic images that are exact or near copies of test images."""
    max_memorisation: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of synthetic images that are copies of training images."""

    @property
    def is_gate(self) -> bool:
        """Something is forbidden, and not only reported."""
        return self.max_test_duplicates is not None or self.max_memorisation is not None


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """What is measured of synthetic sets, and by what."""

    extractor: Plugin
    """What describes images, for measures, audits and filters."""
    measures: tuple[str, ...]
    audit: AuditSettings | None
    """None where nothing is looked for."""


@dataclass(frozen=True, kw_only=True)
class GeneratedSet:
    """Images sampled from a generator that is fitted on the trial's own training images."""

    generator: Plugin
    sampling: Any
    settings: SetSettings
    filters: tuple[Plugin, ...] = ()
    """In the order in which images meet them."""


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class EditSettings:
    """How many edits an image has, and their seed."""

    per_image: Positive | None = None
    """Edits of an image by each prompt; where prompts have weights, in all. 1 by default."""
    multiplier: Positive | None = None
    """Edits of an image in all, each by a prompt that is drawn; instead."""
    seed: Whole = 0
    """Of prompts that are drawn, of masks and of the noise of edits, and of a fit."""

    def __post_init__(self) -> None:
        if self.per_image is not None and self.multiplier is not None:
            raise ValueError("per_image and multiplier say the same in two ways: keep one")


@dataclass(frozen=True, kw_only=True)
class PromptsFile:
    """A file of prompts, which counts by its content."""

    path: Locator[str]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class EditedSet:
    """Real training images, edited."""

    editor: Plugin
    settings: EditSettings
    prompts: PromptsFile | None = None
    """None for editors that read none."""
    masks: Any = None
    """A Config of `tasks.edits.masks`."""


@dataclass(frozen=True, kw_only=True)
class FolderSet:
    """Images already made; where they come from is not known."""

    reader: Plugin


@dataclass(frozen=True, kw_only=True)
class CellSettings:
    """Everything one cell says, typed and checked."""

    dataset: Dataset
    subset: SubsetSettings
    variant: Variant
    sets: tuple[tuple[str, GeneratedSet | EditedSet | FolderSet], ...]
    """Name and recipe of each set used; none for `variant: real`."""
    mixing: MixingSettings
    train: TrainSettings
    model: Plugin
    augmentations: tuple[Plugin, ...]
    """In the order of their application."""
    companion: Plugin | None
    """A second classifier beside the network."""
