"""An autoencoder whose latents are entries of a learned codebook."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.generation import ImageInfo
from tasks.networks.convolutional import convolution

DECAY = 0.99
EPSILON = 1e-5
"""Of the Laplace smoothing of counts, as in van den Oord et al., appendix A.1."""


class Codebook(nn.Module):
    """Vectors that encodings are replaced by (van den Oord et al., arXiv 1711.00937).

    The running means follow their appendix A.1 and Sonnet's `VectorQuantizerEMA`; codes that are
    hardly used start anew at an encoding of the batch (Dhariwal et al., "Jukebox", 2005.00341).
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, num_codes: int, size: int, averaged: bool) -> None:
        """Args: averaged: codes follow running means instead of a gradient."""
        super().__init__()
        self.averaged = averaged
        self.codes = nn.Parameter(torch.randn(num_codes, size), requires_grad=not averaged)
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", self.codes.detach().clone())

    def nearest(self, encoded: Tensor) -> Tensor:
        """The code of each encoding, N × size × h × w -> int64, N × h × w."""
        flat = encoded.movedim(1, -1)
        # Less the square of the encoding, which is the same for all codes.
        distances: Tensor = (self.codes**2).sum(1) - 2 * flat @ self.codes.T
        return distances.argmin(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Look up codes, N × h × w -> N × size × h × w."""
        found: Tensor = functional.embedding(codes, self.codes)
        return found.movedim(-1, 1)

    @torch.no_grad()
    def start(self, encoded: Tensor, rng: torch.Generator) -> None:
        """Begin at encodings of the first batch, each code as if it had its share of them."""
        self._renew(torch.ones_like(self.counts, dtype=torch.bool), _flat(encoded), rng)

    @torch.no_grad()
    def follow(
        self, encoded: Tensor, codes: Tensor, revive_below: float, rng: torch.Generator
    ) -> None:
        """Move running means, and codes with them, after a batch, and renew those hardly used."""
        flat = _flat(encoded)
        chosen = functional.one_hot(codes.flatten(), len(self.codes)).to(flat.dtype)
        self.counts.lerp_(chosen.sum(0), 1 - DECAY)
        self.sums.lerp_(chosen.T @ flat, 1 - DECAY)
        if self.averaged:
            total = self.counts.sum()
            smooth = (self.counts + EPSILON) / (total + len(self.codes) * EPSILON) * total
            self.codes.copy_(self.sums / smooth[:, None])
        share = len(flat) / len(self.codes)
        self._renew(self.counts < revive_below * share, flat, rng)

    def _renew(self, dead: Tensor, flat: Tensor, rng: torch.Generator) -> None:
        # Drawn for all codes, dead or not: to ask how many are dead would make a GPU wait.
        picks = torch.randint(len(flat), self.counts.shape, generator=rng, device=flat.device)
        share, fresh, rows = len(flat) / len(self.codes), flat[picks], dead[:, None]
        self.codes.copy_(torch.where(rows, fresh, self.codes))
        self.sums.copy_(torch.where(rows, fresh * share, self.sums))
        self.counts.masked_fill_(dead, share)


def _flat(encoded: Tensor) -> Tensor:
    return encoded.movedim(1, -1).flatten(0, -2)


def perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """How many codes a batch uses, were they used evenly: exp of the entropy of their shares."""
    shares = functional.one_hot(codes.flatten(), num_codes).float().mean(0)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


class Residual(nn.Module):
    """Two convolutions, added to what they see."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            convolution(width, width), nn.Conv2d(width, width, 1), nn.GroupNorm(width // 8, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = functional.silu(hidden + self.change(hidden))
        return out


class QuantisingAutoencoder(nn.Module):
    """Down to a grid of codes and back up, with the layers of van den Oord et al., section 4.1.

    Strided 4 x 4 convolutions, two residual blocks, and the same the other way; group norm, which
    theirs lacks, lets them learn at a higher rate.
    """

    def __init__(
        self,
        info: ImageInfo,
        width: int,
        num_halvings: int,
        num_codes: int,
        code_size: int,
        averaged: bool,
    ) -> None:
        super().__init__()
        inner = num_halvings - 1
        self.encoder = nn.Sequential(
            _strided(nn.Conv2d(info.channels, width, 4, stride=2, padding=1)),
            *(_strided(nn.Conv2d(width, width, 4, stride=2, padding=1)) for _ in range(inner)),
            Residual(width),
            Residual(width),
            nn.Conv2d(width, code_size, 1),
        )
        self.codebook = Codebook(num_codes, code_size, averaged)
        self.decoder = nn.Sequential(
            nn.Conv2d(code_size, width, 3, padding=1),
            Residual(width),
            Residual(width),
            *(
                _strided(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1))
                for _ in range(inner)
            ),
            nn.ConvTranspose2d(width, info.channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, encoded: Tensor, vectors: Tensor) -> Tensor:
        """Decode `vectors`; gradients pass straight through them to `encoded`."""
        return self.decode(encoded + (vectors - encoded).detach())

    def decode(self, vectors: Tensor) -> Tensor:
        """Images in [-1, 1], N × C × H × W, of vectors, N × size × h × w."""
        images: Tensor = self.decoder(vectors)
        return images


def _strided(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(
        layer, nn.GroupNorm(layer.out_channels // 8, layer.out_channels), nn.SiLU()
    )
