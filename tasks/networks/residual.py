"""The residual pair of networks of class-conditional GANs, and what they are made of.

Miyato & Koyama, "cGANs with projection discriminator" (arXiv 1802.05637, pfnet-research/sngan_
projection); Brock et al., BigGAN (1809.11096, ajbrock/BigGAN-PyTorch).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tasks.generation import ImageInfo, num_halvings
from tasks.networks.adversarial import Projection, lowest, widths
from tasks.networks.attention import SelfAttention

MOST_POSITIONS = 32 * 32


def add_spectral_norm(network: nn.Module, *kinds: type[nn.Module]) -> None:
    """Hold the largest singular value of the weights of all modules of these kinds near 1.

    Miyato et al. (1802.05957): a step of power iteration at each forward pass in training. What it
    has come to is part of the state.
    """
    for module in list(network.modules()):
        if isinstance(module, kinds):
            parametrizations.spectral_norm(module)


def make_orthogonal(network: nn.Module) -> None:
    """Initialise the weights of convolutions, linear layers and embeddings orthogonally."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
            nn.init.orthogonal_(module.weight)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias depend on a condition: gain = 1 + linear, bias = linear.

    Both linear maps start at 0, where it is a plain batch norm (Miyato & Koyama start so; BigGAN's
    code draws them). They are no `nn.Linear`, which spectral norm would hold at norm 1.
    """

    def __init__(self, channels: int, condition_size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Parameter(torch.zeros(channels, condition_size))
        self.bias = nn.Parameter(torch.zeros(channels, condition_size))

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """N × C × H × W and N × condition -> N × C × H × W."""
        gain = 1 + functional.linear(condition, self.gain)[:, :, None, None]
        bias = functional.linear(condition, self.bias)[:, :, None, None]
        scaled: Tensor = self.norm(hidden) * gain
        return scaled + bias


class UpBlock(nn.Module):
    """Twice the side: norm, ReLU, upsampling, convolution; norm, ReLU, convolution; and a skip."""

    def __init__(self, inputs: int, outputs: int, condition_size: int) -> None:
        super().__init__()
        self.first_norm = ConditionalBatchNorm(inputs, condition_size)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second_norm = ConditionalBatchNorm(outputs, condition_size)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """N × inputs × H × W and N × condition -> N × outputs × 2H × 2W."""
        # A 1 × 1 convolution commutes with copying pixels, and has a quarter of the work before it.
        skipped = functional.interpolate(self.skip(hidden), scale_factor=2.0)
        hidden = functional.interpolate(
            functional.relu(self.first_norm(hidden, condition)), scale_factor=2.0
        )
        hidden = functional.relu(self.second_norm(self.first(hidden), condition))
        made: Tensor = skipped + self.second(hidden)
        return made


class DownBlock(nn.Module):
    """Half the side, or the same: (ReLU, convolution) twice, average pooling; and a skip."""

    def __init__(self, inputs: int, outputs: int, *, activate: bool, halve: bool) -> None:
        """Args:
        activate: start with a ReLU; not where the input is an image.
        """
        super().__init__()
        self.activate, self.halve = activate, halve
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """N × inputs × H × W -> N × outputs × H/2 × W/2."""
        skipped = functional.avg_pool2d(hidden, 2) if self.halve else hidden
        hidden = self.first(functional.relu(hidden) if self.activate else hidden)
        hidden = self.second(functional.relu(hidden))
        if self.halve:
            hidden = functional.avg_pool2d(hidden, 2)
        found: Tensor = hidden + self.skip(skipped)
        return found


class ResidualGenerator(nn.Module):
    """Latents and labels to images, through up blocks with conditional batch norm."""

    def __init__(
        self,
        info: ImageInfo,
        channels: int,
        latent_size: int,
        *,
        embedding_size: int | None = None,
        attention: bool = False,
    ) -> None:
        """Args:
        embedding_size: of the embedding of labels that all norms share (BigGAN); the latents
            are then dealt to the first layer and each block in equal parts. None: each norm has
            a gain and a bias of its own for each class, and the first layer takes all latents.
        attention: after as many halvings as `attended` says.
        """
        super().__init__()
        wide = widths(channels, num_halvings(info))[::-1]
        self.num_classes = info.num_classes
        self.lowest = (wide[0], *lowest(info))
        self.parts = _shared_out(latent_size, len(wide) if embedding_size else 1)
        self.embedding = nn.Embedding(info.num_classes, embedding_size) if embedding_size else None
        conditions = (
            [embedding_size + part for part in self.parts[1:]]
            if embedding_size
            else [info.num_classes] * (len(wide) - 1)
        )
        self.expand = nn.Linear(self.parts[0], wide[0] * self.lowest[1] * self.lowest[2])
        self.blocks = nn.ModuleList(
            UpBlock(before, after, condition)
            for before, after, condition in zip(wide, wide[1:], conditions, strict=False)
        )
        self.attended = len(self.blocks) - attended(info)
        self.attention = SelfAttention(wide[self.attended]) if attention else nn.Identity()
        self.norm = nn.BatchNorm2d(wide[-1])
        self.last = nn.Conv2d(wide[-1], info.channels, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """N × latent and N -> images in [-1, 1], N × C × H × W."""
        first, *others = latents.split(self.parts, 1)
        hidden = self.expand(first).unflatten(1, self.lowest)
        for position, block in enumerate(self.blocks):
            if position == self.attended:
                hidden = self.attention(hidden)
            hidden = block(hidden, self._condition(labels, others, position))
        return torch.tanh(self.last(functional.relu(self.norm(hidden))))

    def _condition(self, labels: Tensor, others: list[Tensor], position: int) -> Tensor:
        if self.embedding is None:
            return functional.one_hot(labels, self.num_classes).float()
        return torch.cat([self.embedding(labels), others[position]], 1)


class ResidualDiscriminator(nn.Module):
    """Images and labels to scores: down blocks, one that keeps the side, a sum, a projection."""

    def __init__(self, info: ImageInfo, channels: int, *, attention: bool = False) -> None:
        """Args:
        attention: after as many halvings as `attended` says.
        """
        super().__init__()
        wide = widths(channels, num_halvings(info))
        blocks: list[nn.Module] = [
            DownBlock(before, after, activate=position > 0, halve=position < len(wide) - 1)
            for position, (before, after) in enumerate(
                zip((info.channels, *wide), wide, strict=False)
            )
        ]
        if attention:
            position = attended(info)
            blocks.insert(position, SelfAttention(wide[position - 1]))
        self.blocks = nn.Sequential(*blocks)
        self.projection = Projection(wide[-1], info.num_classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images in [-1, 1], N × C × H × W, and labels N -> scores N."""
        hidden = functional.relu(self.blocks(images)).sum((2, 3))
        scores: Tensor = self.projection(hidden, labels)
        return scores


def attended(info: ImageInfo) -> int:
    """After how many halvings self-attention is: one, or as many as leave 32 × 32 positions.

    BigGAN has it at 64 pixels of 128, SAGAN's best is at 32; a batch's weights grow with the fourth
    power of the side.
    """
    return next(
        number
        for number in range(1, num_halvings(info) + 1)
        if (info.height >> number) * (info.width >> number) <= MOST_POSITIONS
    )


def _shared_out(latent_size: int, parts: int) -> list[int]:
    return [latent_size // parts + (part < latent_size % parts) for part in range(parts)]
