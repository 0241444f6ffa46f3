"""Black Forest Labs: FLUX.1 Kontext edits by prompt, FLUX.1 Fill repaints under a mask.

https://docs.bfl.ai: a request is accepted with an address that is polled until the image is ready.
The address is kept, so that an image that was paid for is fetched after a lost connection or a
kill, and not asked for again.
"""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.editing import About, Edit, Editor, Given
from tasks.editors._asking import Asking
from tasks.editors._faults import Again, Refused, of_status
from tasks.editors._keys import Secret, find_key
from tasks.editors._laying import black_and_white, canvas_of
from tasks.editors._service import (
    Backoff,
    BaseUrl,
    Budget,
    Call,
    Concurrency,
    Price,
    Rate,
    Reply,
    Send,
    Timeout,
    Tries,
)
from tasks.errors import InputError
from tasks.specs import STRICT, Locator

if TYPE_CHECKING:
    import httpx

VERSION = 1
ABOUT = About(service=True)

FILL = "flux-pro-1.0-fill"
PRICES = {
    # US dollars an image of one megapixel; list prices as looked up on 2026-11-21.
    "flux-kontext-pro": 0.04,
    "flux-kontext-max": 0.08,
    "flux-2-pro": 0.045,
    "flux-2-max": 0.10,
    FILL: 0.05,
}
USD_PER_CREDIT = 0.01
MULTIPLE = 32


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which model, and how it is asked."""

    model: str = "flux-kontext-pro"
    """Of edits without a mask; those with one go to FLUX.1 Fill [pro]."""
    side: Annotated[int, Field(ge=64, le=1440)] = 1024
    """Long side of what is sent, in pixels."""
    guidance: Annotated[float, Field(ge=1.5, le=100)] | None = None
    """Of FLUX.1 Fill; None is the service's own, 60."""
    steps: Annotated[int, Field(ge=15, le=50)] | None = None
    """Of FLUX.1 Fill; None is the service's own, 50."""
    safety_tolerance: Annotated[int, Field(ge=0, le=6)] = 2
    """0 is the strictest."""
    concurrency: Concurrency = 4
    requests_per_minute: Rate = None
    timeout_s: Timeout = 180.0
    """Also the longest time that an image is waited for."""
    max_tries: Tries = 6
    backoff_s: Backoff = 1.0
    poll_s: Locator[Annotated[float, Field(gt=0)]] = 1.0
    max_cost_usd: Budget = 10.0
    cost_usd_per_image: Price = None
    base_url: BaseUrl = "https://api.bfl.ai"


def cost_usd_per_image(config: Config, masked: bool = False) -> float:
    """What one edit costs at most; for plans, and kept free before each call.

    Raises InputError for a model whose price is not known.
    """
    if config.cost_usd_per_image is not None:
        return config.cost_usd_per_image
    model = FILL if masked else config.model
    if model not in PRICES:
        raise InputError(f"bfl: the price of {model!r} is not known: give cost_usd_per_image")
    return PRICES[model]


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where there is no key, or where the model's price is not known."""
    assert given.answers is not None
    secret = find_key("bfl", ("BFL_API_KEY",))
    cost_usd_per_image(config)
    return Asking(
        service=_Bfl(config=config, secret=secret),
        limits=config,
        answers=given.answers,
        secret=secret,
        stamp={"model": config.model},
    )


