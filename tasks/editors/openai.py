"""OpenAI's image edits: gpt-image models, through the `openai` package.

https://platform.openai.com/docs/api-reference/images/createEdit. A mask is optional; the models
take it as guidance and may change pixels around it. There is no seed: two askings differ.
"""

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.editing import About, Edit, Editor, Given
from tasks.editors._asking import Asking
from tasks.editors._faults import Again, Refused, Unusable, of_status, of_transport
from tasks.editors._keys import Secret, find_key
from tasks.editors._laying import png
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
from tasks.specs import STRICT

if TYPE_CHECKING:
    import openai

VERSION = 1
ABOUT = About(service=True)

Quality = Literal["low", "medium", "high"]
SIZES = {"1024x1024": (1024, 1024), "1536x1024": (1536, 1024), "1024x1536": (1024, 1536)}


@dataclass(frozen=True, kw_only=True)
class _Prices:
    """In US dollars; list prices as looked up on 2026-11-21."""

    text: float
    """Of a million tokens of prompt."""
    image: float
    """Of a million tokens of input images."""
    out: float
    """Of a million tokens of images made."""
    made: dict[Quality, tuple[float, float]]
    """Of one image made: square, oblong."""


PRICES = {
    # 2.5 is sold at the token prices of 2; that an image has as many tokens is assumed.
    "gpt-image-2": _Prices(
        text=5,
        image=8,
        out=30,
        made={"low": (0.006, 0.005), "medium": (0.053, 0.041), "high": (0.211, 0.165)},
    ),
    "gpt-image-1.5": _Prices(
        text=5,
        image=8,
        out=32,
        made={"low": (0.009, 0.013), "medium": (0.034, 0.051), "high": (0.133, 0.2)},
    ),
    "gpt-image-1-mini": _Prices(
        text=2,
        image=2.5,
        out=8,
        made={"low": (0.005, 0.006), "medium": (0.011, 0.015), "high": (0.036, 0.052)},
    ),
}
INPUT_TOKENS = 6500
"""Of an image and a prompt that are sent, at most: high fidelity takes up to 6,240."""

REFUSALS = frozenset({"moderation_blocked", "content_policy_violation"})
NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which model, and how it is asked."""

    model: str = "gpt-image-2"
    quality: Quality = "medium"
    size: Literal["auto", "1024x1024", "1536x1024", "1024x1536"] = "auto"
    """`auto` is the one that is nearest to each image's shape."""
    input_fidelity: Literal["low", "high"] | None = None
    """Of gpt-image-1.5; others take none."""
    concurrency: Concurrency = 4
    requests_per_minute: Rate = None
    timeout_s: Timeout = 180.0
    max_tries: Tries = 6
    backoff_s: Backoff = 1.0
    max_cost_usd: Budget = 10.0
    cost_usd_per_image: Price = None
    base_url: BaseUrl = "https://api.openai.com/v1"


def cost_usd_per_image(config: Config, masked: bool = False) -> float:
    """What one edit costs at most; for plans, and kept free before each call.

    Raises InputError for a model whose price is not known.
    """
    if config.cost_usd_per_image is not None:
        return config.cost_usd_per_image
    prices = _prices(config.model)
    if prices is None:
        raise InputError(
            f"openai: the price of {config.model!r} is not known: give cost_usd_per_image"
        )
    square, oblong = prices.made[config.quality]
    made = {"1024x1024": square, "auto": max(square, oblong)}.get(config.size, oblong)
    return made + (2 if masked else 1) * INPUT_TOKENS * prices.image / 1e6


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where there is no key, or where the model's price is not known."""
    assert given.answers is not None
    secret = find_key("openai", ("OPENAI_API_KEY",))
    cost_usd_per_image(config)
    return Asking(
        service=_OpenAI(config=config, secret=secret),
        limits=config,
        answers=given.answers,
        secret=secret,
        stamp={"model": config.model},
    )


@dataclass(frozen=True, kw_only=True)
class _OpenAI:
    """A `Service`."""

    config: Config
    secret: Secret
    name: str = "openai"

    def check(self, edit: Edit) -> None:
        """It takes masks, and does without."""

    def price_usd(self, edit: Edit) -> float:
        return cost_usd_per_image(self.config, masked=edit.mask is not None)

    def canvas(self, edit: Edit) -> tuple[int, int]:
        if self.config.size != "auto":
            return SIZES[self.config.size]
        height, width = edit.image.shape[:2]
        aspect = np.log(width / height)
        return min(SIZES.values(), key=lambda size: abs(np.log(size[0] / size[1]) - aspect))

    @contextlib.contextmanager
    def opened(self) -> Iterator[Send]:
        import openai

        with openai.OpenAI(
            api_key=self.secret.value,
            base_url=self.config.base_url,
            timeout=self.config.timeout_s,
            max_retries=0,
        ) as client:
            yield lambda call: self._send(client, call)

    def _send(self, client: "openai.OpenAI", call: Call) -> Reply:
        import openai

        mask = _transparent(call) if call.mask is not None else openai.omit
        answer = client.images.edit(
            model=self.config.model,
            image=("image.png", call.png, "image/png"),
            mask=mask,
            prompt=call.edit.prompt,
            n=1,
            size="{}x{}".format(*call.canvas),
            quality=self.config.quality,
            input_fidelity=self.config.input_fidelity or openai.omit,
        )
        image = answer.data[0] if answer.data else None
        if image is not None and image.b64_json:
            return Reply(image=base64.b64decode(image.b64_json), cost_usd=self._cost_usd(answer))
        if image is not None and image.url:
            return Reply(image=self._fetched(image.url), cost_usd=self._cost_usd(answer))
        raise Again("it sent no image", paid=True)

    def _fetched(self, url: str) -> bytes:
        """Of models and gateways that answer with an address, which takes no key."""
        import httpx

        return httpx.get(url, timeout=self.config.timeout_s).raise_for_status().content

    def _cost_usd(self, answer: Any) -> float | None:
        """What the tokens cost that the answer counts."""
        prices = _prices(self.config.model)
        if self.config.cost_usd_per_image is not None or prices is None or answer.usage is None:
            return None
        given = answer.usage.input_tokens_details
        usd = given.text_tokens * prices.text + given.image_tokens * prices.image
        return float(usd + answer.usage.output_tokens * prices.out) / 1e6

    def fault(self, error: Exception) -> Exception | None:
        import httpx
        import openai

        if isinstance(error, openai.APIStatusError):
            said = str((error.body or {}).get("message") if isinstance(error.body, dict) else error)
            if error.code in REFUSALS:
                return Refused(said, paid=False)
            if error.code in NO_CREDIT:
                return Unusable(f"the account has no credit left: {said}")
            return of_status(error.status_code, said, error.response.headers)
        if isinstance(error, openai.APIConnectionError):
            return of_transport(error.__cause__) or Again("the connection was cut", paid=True)
        if isinstance(error, openai.APIError | httpx.HTTPStatusError | ValueError):
            return Again("its answer cannot be read", paid=True)
        return None


def _prices(model: str) -> _Prices | None:
    """By the longest name that the model's begins with: snapshots have a date behind it."""
    known = [name for name in PRICES if model.startswith(name)]
    return PRICES[max(known, key=len)] if known else None


def _transparent(call: Call) -> tuple[str, bytes, str]:
    """The mask as OpenAI wants it: transparent where it is to be repainted."""
    assert call.mask is not None
    pixels = np.zeros((*call.mask.shape, 4), np.uint8)
    pixels[..., 3] = np.where(call.mask, 0, 255)
    return "mask.png", png(pixels), "image/png"
