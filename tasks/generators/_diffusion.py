"""What the diffusion models share: noise schedules, samplers by name, and the way out of noise."""

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from tasks.generation import to_pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Schedule = Literal["linear", "cosine"]

Sampler = Literal[
    "ddim",
    "ddpm",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
]
"""Those of diffusers' schedulers that walk a network which predicts the noise of a variance-
preserving process back to images, and draw each image's noise from a generator of its own.

Left out, and why:
- DDIMScheduler, DDPMScheduler and their Parallel forms: `ddim` and `ddpm` are them.
- DDIMInverse, DPMSolverMultistepInverse: walk from images to noise. RePaint: fills in a mask.
- LCM, TCD, CMStochasticIterative, ConsistencyDecoder, SCM: for networks distilled to few steps.
- FlowMatch*, FlowMap*, Helios*, LTX*, Piflow, MiniMaxH3, RFD4Proteina: for networks that predict
  velocities of another process.
- EDM*, KarrasVe, ScoreSde*, CosineDPMSolver, CogVideoX*, IPNDM, UnCLIP, DDPMWuerstchen: walk noise
  schedules of their own, not the one of the fit.
- DPMSolverSDE: draws its noise for a whole batch at once.
- Amused, BlockRefinement, DiscreteDDIM, EntropyBound, VQDiffusion: for discrete tokens.
"""

SAMPLERS: tuple[str, ...] = get_args(Sampler)

Predictor = Callable[["Tensor", "Tensor"], "Tensor"]
"""Noisy images N × C × H × W, as the fit made them, and timesteps N -> the noise in them."""

K_DIFFUSION = (
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
)
"""They step through noise levels as Karras et al. (2206.00364) space them: evenly spaced timesteps
of a cosine schedule begin with leaps that solvers of second order cannot take."""

MOST_LOG_SIGMA = 5.1
"""Noise of 164 times the signal is pure noise already; diffusers advises this very bound for cosine
schedules, whose last levels are beyond what solvers can divide by."""

COLUMNS = 8
"""Pictures of an image on its way out of noise."""


def check_channels(channels: Sequence[int]) -> None:
    """Raise ValueError for what diffusers' U-Net cannot be built of."""
    if not channels:
        raise ValueError("channels=[] holds no resolution: give at least one, as in [32, 64]")
    if len(channels) > 5:
        raise ValueError(f"channels={list(channels)}: use at most 5 resolutions")
    if any(width % 8 for width in channels):
        raise ValueError(f"channels={list(channels)}: each must be a multiple of 8")


def check_schedule(schedule: Schedule, timesteps: int) -> None:
    """Raise ValueError for a schedule that never reaches noise."""
    if schedule == "linear" and timesteps < 100:
        raise ValueError(
            f"timesteps={timesteps} with schedule='linear' never reaches noise "
            "(1e-4..0.02 is meant for 1000): use 100 or more, or schedule='cosine'"
        )


def check_eta(sampler: Sampler, eta: float) -> None:
    """Raise ValueError where a sampler has no such setting."""
    if sampler != "ddim" and eta:
        raise ValueError(f"eta={eta} with sampler={sampler!r}: only sampler='ddim' has an eta")


def check_steps(sampler: Sampler, steps: int | None, timesteps: int) -> None:
    """Raise ValueError where a sampler cannot take so many steps."""
    if steps is None:
        return
    if steps > timesteps:
        raise ValueError(f"steps={steps} exceeds timesteps={timesteps}: use at most as many")
    if sampler == "ddim" and timesteps % steps:
        # diffusers' DDIM takes whole strides; others would end beside the clean image.
        fitting = max(n for n in range(1, steps) if timesteps % n == 0)
        raise ValueError(f"steps={steps} does not divide timesteps={timesteps}: use {fitting}, say")


def check_guidance(label_dropout: float, guidance: float) -> None:
    """Raise ValueError for classifier-free guidance by a network that does not know both ways."""
    if guidance != 1 and not label_dropout:
        raise ValueError(
            f"guidance={guidance} needs label_dropout > 0 (0.1 is usual) in the fit: "
            "without it the network never learns to work without a label"
        )
    if label_dropout == 1:
        raise ValueError(
            "label_dropout=1 never shows the network a label: use less (0.1 is usual) to draw "
            "images of a class"
        )


