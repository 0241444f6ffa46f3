"""The small CLIP that is fitted beside a denoiser, where no pre-trained one is at hand."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.generation import ImageInfo, load_states, mixed_precision, states, to_signed
from tasks.generators._diffusion import Schedule, noising

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_NORM = 1.0


class FittedClip:
    """Learns which prompt goes with which noised image; what guides is a running average."""

    def __init__(
        self,
        info: ImageInfo,
        prompts: Sequence[str],
        *,
        width: int,
        lr: float,
        ema_decay: float,
        schedule: Schedule,
        timesteps: int,
    ) -> None:
        """Draw fresh weights.

        Args:
            prompts: one per class.
        """
        import torch

        from tasks.networks.small_clip import SmallClip

        self._network = SmallClip(info, width)
        self._average = copy.deepcopy(self._network).eval().requires_grad_(False)
        self.num_parameters = sum(weight.numel() for weight in self._network.parameters())
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=lr, fused=True)
        self._noising = noising(schedule, timesteps)
        self._timesteps = timesteps
        self._prompts = prompts
        self._ema_decay = ema_decay
        self._device = "cpu"
        self._num_done = 0

    def to(self, device: str) -> None:
        self._device = device
        self._network.to(device)
        self._average.to(device)

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        """Take one optimizer step and return the losses by name."""
        import torch

        from tasks.networks.averaging import update_average
        from tasks.networks.descending import descend

        clean, device = to_signed(images), images.device
        noise = torch.randn(clean.shape, generator=rng, device=device)
        timesteps = torch.randint(
            self._timesteps, (len(clean),), generator=rng, device=device, dtype=torch.int64
        )
        noisy = self._noising.add_noise(clean, noise, timesteps)
        with mixed_precision(self._device):
            loss = self._network(noisy, timesteps, labels, self._prompts)
        norm = descend(loss, self._optimizer, self._network.parameters(), MAX_NORM)
        update_average(
            self._average.parameters(), self._network.parameters(), self._ema_decay, self._num_done
        )
        self._num_done += 1
        return {"clip": loss.detach(), "clip_gradient_norm": norm}

    def texts(self, texts: Sequence[str]) -> "Tensor":
        """Unit vectors of texts, N × size."""
        import torch

        with torch.no_grad():
            found: Tensor = self._average.texts(texts)
        return found

    def similarity(self, noisy: "Tensor", times: "Tensor", texts: "Tensor") -> "Tensor":
        """Logit of each image, noised as at its timestep, with its text: N."""
        with mixed_precision(self._device):
            seen = self._average.images(noisy, times)
        found: Tensor = self._average.scale() * (seen.float() * texts).sum(1)
        return found

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
