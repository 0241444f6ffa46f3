"""Class-conditional DDPM with classifier-free guidance; one fit serves the DDPM and DDIM samplers.

Ho, Jain & Abbeel, "Denoising diffusion probabilistic models" (arXiv 2006.11239,
hojonathanho/diffusion); Nichol & Dhariwal, cosine schedule (2102.09672, openai/improved-diffusion);
Song, Meng & Ermon, DDIM (2010.02502, ermongroup/ddim); Ho & Salimans, classifier-free guidance
(2207.12598). The network and the schedulers are those of diffusers.

The CIFAR-10 setting of Ho et al. is near `channels: [128, 256, 256, 256]`, `layers_per_block: 2`,
`attention: true`, `schedule: linear`, `lr: 2e-4`, `batch_size: 128`, `ema_decay: 0.9999`,
`steps: 800000`; the defaults here suit small images on one CPU core.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import (
    Generator,
    ImageInfo,
    check_image,
    load_states,
    mixed_precision,
    normal,
    states,
    to_pixels,
    to_signed,
)
from tasks.generators._diffusion import (
    Predictor,
    Sampler,
    Schedule,
    check_channels,
    check_eta,
    check_guidance,
    check_schedule,
    check_steps,
    noising,
    on_the_way,
    way_from_image,
    way_out,
)
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 2
MAX_NORM = 1.0
"""Of all gradients together, as in Ho et al."""

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    channels: tuple[Positive, ...] = (32, 64)
    """Channels at each resolution, each half of the one before."""
    layers_per_block: Positive = 1
    dropout: Share = 0.1
    attention: bool = False
    """Self-attention at the lowest resolution."""
    timesteps: Annotated[int, Field(gt=1)] = 1000
    schedule: Schedule = "cosine"
    ema_decay: Share = 0.999
    label_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of training images whose label is replaced by "no label"."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Positive = 64
    steps: Positive = 550
    compile: bool = False
    """Compile the network for the GPU; nothing on a CPU."""

    def __post_init__(self) -> None:
        check_channels(self.channels)
        check_schedule(self.schedule, self.timesteps)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    sampler: Sampler = "ddim"
    """`ddim`, `ddpm`, or a scheduler of diffusers by its name."""
    steps: Positive | None = 50
    """Respaced evenly over the timesteps of the fit; None takes them all."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise of DDIM's steps: 0 is deterministic given the first noise, 1 is DDPM's posterior."""
    guidance: Annotated[float, Field(gt=0)] = 1.0
    """Weight w of eps_null + w * (eps_label - eps_null); 1 is the plain conditional model."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        check_eta(self.sampler, self.eta)


def check(config: Config, sampling: Sampling) -> None:
    """Raise ValueError where a fit cannot be sampled so."""
    check_guidance(config.label_dropout, sampling.guidance)
    check_steps(sampling.sampler, sampling.steps, config.timesteps)


class Ddpm:
    """A `tasks.generation.Generator`."""

    def __init__(self, config: Config, info: ImageInfo) -> None:
        import torch

        from tasks.networks.denoiser import conditional_unet

        self.batch_size = config.batch_size
        self.num_steps = config.steps
        self._config = config
        self._info = info
        self._device = "cpu"
        self._num_done = 0
        self._noising = noising(config.schedule, config.timesteps)
        self._network = conditional_unet(
            info, config.channels, config.layers_per_block, config.dropout, config.attention
        )
        self._average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self.num_parameters = sum(weight.numel() for weight in self._network.parameters())
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.lr, fused=True)

    def to(self, device: str) -> None:
        import torch

        self._device = device
        on_gpu = device.startswith("cuda")
        # On a CPU group norm is slower by more than convolutions are faster with channels last.
        layout = torch.channels_last if on_gpu else torch.preserve_format
        for network in (self._network, self._average):
            network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
            if self._config.compile and on_gpu:
                network.compile()

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch
        from torch.nn import functional

        from tasks.networks.averaging import update_average
        from tasks.networks.denoiser import drop_labels
        from tasks.networks.descending import descend

        config, device = self._config, images.device
        clean = to_signed(images)
        noise = torch.randn(clean.shape, generator=rng, device=device)
        timesteps = torch.randint(
            config.timesteps, (len(clean),), generator=rng, device=device, dtype=torch.int64
        )
        seen = drop_labels(labels, self._info.num_classes, config.label_dropout, rng)
        noisy = self._noising.add_noise(clean, noise, timesteps)
        self._network.train()
        with mixed_precision(self._device):
            predicted = self._network(noisy, timesteps, class_labels=seen).sample
        loss = functional.mse_loss(predicted.float(), noise)
        norm = descend(loss, self._optimizer, self._network.parameters(), MAX_NORM)
        update_average(
            self._average.parameters(), self._network.parameters(), config.ema_decay, self._num_done
        )
        self._num_done += 1
        return {"noise_mse": loss.detach(), "gradient_norm": norm}

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self._network,
            "average": self._average,
            "optimizer": self._optimizer,
        }

    def state_dict(self) -> dict[str, Any]:
        return {**states(self._parts()), "num_done": self._num_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts(), state)
        self._num_done = state["num_done"]

    def sampler_state(self) -> dict[str, "Tensor"]:
        return dict(self._average.state_dict())

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        self._average.load_state_dict(state)

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Sampling,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        import torch

        check(self._config, sampling)
        predict = self.predictor(labels, sampling.guidance)
        with torch.inference_mode():
            *_, images = self.walk(predict, rngs, sampling.sampler, sampling.steps, sampling.eta)
        return to_pixels(images).cpu()

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        """`denoising`: from noise to an image of each row's class, as `ddpm` walks there."""
        import torch

        steps = min(50, self._config.timesteps)
        with torch.inference_mode():
            walked = list(self.walk(self.predictor(labels, 1.0), rngs, "ddpm", steps, 0.0))
        return {"denoising": on_the_way(walked)}

    def walk(
        self,
        predict: Predictor,
        rngs: "Sequence[torch.Generator]",
        sampler: Sampler,
        steps: int | None,
        eta: float,
    ) -> "Iterator[Tensor]":
        """From noise to images with this prediction of the noise, step by step."""
        info = self._info
        return way_out(
            predict,
            normal((info.channels, info.height, info.width), rngs).to(self._device),
            rngs,
            sampler=sampler,
            steps=steps,
            eta=eta,
            schedule=self._config.schedule,
            timesteps=self._config.timesteps,
        )

    def edit(
        self,
        images: "Tensor",
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        *,
        strength: float,
        steps: int,
        eta: float,
        guidance: float,
        repaint: "Tensor | None" = None,
    ) -> "Tensor":
        """Noise images and denoise them towards their labels, with DDIM: uint8, N × C × H × W.

        At strength 1 they are samples: those that `sample` draws of the same generators.

        Args:
            images: uint8, N × C × H × W, of the size and channels that it was fitted on.
            labels: int64, N.
            rngs: one CPU generator per image, from which all the noise of that image comes.
            strength: share of the schedule, above 0 and at most 1.
            repaint: bool, N × 1 × H × W; where it is false, images stay as they are.
        """
        import torch

        with torch.inference_mode():
            made = way_from_image(
                self.predictor(labels, guidance),
                to_signed(images.to(self._device)),
                normal(images.shape[1:], rngs).to(self._device),
                rngs,
                strength=strength,
                steps=steps,
                eta=eta,
                schedule=self._config.schedule,
                timesteps=self._config.timesteps,
                repaint=None if repaint is None else repaint.to(self._device),
            )
        return to_pixels(made).cpu()

    def predictor(self, labels: "Tensor", guidance: float) -> Predictor:
        """What the average says of the noise in images of these labels, guided by them."""
        from tasks.networks.denoiser import guided_noise, in_parts

        null, on_gpu = self._info.num_classes, self._device.startswith("cuda")
        labels = labels.to(self._device)

        def denoise(noisy: "Tensor", timesteps: "Tensor", seen: "Tensor") -> "Tensor":
            with mixed_precision(self._device):
                found: Tensor = self._average(noisy, timesteps, class_labels=seen).sample
            return found.float()

        parted = denoise if on_gpu else in_parts(denoise)

        def predict(noisy: "Tensor", timesteps: "Tensor") -> "Tensor":
            return guided_noise(parted, noisy, timesteps, labels, null, guidance)

        return predict


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    check_image(info, num_halvings=len(config.channels) - 1)
    return Ddpm(config, info)