def beta_settings(schedule: Schedule, timesteps: int) -> dict[str, Any]:
    """The noise schedule of a fit, as diffusers' schedulers take it."""
    name = "squaredcos_cap_v2" if schedule == "cosine" else "linear"
    return {"num_train_timesteps": timesteps, "beta_schedule": name}


def noising(schedule: Schedule, timesteps: int) -> Any:
    """diffusers' DDPM, for the noise levels that a network is fitted at."""
    from tasks.networks.denoiser import untyped

    return untyped.DDPMScheduler(**beta_settings(schedule, timesteps))


@functools.cache
def log_sigmas(schedule: Schedule, timesteps: int, device: str = "cpu") -> "Tensor":
    """log(noise / signal) at each timestep of the fit, in double precision."""
    import torch

    # What inference mode makes can take part in no gradient later.
    with torch.inference_mode(False):
        kept = noising(schedule, timesteps).alphas_cumprod.double()
        found: Tensor = (((1 - kept) / kept).log() / 2).to(device)
    return found


def log_sigmas_at(times: "Tensor", schedule: Schedule, timesteps: int) -> "Tensor":
    """The same between timesteps, where some schedulers stop: interpolated as they do."""
    known = log_sigmas(schedule, timesteps, str(times.device))
    below = times.floor().long().clamp(0, timesteps - 1)
    above = (below + 1).clamp(max=timesteps - 1)
    return known[below].lerp(known[above], times.double() - below)


def scheduler(sampler: Sampler, steps: int | None, schedule: Schedule, timesteps: int) -> Any:
    """diffusers' scheduler, set to its steps.

    Trailing spacing starts at pure noise with any number of steps (Lin et al., 2305.08891).
    """
    from tasks.networks.denoiser import untyped

    if sampler in ("ddim", "ddpm"):
        kind = untyped.DDIMScheduler if sampler == "ddim" else untyped.DDPMScheduler
        made = kind(**beta_settings(schedule, timesteps), timestep_spacing="trailing")
        made.set_timesteps(steps or timesteps)
        return made
    kind = getattr(untyped, sampler)
    usual = int((log_sigmas(schedule, timesteps) <= MOST_LOG_SIGMA).sum())
    settings = {
        "num_train_timesteps": usual,
        "trained_betas": noising(schedule, timesteps).betas[:usual].numpy(),
        "timestep_spacing": "trailing",
        "use_karras_sigmas": sampler in K_DIFFUSION,
        "lower_order_final": True,
        # PNDM's Runge-Kutta start counts on another spacing; Stable Diffusion leaves it out too.
        "skip_prk_steps": True,
    }
    known = inspect.signature(kind).parameters
    with _quiet():
        made = kind(**{name: value for name, value in settings.items() if name in known})
        made.set_timesteps(min(steps or usual, usual))
    # Else it is looked for by its timestep, which may stand there twice.
    if hasattr(made, "set_begin_index"):
        made.set_begin_index(0)
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """diffusers hands tensors to numpy in ways that numpy means to give up."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array_", DeprecationWarning)
        yield


def time_of(walked: Any, timestep: "Tensor", schedule: Schedule, timesteps: int) -> float:
    """The timestep of the fit that a scheduler is at.

    Schedulers that count in noise levels round the timesteps that they tell, some of them.
    """
    import numpy as np
    import torch

    scale = float(walked.scale_model_input(torch.ones((), dtype=torch.float64), timestep))
    if scale == 1:
        return float(timestep)
    known = log_sigmas(schedule, timesteps).numpy()
    return float(np.interp(math.log(1 / scale**2 - 1) / 2, known, np.arange(timesteps)))


def signal_and_noise(
    times: "Tensor", schedule: Schedule, timesteps: int
) -> "tuple[Tensor, Tensor]":
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar) at each image's timestep, each N × 1 × 1 × 1."""
    sigma = log_sigmas_at(times, schedule, timesteps).exp().view(-1, 1, 1, 1)
    return (1 + sigma**2).rsqrt().float(), (1 + sigma**-2).rsqrt().float()


