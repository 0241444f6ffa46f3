"""What a service is to `_asking`: its limits, a call on its way to it, and what it sends."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import Field

from tasks.editing import Answers, Edit, Mask
from tasks.specs import Locator

Concurrency = Locator[Annotated[int, Field(ge=1, le=256)]]
"""Calls at once."""
Rate = Locator[Annotated[float, Field(gt=0)] | None]
"""Requests a minute that are started at most."""
Timeout = Locator[Annotated[float, Field(gt=0)]]
"""Seconds without an answer, after which a call counts as lost."""
Tries = Locator[Annotated[int, Field(ge=1, le=20)]]
"""Of one edit, the first included."""
Backoff = Locator[Annotated[float, Field(ge=0)]]
"""Seconds before the second try; they double from try to try, with jitter, up to a minute."""
Budget = Locator[Annotated[float, Field(ge=0)]]
"""Money that all calls kept under the same answers may cost, in US dollars."""
Price = Locator[Annotated[float, Field(ge=0)] | None]
"""Of one image, in US dollars; None is the list price, and what a service says it charged."""
BaseUrl = Locator[
    Annotated[
        str, Field(pattern=r"^https?://([^\s/:@\[\]]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/\S*)?$")
    ]
]
"""Of the service, or of a gateway that speaks its protocol."""


class Limits(Protocol):
    """What every Config of a service holds, and what names no result."""

    @property
    def concurrency(self) -> int: ...
    @property
    def requests_per_minute(self) -> float | None: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def max_tries(self) -> int: ...
    @property
    def backoff_s(self) -> float: ...
    @property
    def max_cost_usd(self) -> float: ...


@dataclass(kw_only=True)
class Call:
    """One edit on its way to a service."""

    edit: Edit
    png: bytes
    """The image on the canvas, in colour."""
    canvas: tuple[int, int]
    """Width and height."""
    mask: Mask | None
    """On the canvas; true is repainted."""
    answers: Answers
    stop: threading.Event
    started: float = field(default_factory=time.monotonic)
    asked: bool = False
    """It was sent, in this run."""
    ticket: str = ""
    """By what a service that was asked before gives its answer."""
    paid_usd: float = 0.0
    """What tries that came to nothing may have cost."""
    tries: int = 0

    def note(self, ticket: str) -> None:
        """Keep a ticket, with which the answer can be fetched even after a kill; empty drops it."""
        self.answers.note(self.edit.id, ticket)
        self.ticket = ticket


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An image, as the service sent it."""

    image: bytes
    cost_usd: float | None = None
    """As the service says; None is its price."""


Send = Callable[[Call], Reply]
"""Raises Refused, Again, Unusable, or whatever the service's `fault` understands."""


class Service(Protocol):
    """What differs from service to service."""

    @property
    def name(self) -> str: ...

    def check(self, edit: Edit) -> None:
        """Raises InputError for what this service cannot do, before anything is paid."""
        ...

    def price_usd(self, edit: Edit) -> float:
        """What a call costs at most."""
        ...

    def canvas(self, edit: Edit) -> tuple[int, int]:
        """Width and height of what is sent."""
        ...

    def opened(self) -> AbstractContextManager[Send]:
        """Connect; what it gives may be called by several threads at once."""
        ...

    def fault(self, error: Exception) -> Exception | None:
        """What an error of the SDK means; None where httpx's names say it."""
        ...
