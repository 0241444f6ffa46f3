"""A small CLIP whose image side sees noised images, as GLIDE's does.

Radford et al. (arXiv 2103.00020, openai/CLIP); Nichol et al., GLIDE (2112.10741,
openai/glide-text2im), section 2.4; with labels at hand, images and texts of one class are all
each other's matches, as in UniCL (Yang et al., 2204.03610).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from tasks.generation import ImageInfo, num_halvings

SIZE = 64
"""Numbers of an embedding."""
MOST_LOGIT_SCALE = math.log(100)
"""As in Radford et al.: a larger one made their training unstable."""


class _Block(nn.Module):
    """A convolution whose norm is scaled and shifted by the noise level, halving the image."""

    def __init__(self, inputs: int, outputs: int, stride: int, levels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        # Group norm, unlike batch norm, makes an image independent of its batch.
        self.norm = nn.GroupNorm(outputs // 8, outputs, affine=False)
        self.level = nn.Linear(levels, 2 * outputs)

    def forward(self, hidden: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
        # SiLU is smooth: images are moved along the gradient of all this.
        return functional.silu(self.norm(self.convolution(hidden)) * (1 + scale) + shift)


class SmallClip(nn.Module):
    """Embeds noised images and texts as unit vectors of one space."""

    def __init__(self, info: ImageInfo, width: int) -> None:
        super().__init__()
        halvings = num_halvings(info)
        widths = [width * 2 ** min(step, 2) for step in range(halvings + 1)]
        self.levels = 4 * width
        self.level = nn.Sequential(nn.Linear(self.levels, self.levels), nn.SiLU())
        self.stem = nn.Conv2d(info.channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(width, width, 1, self.levels) for _ in range(1))
        for before, after in pairwise(widths):
            self.blocks.append(_Block(before, after, 2, self.levels))
            self.blocks.append(_Block(after, after, 1, self.levels))
        left = (info.height >> halvings) * (info.width >> halvings)
        self.image_projection = nn.Linear(widths[-1] * left, SIZE)
        self.of_byte = nn.Embedding(257, SIZE)
        self.reader = nn.GRU(SIZE, SIZE, batch_first=True)
        self.text_projection = nn.Linear(SIZE, SIZE)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def images(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """N × C × H × W with noise as at `timesteps` -> N × SIZE, of unit length."""
        level = self.level(get_timestep_embedding(timesteps, self.levels))
        hidden = self.stem(noisy)
        for block in self.blocks:
            hidden = block(hidden, level)
        return functional.normalize(self.image_projection(hidden.flatten(1)), dim=1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Read the characters of each text -> N × SIZE, of unit length."""
        device = self.logit_scale.device
        spelled = [torch.tensor([256, *text.encode()], device=device) for text in texts]
        lengths = torch.tensor([len(each) for each in spelled])
        padded = nn.utils.rnn.pad_sequence(spelled, batch_first=True)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.of_byte(padded), lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.reader(packed)
        return functional.normalize(self.text_projection(last[0]), dim=1)

    def scale(self) -> Tensor:
        """What a cosine is multiplied by to be a logit."""
        return self.logit_scale.clamp(max=MOST_LOGIT_SCALE).exp()

    def forward(
        self, noisy: Tensor, timesteps: Tensor, labels: Tensor, prompts: Sequence[str]
    ) -> Tensor:
        """Cross-entropy of images with the texts of their classes, and of texts with their images.

        Args:
            prompts: of all classes; only those that the batch holds are read.
        """
        present, index = labels.unique(return_inverse=True)
        texts = self.texts([prompts[label] for label in present.tolist()])
        logits = self.scale() * self.images(noisy, timesteps) @ texts.T
        match = functional.one_hot(index, len(present)).float()
        of_texts = functional.cross_entropy(logits.T, (match / match.sum(0)).T)
        # A text that matches k images cannot do better than log k.
        best = match.sum(0).log().mean()
        return (functional.cross_entropy(logits, index) + of_texts - best) / 2