def clipped(noise: "Tensor", noisy: "Tensor", signal: "Tensor", rest: "Tensor") -> "Tensor":
    """Bend predicted noise so that the image it leaves behind lies within [-1, 1].

    As in openai/guided-diffusion: were that image clipped and the noise left as predicted, what
    guidance adds to the one would be lost and what it takes from the other would not. Schedulers
    that clip nothing would divide by next to nothing at the start of a cosine schedule.
    """
    clean = ((noisy - rest * noise) / signal).clamp(-1, 1)
    return (noisy - signal * clean) / rest


def way_out(
    predict: Predictor,
    noise: "Tensor",
    rngs: "Sequence[torch.Generator]",
    *,
    sampler: Sampler,
    steps: int | None,
    eta: float,
    schedule: Schedule,
    timesteps: int,
) -> "Iterator[Tensor]":
    """Yield the noise, N × C × H × W, and then what each step makes of it; last, the images.

    Args:
        rngs: one CPU generator per image, for the noise that steps add.
    """
    import torch

    walked = scheduler(sampler, steps, schedule, timesteps)
    known = inspect.signature(walked.step).parameters
    settings: dict[str, Any] = {"generator": list(rngs)} if "generator" in known else {}
    settings |= {"eta": eta} if "eta" in known else {}
    yield noise
    image = noise * walked.init_noise_sigma
    for timestep in walked.timesteps:
        seen = walked.scale_model_input(image, timestep)
        time = time_of(walked, timestep, schedule, timesteps)
        times = torch.full((len(image),), time, device=image.device)
        levels = signal_and_noise(times, schedule, timesteps)
        found = clipped(predict(seen, times), seen, *levels)
        with _quiet():
            image = walked.step(found, timestep, image, **settings).prev_sample
        yield image


def steps_of(strength: float, steps: int) -> int:
    """How many of `steps` an edit of this strength walks: at least one, and all at 1."""
    return min(steps, max(1, round(strength * steps)))


def way_from_image(
    predict: Predictor,
    clean: "Tensor",
    noise: "Tensor",
    rngs: "Sequence[torch.Generator]",
    *,
    strength: float,
    steps: int,
    eta: float,
    schedule: Schedule,
    timesteps: int,
    repaint: "Tensor | None" = None,
) -> "Tensor":
    """Noise images to a share of the schedule, and walk with DDIM from there (SDEdit, 2108.01073).

    At strength 1 the walk starts with the noise alone, and so is that of `way_out`. Where `repaint`
    is false the image is, before each step, the source as noisy as that step expects, and in the
    end the source (as in RePaint, 2201.09865, without its jumps back, by the image's one noise).

    Args:
        clean: sources in [-1, 1], N × C × H × W.
        noise: of the same shape.
        rngs: one CPU generator per image, for the noise that steps add.
        strength: above 0, at most 1.
        repaint: N × 1 × H × W.
    """
    import torch

    walked = scheduler("ddim", steps, schedule, timesteps)
    times = walked.timesteps[-steps_of(strength, steps) :]

    def noised(timestep: "Tensor") -> "Tensor":
        at = torch.full((len(clean),), float(timestep), device=clean.device)
        signal, rest = signal_and_noise(at, schedule, timesteps)
        return signal * clean + rest * noise

    image = noise if len(times) == steps else noised(times[0])
    for number, timestep in enumerate(times):
        if repaint is not None and number:
            image = torch.where(repaint, image, noised(timestep))
        at = torch.full((len(image),), float(timestep), device=image.device)
        levels = signal_and_noise(at, schedule, timesteps)
        found = clipped(predict(image, at), image, *levels)
        image = walked.step(found, timestep, image, generator=list(rngs), eta=eta).prev_sample
    return image if repaint is None else torch.where(repaint, image, clean)


def on_the_way(walked: "Sequence[Tensor]") -> "Tensor":
    """A few of the steps, evenly chosen, first and last among them, as a row for each image.

    Returns uint8, N × columns × C × H × W, on the CPU.
    """
    import torch

    num = min(COLUMNS, len(walked))
    chosen = [walked[round(column * (len(walked) - 1) / (num - 1))] for column in range(num)]
    return torch.stack([to_pixels(images).cpu() for images in chosen], 1)
