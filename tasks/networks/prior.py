"""A class-conditional autoregressive model of the codes of images."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

Past = tuple[Tensor, Tensor]
"""Keys and values of all positions, N × heads × length × size; those to come are not yet set."""

REPEATABLE = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
"""Attention whose gradient a GPU computes to the same bits each time."""


class Block(nn.Module):
    """Causal self-attention and a perceptron, each normalised before and added."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm = nn.LayerNorm(size)
        self.queries_keys_values = nn.Linear(size, 3 * size)
        self.joined = nn.Linear(size, size)
        self.second_norm = nn.LayerNorm(size)
        self.perceptron = nn.Sequential(
            nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """All positions at once, N × length × size."""
        queries, keys, values = self._split(hidden)
        with sdpa_kernel(REPEATABLE):
            seen = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self._finished(hidden, seen)

    def past(self, seen: Tensor, length: int) -> Past:
        """Room for `length` positions of as many images as `seen` has, of its kind."""
        num, _, size = seen.shape
        shape = (num, self.heads, length, size // self.heads)
        return seen.new_zeros(shape), seen.new_zeros(shape)

    def next(self, hidden: Tensor, past: Past, at: int) -> Tensor:
        """Position `at` alone, N × 1 × size, after those in `past`, where it is put too."""
        queries, *new = self._split(hidden)
        for kept, each in zip(past, new, strict=True):
            kept[:, :, at] = each[:, :, 0]
        keys, values = (kept[:, :, : at + 1] for kept in past)
        with sdpa_kernel(REPEATABLE):
            seen = functional.scaled_dot_product_attention(queries, keys, values)
        return self._finished(hidden, seen)

    def _split(self, hidden: Tensor) -> list[Tensor]:
        parts = self.queries_keys_values(self.first_norm(hidden)).chunk(3, 2)
        return [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts]

    def _finished(self, hidden: Tensor, seen: Tensor) -> Tensor:
        hidden = hidden + self.dropout(self.joined(seen.transpose(1, 2).flatten(2)))
        out: Tensor = hidden + self.dropout(self.perceptron(self.second_norm(hidden)))
        return out


class CodePrior(nn.Module):
    """A causal transformer over a grid of codes, row by row, after a token for the class.

    van den Oord et al. learn a PixelCNN over their codes (arXiv 1711.00937); a transformer in its
    place is that of Esser et al., "Taming transformers" (2012.09841, CompVis/taming-transformers).
    """

    def __init__(
        self,
        num_codes: int,
        num_classes: int,
        grid: tuple[int, int],
        size: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.of_class = nn.Embedding(num_classes, size)
        self.of_code = nn.Embedding(num_codes, size)
        self.of_row = nn.Parameter(0.02 * torch.randn(grid[0], 1, size))
        self.of_column = nn.Parameter(0.02 * torch.randn(1, grid[1], size))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(size, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.logits = nn.Linear(size, num_codes)

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Logits of each code given those before it, N × length × codes.

        Args:
            codes: int64, N × rows × columns.
        """
        before = self.of_code(codes.flatten(1)[:, :-1])
        seen = self.of_class(labels)[:, None]
        hidden = torch.cat([seen, before + seen], 1) + self._places()
        hidden = self.dropout(hidden)
        for block in self.blocks:
            hidden = block(hidden)
        out: Tensor = self.logits(self.norm(hidden))
        return out

    def _places(self) -> Tensor:
        return (self.of_row + self.of_column).flatten(0, 1)

    @torch.no_grad()
    def draw(self, labels: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
        """Draw codes, int64, N × rows × columns, each where its uniform meets the distribution.

        Sums that another batch adds in another order differ by 1e-7 in float32, and an image in a
        few thousand would change with one code of it; call this on a prior in float64.

        Args:
            uniforms: float64 in [0, 1), N × length, on the CPU.
        """
        places = self._places()
        seen = self.of_class(labels)[:, None]
        blocks: list[Block] = list(self.blocks)  # type: ignore[arg-type]
        pasts = [block.past(seen, len(places)) for block in blocks]
        drawn: list[Tensor] = []
        for at, place in enumerate(places):
            hidden = seen + place if at == 0 else self.of_code(drawn[-1])[:, None] + seen + place
            for block, past in zip(blocks, pasts, strict=True):
                hidden = block.next(hidden, past, at)
            logits = self.logits(self.norm(hidden[:, 0])) / temperature
            # On the CPU, as a GPU's running sums are not the same each time.
            below = logits.softmax(1).cpu().cumsum(1) <= uniforms[:, at, None]
            drawn.append(below.sum(1).clamp(max=logits.shape[1] - 1).to(labels.device))
        return torch.stack(drawn, 1).view(-1, *self.grid)
