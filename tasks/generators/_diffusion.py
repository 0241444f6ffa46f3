"""What the diffusion models share: noise schedules, samplers by name, and the way out of noise."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

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
"""Noisy images N × C × H × W, of variance 1 as the fit made them, and timesteps N -> their noise."""

PARTS_OF_A_BATCH = 64
"""Images that a CPU runs a network on at once: more no longer fit its caches."""


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


def betas(schedule: Schedule, timesteps: int) -> dict[str, Any]:
    """The noise schedule as diffusers' schedulers take it."""
    name = "squaredcos_cap_v2" if schedule == "cosine" else "linear"
    return {"num_train_timesteps": timesteps, "beta_schedule": name}


def scheduler(sampler: Sampler, steps: int | None, schedule: Schedule, timesteps: int) -> Any:
    """diffusers' scheduler, set to its steps.

    Trailing spacing starts at pure noise with any number of steps (Lin et al., 2305.08891).
    """
    from tasks.networks.denoiser import untyped

    kind = getattr(untyped, {"ddim": "DDIMScheduler", "ddpm": "DDPMScheduler"}.get(sampler, sampler))
    settings = betas(schedule, timesteps)
    if "timestep_spacing" in inspect.signature(kind).parameters:
        settings["timestep_spacing"] = "trailing"
    made = kind(**settings)
    made.set_timesteps(steps or timesteps)
    return made


@functools.cache
def log_sigmas(schedule: Schedule, timesteps: int) -> "Tensor":
    """log(noise / signal) at each timestep of the fit."""
    from tasks.networks.denoiser import untyped

    kept = untyped.DDPMScheduler(**betas(schedule, timesteps)).alphas_cumprod.double()
    found: Tensor = ((1 - kept) / kept).log() / 2
    return found
