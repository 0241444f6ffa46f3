"""Stability AI: repaints under a mask (`edit/inpaint`), image to image without (`generate/sd3`).

https://platform.stability.ai/docs/api-reference, v2beta.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.editing import About, Edit, Editor, Given
from tasks.editors._asking import Asking
from tasks.editors._faults import Refused, of_status
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
from tasks.specs import STRICT

if TYPE_CHECKING:
    import httpx

VERSION = 1
ABOUT = About(service=True)

Model = Literal["sd3.5-large", "sd3.5-large-turbo", "sd3.5-medium"]
PRICES: dict[Model, float] = {
    # US dollars an image; list prices as looked up on 2026-11-21.
    "sd3.5-large": 0.065,
    "sd3.5-large-turbo": 0.04,
    "sd3.5-medium": 0.035,
}
INPAINT_USD = 0.05
MULTIPLE = 64


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which model, and how it is asked."""

    model: Model = "sd3.5-large"
    """Of edits without a mask; those with one go to the service's inpainting."""
    strength: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Of edits without a mask: 0 gives the image back, 1 forgets it."""
    side: Annotated[int, Field(ge=64, le=2048)] = 1024
    """Long side of what is sent, in pixels."""
    negative_prompt: str = ""
    grow_mask: Annotated[int, Field(ge=0, le=20)] = 5
    """Pixels by which the service grows a mask, to blend its rim."""
    concurrency: Concurrency = 8
    requests_per_minute: Rate = 600.0
    timeout_s: Timeout = 180.0
    max_tries: Tries = 6
    backoff_s: Backoff = 1.0
    max_cost_usd: Budget = 10.0
    cost_usd_per_image: Price = None
    base_url: BaseUrl = "https://api.stability.ai"


def cost_usd_per_image(config: Config, masked: bool = False) -> float:
    """What one edit costs at most; for plans, and kept free before each call."""
    if config.cost_usd_per_image is not None:
        return config.cost_usd_per_image
    return INPAINT_USD if masked else PRICES[config.model]


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where there is no key."""
    assert given.answers is not None
    secret = find_key("stability", ("STABILITY_API_KEY",))
    return Asking(
        service=_Stability(config=config, secret=secret),
        limits=config,
        answers=given.answers,
        secret=secret,
        stamp={"model": config.model},
    )


@dataclass(frozen=True, kw_only=True)
class _Stability:
    """A `Service`."""

    config: Config
    secret: Secret
    name: str = "stability"

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
        files = {"image": ("image.png", call.png, "image/png")}
        fields = {
            "prompt": call.edit.prompt,
            # 0 would let the service draw one.
            "seed": str(1 + call.edit.seed % (2**32 - 2)),
            "output_format": "png",
        }
        if self.config.negative_prompt:
            fields["negative_prompt"] = self.config.negative_prompt
        if call.mask is not None:
            path = "edit/inpaint"
            files["mask"] = ("mask.png", black_and_white(call.mask), "image/png")
            fields["grow_mask"] = str(self.config.grow_mask)
        else:
            path = "generate/sd3"
            fields |= {"mode": "image-to-image", "model": self.config.model}
            fields["strength"] = str(self.config.strength)
        reply = client.post(
            f"{self.config.base_url}/v2beta/stable-image/{path}",
            headers={"authorization": f"Bearer {self.secret.value}", "accept": "image/*"},
            files=files,
            data=fields,
        )
        return self._read(reply)

    def _read(self, reply: "httpx.Response") -> Reply:
        if reply.is_error:
            name, said = _said(reply)
            if reply.status_code == 403 and name == "content_moderation":
                raise Refused(said, paid=False)
            raise of_status(reply.status_code, said, reply.headers)
        if reply.headers.get("finish-reason", "SUCCESS") == "CONTENT_FILTERED":
            # It sends the image blurred, which was made and is taken to be charged.
            raise Refused("CONTENT_FILTERED", paid=True)
        return Reply(image=reply.content)

    def fault(self, error: Exception) -> Exception | None:
        """All it raises is httpx's."""
        return None


def _said(reply: "httpx.Response") -> tuple[str, str]:
    """The name of the error, and what it says."""
    try:
        answer = reply.json()
        return str(answer.get("name", "")), "; ".join(map(str, answer["errors"]))
    except (ValueError, KeyError, AttributeError, TypeError):
        return "", reply.text[:300] or json.dumps(reply.reason_phrase)
