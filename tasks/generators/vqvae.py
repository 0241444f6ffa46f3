"""VQ-VAE with a learned class-conditional prior over its codes.

van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation learning" (arXiv 1711.00937);
Razavi et al., VQ-VAE-2 (1906.00446); google-deepmind/sonnet, `vqvae.py`. The autoencoder is fitted
in the first part of the steps and then held; the prior, a causal transformer (Esser et al., "Taming
transformers", 2012.09841), is fitted on the codes of the training images in the rest.

The ImageNet setting of the paper is near `width: 128`, `downsampling: 4`, `codes: 512`,
`code_size: 64`, `lr: 2e-4`, `batch_size: 128`, `steps: 250000`; the defaults here suit small images
on one CPU core.
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
    load_states,
    mixed_precision,
    states,
    to_pixels,
    to_signed,
)
from tasks.generators._interpolation import INTERPOLATED
from tasks.generators._variational import check_sources
from tasks.specs import STRICT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

MAX_NORM = 1.0
COARSE_ABOVE = 16
"""Pixels of the longer side of an image that is halved twice unless `downsampling` is set."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Prior:
    """The transformer over the codes."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Of the steps, the last of them."""
    size: Positive = 64
    layers: Positive = 2
    heads: Positive = 4
    dropout: Share = 0.1
    lr: Rate = 2e-3

    def __post_init__(self) -> None:
        if self.size % self.heads:
            raise ValueError(f"prior.size={self.size} is no multiple of prior.heads={self.heads}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """What is fitted."""

    width: Positive = 64
    """Channels of all convolutions."""
    downsampling: Literal[2, 4, 8, 16] | None = None
    """Pixels of a side that a code stands for; None is 2 for images up to 16 pixels, else 4."""
    codes: Annotated[int, Field(gt=1)] = 128
    code_size: Positive = 32
    codebook: Literal["ema", "gradient"] = "ema"
    """Codes follow running means of their encodings, or the gradient of the codebook loss."""
    commitment: Rate = 0.25
    """Weight of the distance of encodings from their codes."""
    revive_below: Share = 0.1
    """Codes used less than this share of the mean start anew at a random encoding."""
    lr: Rate = 1e-3
    prior: Prior = Prior()
    batch_size: Positive = 64
    steps: Annotated[int, Field(gt=1)] = 1500
    compile: bool = False
    """Compile the networks where they are fitted on a GPU."""

    def __post_init__(self) -> None:
        if self.width % 8:
            raise ValueError(f"width={self.width}: must be a multiple of 8")

    @property
    def prior_steps(self) -> int:
        """Steps of the prior, which has at least one, as has the autoencoder."""
        return min(max(1, round(self.prior.share * self.steps)), self.steps - 1)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampling:
    """How images are drawn."""

    mode: Literal["sample", "reconstruct"] = "sample"
    """Decode draws from the prior, or encode and decode real training images of the class."""
    temperature: Rate = 1.0
    """Divides the prior's logits: below 1, likelier codes are drawn more often."""
    batch_size: Positive = 250

    def __post_init__(self) -> None:
        if self.temperature != 1 and self.mode == "reconstruct":
            raise ValueError(
                f"temperature={self.temperature} with mode='reconstruct': nothing is drawn there"
            )


def check(config: Config, sampling: Sampling) -> None:
    """Any fit can be sampled in either mode."""


class VqVae:
    """A `tasks.generation.Generator`."""

    def __init__(self, config: Config, info: ImageInfo, num_halvings: int) -> None:
        import torch

        from tasks.networks.prior import CodePrior
        from tasks.networks.quantising import QuantisingAutoencoder

        self.batch_size = config.batch_size
        self.num_steps = config.steps
        self._config = config
        self._device = "cpu"
        self._num_done = 0
        averaged = config.codebook == "ema"
        self._autoencoder = QuantisingAutoencoder(
            info, config.width, num_halvings, config.codes, config.code_size, averaged
        )
        self._grid = (info.height >> num_halvings, info.width >> num_halvings)
        prior = config.prior
        self._prior = CodePrior(
            config.codes,
            info.num_classes,
            self._grid,
            prior.size,
            prior.layers,
            prior.heads,
            prior.dropout,
        )
        self._networks = torch.nn.ModuleDict(
            {"autoencoder": self._autoencoder, "prior": self._prior}
        )
        self.num_parameters = sum(weight.numel() for weight in self._networks.parameters())
        self._optimizer = torch.optim.Adam(self._autoencoder.parameters(), lr=config.lr)
        self._prior_optimizer = torch.optim.Adam(self._prior.parameters(), lr=prior.lr)
        self._parts = {
            "networks": self._networks,
            "optimizer": self._optimizer,
            "prior_optimizer": self._prior_optimizer,
        }

    def to(self, device: str) -> None:
        self._device = device
        self._networks.to(device)
        if self._config.compile and device.startswith("cuda"):
            for network in (self._autoencoder.encoder, self._autoencoder, self._prior):
                network.compile()

    def step(
        self, images: "Tensor", labels: "Tensor", rng: "torch.Generator"
    ) -> dict[str, "Tensor"]:
        """The autoencoder's losses in the first part of the steps, the prior's in the rest."""
        clean = to_signed(images)
        held = self._num_done >= self.num_steps - self._config.prior_steps
        losses = self._prior_step(clean, labels) if held else self._autoencoder_step(clean, rng)
        self._num_done += 1
        return losses

    def _autoencoder_step(self, clean: "Tensor", rng: "torch.Generator") -> dict[str, "Tensor"]:
        from torch.nn import functional

        from tasks.networks.descending import descend
        from tasks.networks.quantising import perplexity

        network, codebook = self._autoencoder.train(), self._autoencoder.codebook
        with mixed_precision(self._device):
            encoded = network.encoder(clean)
        encoded = encoded.float()
        if self._num_done == 0:
            codebook.start(encoded, rng)
        codes = codebook.nearest(encoded.detach())
        vectors = codebook.vectors(codes)
        with mixed_precision(self._device):
            made = network(encoded, vectors)
        mse = functional.mse_loss(made.float(), clean)
        commitment = functional.mse_loss(encoded, vectors.detach())
        loss = mse + self._config.commitment * commitment
        if self._config.codebook == "gradient":
            loss = loss + functional.mse_loss(vectors, encoded.detach())
        norm = descend(loss, self._optimizer, network.parameters(), MAX_NORM)
        codebook.follow(encoded, codes, self._config.revive_below, rng)
        return {
            "loss": loss.detach(),
            "reconstruction_mse": mse.detach(),
            "commitment": commitment.detach(),
            "perplexity": perplexity(codes, self._config.codes),
            "gradient_norm": norm,
        }

    def _prior_step(self, clean: "Tensor", labels: "Tensor") -> dict[str, "Tensor"]:
        import torch
        from torch.nn import functional

        from tasks.networks.descending import descend

        self._autoencoder.eval()
        self._prior.train()
        with torch.no_grad():
            codes = self._autoencoder.codebook.nearest(self._autoencoder.encoder(clean))
        with mixed_precision(self._device):
            logits = self._prior(codes, labels)
        nats = functional.cross_entropy(logits.float().flatten(0, 1), codes.flatten())
        norm = descend(nats, self._prior_optimizer, self._prior.parameters(), MAX_NORM)
        return {"prior_nats_per_code": nats.detach(), "prior_gradient_norm": norm}

    def state_dict(self) -> dict[str, Any]:
        return {**states(self._parts), "num_done": self._num_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_states(self._parts, state)
        self._num_done = state["num_done"]

    def sampler_state(self) -> dict[str, "Tensor"]:
        return dict(self._networks.state_dict())

    def load_sampler_state(self, state: dict[str, "Tensor"]) -> None:
        self._networks.load_state_dict(state)

    def sample(
        self,
        labels: "Tensor",
        rngs: "Sequence[torch.Generator]",
        sampling: Sampling,
        sources: "Tensor | None" = None,
    ) -> "Tensor":
        check_sources(sampling, sources)
        if sources is None:
            return self._decoded(self._drawn(labels, rngs, sampling.temperature))
        return self._decoded(self._encoded(sources))

    def illustrate(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", real: "Tensor"
    ) -> "dict[str, Tensor]":
        """The line between two draws, each vector on it replaced by its nearest code."""
        import torch

        codebook = self._autoencoder.codebook
        first, second = (codebook.vectors(self._drawn(labels, rngs, 1.0)) for _ in range(2))
        at = torch.linspace(0, 1, INTERPOLATED, device=first.device)[:, None, None, None]
        line = torch.lerp(first[:, None], second[:, None], at).flatten(0, 1)
        with torch.no_grad():
            between = self._decoded(codebook.nearest(line))
        return {
            "interpolation": between.unflatten(0, (len(labels), INTERPOLATED)),
            "reconstruction": torch.stack([real, self._decoded(self._encoded(real))], 1),
        }

    def _drawn(
        self, labels: "Tensor", rngs: "Sequence[torch.Generator]", temperature: float
    ) -> "Tensor":
        import torch

        length = self._grid[0] * self._grid[1]
        each = [torch.rand(length, generator=rng, dtype=torch.float64) for rng in rngs]
        prior = copy.deepcopy(self._prior).double().eval()
        return prior.draw(labels.to(self._device), torch.stack(each), temperature)

    def _encoded(self, images: "Tensor") -> "Tensor":
        """The codes of images, in float64 too: an encoding amid two codes must not tip over."""
        import torch

        exact = copy.deepcopy(self._autoencoder).double().eval()
        with torch.no_grad():
            return exact.codebook.nearest(
                exact.encoder(to_signed(images.to(self._device)).double())
            )

    def _decoded(self, codes: "Tensor") -> "Tensor":
        import torch

        network = self._autoencoder.eval()
        with torch.no_grad():
            return to_pixels(network.decode(network.codebook.vectors(codes))).cpu()


def build(config: Config, info: ImageInfo) -> Generator:
    """Build with fresh weights.

    Raises InputError for images that this network cannot make.
    """
    usual = 2 if max(info.height, info.width) <= COARSE_ABOVE else 4
    num_halvings = (config.downsampling or usual).bit_length() - 1
    check_image(info, num_halvings)
    return VqVae(config, info, num_halvings)
