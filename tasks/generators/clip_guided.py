"""CLIP-guided diffusion: noise is removed along the gradient of what CLIP sees of a prompt.

With a CLIP of transformers, by name or local folder, the image that it looks at is the predicted
clean one (Crowson's guided diffusion, alembics/disco-diffusion). Without one, a small CLIP is
fitted beside the denoiser on noised training images and the prompts of their classes, and looks at
the noised image itself: Nichol et al., GLIDE (arXiv 2112.10741, openai/glide-text2im), section 2.4.
Either way the predicted noise becomes eps - clip_scale * sqrt(1 - alpha_bar) * the gradient of
logit scale * cosine(image, prompt), the form of Dhariwal & Nichol (2105.05233, algorithm 2) that
goes with any sampler.

The denoiser is that of `ddpm`. By default it is not told the class: the prompt alone says what is
drawn.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.classifiers._checkpoints import BY_CONTENT
from tasks.clip import Clip, check_prompt, class_embeddings, load, prompts
from tasks.clip import identify as identify_clip
from tasks.errors import InputError
from tasks.generation import (
    Generator,
    ImageInfo,
    check_image,
    load_states,
    mixed_precision,
    states,
    to_pixels,
)
from tasks.generators import ddpm
from tasks.generators._diffusion import (
    Predictor,
    Sampler,
    Schedule,
    check_channels,
    check_eta,
    check_guidance,
    check_schedule,
    check_steps,
    on_the_way,
    signal_and_noise,
)
from tasks.generators._fitted_clip import FittedClip
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tasks.reading import FileFacts

VERSION = 1
PART_PIXELS = 2**18
"""Pixels of images that the fitted CLIP takes a gradient of at once: about a gigabyte."""
PART_OF_GIVEN = 32
"""Images that a given CLIP does, and the denoiser with it."""

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted, and which CLIP guides."""

    clip: str | None = None
    """A CLIP on the hub, or the path of a local folder; None fits a small one."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    folder: Locator[str | None] = None
    """Where the folder lies that `clip` names by content; filled in by planning."""
    prompt: str = "a photo of a {}"
    """What CLIP is told of a class; `{}` stands for its name."""
    clip_width: Annotated[int, Field(gt=0, multiple_of=8)] = 32
    """Channels at the first resolution of the fitted CLIP."""
    clip_lr: Annotated[float, Field(gt=0)] = 1e-3
    channels: tuple[Positive, ...] = (32, 64)
    """Of the denoiser; this and the following as in `ddpm`."""
    layers_per_block: Positive = 1
    dropout: Share = 0.1
    attention: bool = False
    timesteps: Annotated[int, Field(gt=1)] = 1000
    schedule: Schedule = "cosine"
    ema_decay: Share = 0.999
    label_dropout: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of training images that the denoiser is shown without their label; 1 is all."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Positive = 64
    steps: Positive = 500
    compile: bool = False
    """Compile the denoiser for the GPU; nothing on a CPU."""

    def __post_init__(self) -> None:
        if self.folder is not None and not (self.clip or "").startswith(BY_CONTENT):
            raise ValueError("folder is filled in by planning: say clip: <path> instead")
        check_prompt(self.prompt)
        check_channels(self.channels)
        check_schedule(self.schedule, self.timesteps)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    clip_scale: Annotated[float, Field(ge=0)] = 2.0
    """Of the gradient; 0 is the denoiser alone, which draws any class unless it is told one."""
    conditional: bool = False
    """Tell the denoiser the class, too."""
    sampler: Sampler = "ddim"
    """`ddim`, `ddpm`, or a scheduler of diffusers by its name."""
    steps: Positive | None = 50
    """Respaced evenly over the timesteps of the fit; None takes them all."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise of DDIM's steps."""
    guidance: Annotated[float, Field(gt=0)] = 1.0
    """Of classifier-free guidance, beside that of CLIP."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        check_eta(self.sampler, self.eta)
        if self.guidance != 1 and not self.conditional:
            raise ValueError(
                f"guidance={self.guidance} weighs what the denoiser makes of the class: say "
                "conditional: true, or clip_scale for the guidance by CLIP"
            )


def check(config: Config, sampling: Sampling) -> None:
    """Raise ValueError where a fit cannot be sampled so."""
    check_steps(sampling.sampler, sampling.steps, config.timesteps)
    if sampling.conditional:
        check_guidance(config.label_dropout, sampling.guidance)
    elif not config.label_dropout:
        raise ValueError(
            "conditional=False needs label_dropout > 0 in the fit: without it the network never "
            "learns to work without a label"
        )


def identify(config: Config, facts: "FileFacts") -> Config:
    """Name a local CLIP by what it contains, so that a key does not hang on where it lies.

    Raises InputError for what is neither a folder nor could be a name on the hub.
    """
    if config.clip is None:
        return config
    found, folder = identify_clip(config.clip, facts, "clip")
    return config if found == config.clip else replace(config, clip=found, folder=folder)


class ClipGuided:
    """A `tasks.generation.Generator`."""

    def __init__(self, config: Config, info: ImageInfo) -> None:
        self._config = config
        self._info = info
        self._device = "cpu"
        names = info.classes or tuple(map(str, range(info.num_classes)))
        self._prompts = prompts(config.prompt, names)
        (text, number), *_ = Counter(self._prompts).most_common(1)
        if number > 1:
            raise InputError(f"prompt: {number} classes are all {text!r}: name them in other words")
        self._denoiser = ddpm.Ddpm(_denoiser(config), info)
        self.batch_size = config.batch_size
        self.num_steps = config.steps
        self._given: Clip | None = None
        self._fitted: FittedClip | None = None
        if config.clip is None:
            self._fitted = FittedClip(
                info,
                self._prompts,
                width=config.clip_width,
                lr=config.clip_lr,
                ema_decay=config.ema_decay,
                schedule=config.schedule,
                timesteps=config.timesteps,
            )
        else:
            self._given = load(config.clip, config.revision, config.folder, "cpu")
        own = (self._denoiser, *((self._fitted,) if self._fitted else ()))
        self.num_parameters = sum(part.num_parameters for part in own)

    def to(self, device: str) -> None:
        self._device = device
        for part in (self._denoiser, self._fitted, self._given):
            if part is not None:
                part.to(device)

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        losses = self._denoiser.step(images, labels, rng)
        return losses | (self._fitted.step(images, labels, rng) if self._fitted else {})

    def _parts(self) -> "dict[str, ddpm.Ddpm | FittedClip]":
        fitted = {"clip": self._fitted} if self._fitted else {}
        return {"denoiser": self._denoiser, **fitted}

    def state_dict(self) -> dict[str, Any]:
        return states(self._parts())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts(), state)

    def sampler_state(self) -> dict[str, "Tensor"]:
        return {
            f"{name}.{key}": tensor
            for name, part in self._parts().items()
            for key, tensor in part.sampler_state().items()
        }

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        for name, part in self._parts().items():
            start = f"{name}."
            own = {key[len(start) :]: each for key, each in state.items() if key.startswith(start)}
            part.load_sampler_state(own)

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Sampling,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        import torch

        check(self._config, sampling)
        predict = self._predictor(labels, sampling)
        with torch.no_grad():
            *_, images = self._denoiser.walk(
                predict, rngs, sampling.sampler, sampling.steps, sampling.eta
            )
        return to_pixels(images).cpu()

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        """`denoising`: from noise to an image of each row's prompt, as `ddpm` walks there."""
        import torch

        steps = min(50, self._config.timesteps)
        predict = self._predictor(labels, Sampling(conditional=not self._config.label_dropout))
        with torch.no_grad():
            walked = list(self._denoiser.walk(predict, rngs, "ddpm", steps, 0.0))
        return {"denoising": on_the_way(walked)}

    def _predictor(self, labels: "Tensor", sampling: Sampling) -> Predictor:
        """Of the noise in images of these labels, part after part: gradients take memory."""
        import torch

        labels = labels.to(self._device)
        pixels = self._info.height * self._info.width
        size = max(1, PART_PIXELS // pixels) if self._given is None else PART_OF_GIVEN
        parts = [self._part(each, sampling) for each in labels.split(size)]

        def predict(noisy: "Tensor", times: "Tensor") -> "Tensor":
            split = zip(parts, noisy.split(size), times.split(size), strict=True)
            return torch.cat([part(seen, at) for part, seen, at in split])

        return predict

    def _part(self, labels: "Tensor", sampling: Sampling) -> Predictor:
        import torch

        told = labels if sampling.conditional else torch.full_like(labels, self._info.num_classes)
        predict = self._denoiser.predictor(told, sampling.guidance)
        scale = sampling.clip_scale
        return self._guided(predict, labels, scale) if scale else predict

    def _guided(self, predict: Predictor, labels: "Tensor", weight: float) -> Predictor:
        """eps - weight * sqrt(1 - alpha_bar) * gradient of logit scale * cosine(image, prompt)."""
        import torch

        schedule, timesteps = self._config.schedule, self._config.timesteps
        similarity = self._similarity(labels)

        def guided(noisy: "Tensor", times: "Tensor") -> "Tensor":
            signal, rest = signal_and_noise(times, schedule, timesteps)
            with torch.enable_grad():
                seen = noisy.detach().requires_grad_()
                if self._given is None:
                    noise = predict(noisy, times)
                    logits = similarity(seen, times)
                else:
                    # Through the denoiser too: what it makes of the image moves with it.
                    noise = predict(seen, times)
                    logits = similarity(((seen - rest * noise) / signal).clamp(-1, 1), times)
                (gradient,) = torch.autograd.grad(logits.sum(), seen)
            return noise.detach() - weight * rest * gradient

        return guided

    def _similarity(self, labels: "Tensor") -> "Callable[[Tensor, Tensor], Tensor]":
        """Logit scale * cosine of each image, noised as at its timestep, with its prompt: N."""
        given, fitted = self._given, self._fitted
        if fitted is not None:
            mine = class_embeddings(fitted.texts, self._prompts)[labels]
            return lambda images, times: fitted.similarity(images, times, mine)
        assert given is not None
        texts = class_embeddings(given.texts, self._prompts)[labels]

        def similarity(clean: "Tensor", _: "Tensor") -> "Tensor":
            with mixed_precision(self._device):
                vectors = given.images((clean + 1) / 2)
            return given.scale * (vectors.float() * texts).sum(1)

        return similarity


def _denoiser(config: Config) -> ddpm.Config:
    """The settings of the denoiser alone."""
    return ddpm.Config(**{item.name: getattr(config, item.name) for item in fields(ddpm.Config)})


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights; a CLIP that is given is loaded.

    Raises InputError for images that these networks cannot make, and for a CLIP that cannot be had.
    """
    check_image(info, num_halvings=len(config.channels) - 1)
    return ClipGuided(config, info)
