"""Self-attention over the positions of a feature map, let in by a gate that starts closed."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Zhang et al., SAGAN (arXiv 1805.08318), as ajbrock/BigGAN-PyTorch has it.

    Queries have an eighth of the channels, keys and values are pooled to a quarter of the
    positions. The gate is 0 at the start, where the module is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, max(1, channels // 8), 1, bias=False)
        self.key = nn.Conv2d(channels, max(1, channels // 8), 1, bias=False)
        self.value = nn.Conv2d(channels, max(1, channels // 2), 1, bias=False)
        self.output = nn.Conv2d(max(1, channels // 2), channels, 1, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """N × C × H × W -> the same shape."""
        query = self.query(hidden).flatten(2)
        key = functional.max_pool2d(self.key(hidden), 2).flatten(2)
        value = functional.max_pool2d(self.value(hidden), 2).flatten(2)
        weights = torch.bmm(query.transpose(1, 2), key).softmax(2)
        seen = torch.bmm(value, weights.transpose(1, 2)).unflatten(2, hidden.shape[2:])
        added: Tensor = self.output(seen)
        return hidden + self.gate * added
