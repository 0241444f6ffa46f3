"""What an editor must do, and the few conventions that all of them share.

A file of `tasks/editors/` holds

- `VERSION`, an integer that is raised when results change;
- `Config`, frozen and strict: the checkpoint and how it is asked, with `batch_size`;
- `ABOUT`, an `About`: what the editor needs, and whether it costs money;
- `build(config, given)`, which returns an Editor, or raises InputError with one line where weights,
  keys or images cannot be had.

Images cross this boundary as uint8, H × W × C with 1 or 3 channels, of any size, and come back at
the same size and with the same channels: what a model wants instead is its own affair
(`tasks.edits.sizing`). In a mask, true is repainted and false is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from tasks.generation import ImageInfo
from tasks.packs import Pixels

Mask = npt.NDArray[np.bool_]
"""H × W of the image; true is repainted."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What must be known of an editor before it is built."""

    prompt: bool = True
    """It reads the prompt; others draw the class."""
    mask: Literal["refused", "optional", "needed"] = "optional"
    """Where it knows nothing of masks, what stands outside of one is put back in the end."""
    fits: str | None = None
    """The generator that must be fitted first, on the study's own training images."""
    service: bool = False
    """It is asked over a network and costs money."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One image to edit."""

    id: str
    """Says source, prompt, replica and recipe; a paid answer is kept under it."""
    image: Pixels
    prompt: str
    seed: int
    """Of all the noise of this image."""
    label: int | None = None
    """In label order, for editors that draw a class."""
    mask: Mask | None = None


@dataclass(frozen=True, kw_only=True)
class Edited:
    """What became of one edit: an image, or why there is none."""

    id: str
    image: Pixels | None
    refusal: str = ""
    """Why a service would not make it; such an edit is recorded, and skipped ever after."""
    cost_usd: float = 0.0
    """Paid now; 0 for an answer that was kept from before."""
    seconds: float = 0.0
    left: str = ""
    """Why it is still to be done, and asked again by the next run: `OVER_BUDGET`, or what a service
    said each time it was tried."""


OVER_BUDGET = "max_cost_usd is reached"


class Answers(Protocol):
    """Keeps what was paid for, so that nothing is paid twice; whatever is written is whole."""

    def find(self, id: str) -> "Answer | None":
        """What was answered before, if anything."""
        ...

    def ask(self, id: str, cost_usd: float, max_cost_usd: float) -> bool:
        """Mark that a call is about to be sent, before it is.

        Until it ends it counts in `spent_usd`, so that calls at the same time cannot go past the
        budget together. False where it could go past `max_cost_usd`: then nothing is marked.

        Args:
            cost_usd: what all tries of this call may have cost when this one has ended.
            max_cost_usd: bound of `spent_usd`.
        """
        ...

    def note(self, id: str, ticket: str) -> None:
        """Keep by what the answer of a call under way can be fetched; empty forgets it."""
        ...

    def ticket(self, id: str) -> str:
        """What was last noted of a call whose end nobody saw, else an empty text."""
        ...

    def unseen(self) -> tuple[str, ...]:
        """Calls that were in flight when an earlier run was killed; they may be paid twice."""
        ...

    def keep(self, answer: "Answer") -> None:
        """Keep an answer before anything else is done with it."""
        ...

    def spent_usd(self) -> float:
        """The cost of all that was kept, of calls that failed and cost something, and of calls
        whose end nobody saw."""
        ...


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One call of a service that came to an end."""

    id: str
    status: str
    """`image`, `refused` or `failed`."""
    image: bytes = b""
    """As the service sent it: PNG, JPEG or WebP."""
    said: str = ""
    """Why it refused or failed, without keys."""
    cost_usd: float = 0.0
    latency_s: float = 0.0
    calls: int = 1
    """Tries it took."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What an editor works with, beside its settings."""

    device: str = "cpu"
    fitted: Path | None = None
    """The folder of the fit that `About.fits` asks for."""
    info: ImageInfo | None = None
    """Of the images that were fitted on."""
    answers: Answers | None = None
    """Where a service's answers are kept; services only."""


class Editor(Protocol):
    """Edits images; a model is loaded once and edits any number."""

    batch_size: int
    """Edits that are best given at once."""
    stamp: dict[str, str]
    """What the images depend on beside settings, such as resolved weights and dtype."""

    def edit(self, edits: Sequence[Edit]) -> Iterator[Edited]:
        """Edit up to `batch_size` images, in any order of their completion.

        All noise of an image comes from its own seed, so its pixels depend on its batch by
        rounding alone. Raises InputError where the settings cannot be used, such as a wrong key.
        """
        ...
