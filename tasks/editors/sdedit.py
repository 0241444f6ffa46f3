"""SDEdit with the study's own model: noises an image, and denoises it towards its class.

Meng et al., "SDEdit: guided image synthesis and editing with stochastic differential equations"
(arXiv 2108.01073, ermongroup/SDEdit), with a class in place of strokes, by a `ddpm` that was fitted
on the study's own training images: nothing is downloaded, and no prompt is read.

Under a mask, what stands outside is shown to the model as noisy as each step expects, and is in the
end the source, bit by bit (as RePaint, arXiv 2201.09865, without its jumps back).
"""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.editing import About, Edit, Edited, Editor, Given
from tasks.editors._batches import Batches
from tasks.editors._settings import BatchSize, Strength, check_batches
from tasks.edits.sizing import Fitted, How, Takes, fit, keep_outside
from tasks.errors import InputError
from tasks.generators import ddpm as models
from tasks.generators._diffusion import check_guidance, check_steps
from tasks.generators.ddpm import Config as Fit
from tasks.specs import STRICT

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

VERSION = 1
ABOUT = About(prompt=False, fits="ddpm")
AT_ONCE = 250
"""Small networks, as `ddpm` samples them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted, and how it edits."""

    ddpm: Fit = Fit()
    """Settings of the fit, which these of the edit do not change."""
    strength: Strength = 0.5
    """Share of the noise schedule that is run: near 0 keeps the image, 1 is a sample."""
    steps: Annotated[int, Field(ge=1)] = 50
    """Of the whole schedule; an edit walks its share of them."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise of DDIM's steps."""
    guidance: Annotated[float, Field(gt=0)] = 1.0
    """Weight w of eps_null + w * (eps_label - eps_null); 1 is the plain conditional model."""
    fit: How = "resize"
    batch_size: BatchSize | None = None
    """None is 250, or what memory allows."""
    strict: bool = False
    """One image at a time: pixels are the same in any batch."""

    def __post_init__(self) -> None:
        check_guidance(self.ddpm.label_dropout, self.guidance)
        check_steps("ddim", self.steps, self.ddpm.timesteps)
        check_batches(self.batch_size, self.strict)


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where the fit is not there, or is another's."""
    import hashlib

    import diffusers
    import torch

    from tasks.devices import prepare

    if given.fitted is None or given.info is None:
        raise InputError("sdedit edits with a ddpm that was fitted on the study's own images first")
    prepare(given.device)
    weights = given.fitted / "weights.safetensors"
    # The fresh weights are drawn from torch's global state and thrown away.
    with torch.random.fork_rng(devices=[]):
        generator = cast(models.Ddpm, models.build(config.ddpm, given.info))
    _restore(generator, weights)
    generator.to(given.device)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    untyped: Any = diffusers
    on_gpu = given.device.startswith("cuda")
    return _SdEdit(
        config,
        generator,
        given,
        stamp={
            "editor": "sdedit",
            "weights": f"sha256:{digest}",
            "dtype": "bfloat16, autocast" if on_gpu else "float32",
            "size": f"{given.info.height} × {given.info.width}",
            "diffusers": str(untyped.__version__),
        },
    )


def _restore(generator: models.Ddpm, weights: "Path") -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        generator.load_sampler_state(load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"sdedit: {weights.name} of the fit cannot be loaded as this ddpm "
            f"({type(error).__name__}: {reason})"
        ) from error


class _SdEdit:
    """A `tasks.editing.Editor`."""

    def __init__(
        self, config: Config, generator: models.Ddpm, given: Given, stamp: dict[str, str]
    ) -> None:
        assert given.info is not None
        self.stamp = stamp
        self._config, self._generator, self._info = config, generator, given.info
        self._batches = Batches(1 if config.strict else config.batch_size or AT_ONCE)
        self._takes = Takes(
            multiple=1,
            size=(given.info.height, given.info.width),
            channels=given.info.channels,
        )

    @property
    def batch_size(self) -> int:
        """Smaller after memory did not do."""
        return self._batches.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._batches.size = size

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        """Edit images; those with a mask, and those without, go through together."""
        for edit in edits:
            if edit.label is None or not 0 <= edit.label < self._info.num_classes:
                raise InputError(
                    f"sdedit denoises towards a class of the {self._info.num_classes} it was "
                    f"fitted on, and an image comes with {edit.label}"
                )
        how = self._config.fit
        fitted = [(edit, fit(edit.image, edit.mask, self._takes, how)) for edit in edits]
        for masked in (False, True):
            group = [each for each in fitted if (each[1].mask is not None) == masked]
            yield from self._batches.run(group, self._made)

    def _made(self, group: Sequence[tuple[Edit, Fitted]]) -> list[Edited]:
        import torch

        begun = time.monotonic()
        config = self._config
        images = self._generator.edit(
            _tensor([fitted.image for _, fitted in group]),
            torch.tensor([edit.label for edit, _ in group]),
            [torch.Generator().manual_seed(edit.seed) for edit, _ in group],
            strength=config.strength,
            steps=config.steps,
            eta=config.eta,
            guidance=config.guidance,
            repaint=_tensor([f.mask[..., None] for _, f in group if f.mask is not None])
            if group[0][1].mask is not None
            else None,
        )
        seconds = (time.monotonic() - begun) / len(group)
        pixels = images.permute(0, 2, 3, 1).numpy()
        return [
            _edited(edit, fitted, image, seconds)
            for (edit, fitted), image in zip(group, pixels, strict=True)
        ]


def _edited(edit: Edit, fitted: Fitted, image: Any, seconds: float) -> Edited:
    restored = fitted.restore(image)
    if edit.mask is not None:
        restored = keep_outside(edit.image, restored, edit.mask)
    return Edited(id=edit.id, image=restored, seconds=seconds)


def _tensor(arrays: Sequence[Any]) -> "Tensor":
    """H × W × C each -> N × C × H × W."""
    import torch

    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