@dataclass(frozen=True, kw_only=True)
class _Bfl:
    """A `Service`."""

    config: Config
    secret: Secret
    name: str = "bfl"

    def check(self, edit: Edit) -> None:
        """It takes masks, and does without."""

    def price_usd(self, edit: Edit) -> float:
        return cost_usd_per_image(self.config, masked=edit.mask is not None)

    def canvas(self, edit: Edit) -> tuple[int, int]:
        return canvas_of(edit.image.shape, self.config.side, MULTIPLE)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Send]:
        import httpx

        with httpx.Client(timeout=self.config.timeout_s) as client:
            yield lambda call: self._send(client, call)

    def _send(self, client: "httpx.Client", call: Call) -> Reply:
        if not call.ticket:
            self._submit(client, call)
        ticket = json.loads(call.ticket)
        sample = self._polled(client, call, ticket["polling_url"])
        # The address is signed, lasts ten minutes, and takes no key.
        fetched = client.get(sample, follow_redirects=True)
        if fetched.is_error:
            raise Again(f"its image cannot be fetched ({fetched.status_code})", paid=True)
        return Reply(image=fetched.content, cost_usd=ticket["cost_usd"])

    def _submit(self, client: "httpx.Client", call: Call) -> None:
        """Ask, and note the address at which the answer will be."""
        answer = self._json(
            client.post(
                f"{self.config.base_url}/v1/{self.config.model if call.mask is None else FILL}",
                headers={"x-key": self.secret.value},
                json=self._body(call),
            ),
            paid=True,
        )
        url = answer.get("polling_url")
        if not isinstance(url, str) or not self._trusted(url):
            raise Again("it said no address to poll, or a strange one", paid=True)
        credits = answer.get("cost")
        cost_usd = None
        if isinstance(credits, int | float) and self.config.cost_usd_per_image is None:
            cost_usd = credits * USD_PER_CREDIT
        call.note(json.dumps({"polling_url": url, "cost_usd": cost_usd}))

    def _body(self, call: Call) -> dict[str, Any]:
        image = base64.b64encode(call.png).decode()
        body: dict[str, Any] = {
            "prompt": call.edit.prompt,
            "seed": call.edit.seed % 2**31,
            "output_format": "png",
            "safety_tolerance": self.config.safety_tolerance,
        }
        if call.mask is None:
            return {**body, "input_image": image}
        chosen = {"guidance": self.config.guidance, "steps": self.config.steps}
        return {
            **body,
            **{name: value for name, value in chosen.items() if value is not None},
            "image": image,
            "mask": base64.b64encode(black_and_white(call.mask)).decode(),
        }

    def _polled(self, client: "httpx.Client", call: Call, url: str) -> str:
        """Wait for the image; its address. What was paid for is waited for even when stopping."""
        until = time.monotonic() + self.config.timeout_s
        while time.monotonic() < until:
            reply = client.get(url, headers={"x-key": self.secret.value})
            answer = {"status": "Task not found"} if reply.status_code == 404 else self._json(reply)
            status = str(answer.get("status"))
            result = answer.get("result")
            if status == "Ready" and isinstance(result, dict) and result.get("sample"):
                return str(result["sample"])
            if status in ("Request Moderated", "Content Moderated"):
                # An image that was made and is kept back is taken to be charged.
                raise Refused(status, paid=status == "Content Moderated")
            if status in ("Error", "Task not found", "Ready"):
                call.note("")
                raise Again(f"{status}: {answer.get('details') or 'no details'}", paid=True)
            time.sleep(self.config.poll_s)
        raise Again(f"not ready within {self.config.timeout_s:g} s", paid=True)

    def _json(self, reply: "httpx.Response", paid: bool = False) -> dict[str, Any]:
        if reply.is_error:
            raise of_status(reply.status_code, _said(reply), reply.headers)
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Again("its answer cannot be read", paid=paid)
        return answer

    def _trusted(self, url: str) -> bool:
        """Whether the key may be sent there: to the host that was asked, or to BFL's own."""
        there, here = urlsplit(url), urlsplit(self.config.base_url)
        same = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        return same or (there.scheme == "https" and f".{there.hostname}".endswith(".bfl.ai"))

    def fault(self, error: Exception) -> Exception | None:
        """All it raises is httpx's."""
        return None


def _said(reply: "httpx.Response") -> str:
    try:
        answer = reply.json()
    except ValueError:
        return reply.text[:300]
    detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
    return detail if isinstance(detail, str) else json.dumps(detail)[:300]
