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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.generation import (
    Generator,
    ImageInfo,
    check_image,
    mixed_precision,
    normal,
    to_pixels,
    to_signed,
)
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1

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
    schedule: Literal["linear", "cosine"] = "cosine"
    ema_decay: Share = 0.999
    label_dropout: Share = 0.1
    """Share of training images whose label is replaced by "no label"."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Positive = 64
    steps: Positive = 700

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels=[] holds no resolution: give at least one, as in [32, 64]")
        if len(self.channels) > 5:
            raise ValueError(f"channels={list(self.channels)}: use at most 5 resolutions")
        if any(width % 8 for width in self.channels):
            raise ValueError(f"channels={list(self.channels)}: each must be a multiple of 8")
        if self.schedule == "linear" and self.timesteps < 100:
            raise ValueError(
                f"timesteps={self.timesteps} with schedule='linear' never reaches noise "
                "(1e-4..0.02 is meant for 1000): use 100 or more, or schedule='cosine'"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    sampler: Literal["ddpm", "ddim"] = "ddim"
    steps: Positive | None = 50
    """Respaced evenly over the timesteps of the fit; None takes them all."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Noise of DDIM's steps: 0 is deterministic given the first noise, 1 is DDPM's posterior."""
    guidance: Annotated[float, Field(gt=0)] = 1.0
    """Weight w of eps_null + w * (eps_label - eps_null); 1 is the plain conditional model."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        if self.sampler == "ddpm" and self.eta:
            raise ValueError(f"eta={self.eta} with sampler='ddpm': only sampler='ddim' has an eta")


def check(config: Config, sampling: Sampling) -> None:
    """Raise ValueError where a fit cannot be sampled so."""
    steps = sampling.steps
    if sampling.guidance != 1 and not config.label_dropout:
        raise ValueError(
            f"guidance={sampling.guidance} needs label_dropout > 0 (0.1 is usual) in the fit: "
            "without it the network never learns to work without a label"
        )
    if steps is not None and steps > config.timesteps:
        raise ValueError(f"steps={steps} exceeds timesteps={config.timesteps}: use at most as many")
    if steps is not None and sampling.sampler == "ddim" and config.timesteps % steps:
        # diffusers' DDIM takes whole strides; others would end beside the clean image.
        fitting = max(n for n in range(1, steps) if config.timesteps % n == 0)
        raise ValueError(
            f"steps={steps} does not divide timesteps={config.timesteps}: use {fitting}, say"
        )


class Ddpm:
    """A `tasks.generation.Generator`."""

    def __init__(self, config: Config, info: ImageInfo) -> None:
        import torch

        from tasks.networks.denoiser import conditional_unet, untyped

        self.batch_size = config.batch_size
        self.num_steps = config.steps
        self._config = config
        self._info = info
        self._device = "cpu"
        self._num_done = 0
        self._network = conditional_unet(
            info, config.channels, config.layers_per_block, config.dropout, config.attention
        )
        self._average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self.num_parameters = sum(weight.numel() for weight in self._network.parameters())
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=config.lr)
        self._noising = untyped.DDPMScheduler(**self._schedule())

    def _schedule(self) -> dict[str, Any]:
        """The arguments that diffusers' schedulers share.

        Trailing spacing starts at pure noise with any number of steps (Lin et al., 2305.08891).
        """
        cosine = self._config.schedule == "cosine"
        return {
            "num_train_timesteps": self._config.timesteps,
            "beta_schedule": "squaredcos_cap_v2" if cosine else "linear",
            "timestep_spacing": "trailing",
        }

    def to(self, device: str) -> None:
        self._device = device
        self._network.to(device)
        self._average.to(device)

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        import torch
        from torch.nn import functional

        from tasks.networks.averaging import update_average
        from tasks.networks.denoiser import drop_labels

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
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        update_average(
            self._average.parameters(), self._network.parameters(), config.ema_decay, self._num_done
        )
        self._num_done += 1
        return {"noise_mse": loss.detach()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "num_done": self._num_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
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

        from tasks.networks.denoiser import guided_noise

        check(self._config, sampling)
        info, null = self._info, self._info.num_classes
        labels = labels.to(self._device)
        image = normal((info.channels, info.height, info.width), rngs).to(self._device)

        def denoise(noisy: "Tensor", timesteps: "Tensor", seen: "Tensor") -> "Tensor":
            return self._average(noisy, timesteps, class_labels=seen).sample  # type: ignore[no-any-return]

        scheduler, settings = self._sampler(sampling)
        with torch.no_grad():
            for timestep in scheduler.timesteps.tolist():
                times = torch.full_like(labels, timestep)
                noise = guided_noise(denoise, image, times, labels, null, sampling.guidance)
                image = scheduler.step(
                    noise, timestep, image, generator=list(rngs), **settings
                ).prev_sample
        return to_pixels(image).cpu()

    def _sampler(self, sampling: Sampling) -> tuple[Any, dict[str, float]]:
        """The scheduler, set to its steps, and what else its `step` is given."""
        from tasks.networks.denoiser import untyped

        ddpm = sampling.sampler == "ddpm"
        kind = untyped.DDPMScheduler if ddpm else untyped.DDIMScheduler
        scheduler = kind(**self._schedule())
        scheduler.set_timesteps(sampling.steps or self._config.timesteps)
        return scheduler, {} if ddpm else {"eta": sampling.eta}


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    check_image(info, num_halvings=len(config.channels) - 1)
    return Ddpm(config, info)
