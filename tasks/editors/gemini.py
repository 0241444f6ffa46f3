"""Google's Gemini image models, through the `google-genai` package.

https://ai.google.dev/gemini-api/docs/image-generation: the image and the prompt go as parts of one
message, and the edit comes back as another. It takes no masks.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass as strict_dataclass

from tasks.editing import About, Edit, Editor, Given
from tasks.editors._asking import Asking
from tasks.editors._faults import Again, Refused, of_status
from tasks.editors._keys import Secret, find_key
from tasks.editors._laying import canvas_of
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
    from google import genai
    from google.genai import types

VERSION = 1
ABOUT = About(service=True, mask="refused")

Size = Literal["512", "1K", "2K", "4K"]
PRICES: dict[str, dict[Size, float]] = {
    # US dollars an image made; list prices as looked up on 2026-11-21.
    "gemini-3.1-flash-image": {"512": 0.045, "1K": 0.067, "2K": 0.101, "4K": 0.151},
    "gemini-3-pro-image": {"1K": 0.134, "2K": 0.134, "4K": 0.24},
    # It may be shut down from 2026-10-02 on.
    "gemini-2.5-flash-image": {"1K": 0.039},
}
INPUT_USD = 0.003
"""Of the image and the prompt that are sent, at most."""
SIDES: dict[Size, int] = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}

REFUSALS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)


@strict_dataclass(frozen=True, kw_only=True, config=STRICT)
class Config:
    """Which model, and how it is asked."""

    model: str = "gemini-3.1-flash-image"
    image_size: Size = "1K"
    """Gemini 2.5 makes 1K alone."""
    concurrency: Concurrency = 4
    requests_per_minute: Rate = None
    timeout_s: Timeout = 180.0
    max_tries: Tries = 6
    backoff_s: Backoff = 1.0
    max_cost_usd: Budget = 10.0
    cost_usd_per_image: Price = None
    base_url: BaseUrl = "https://generativelanguage.googleapis.com"


def cost_usd_per_image(config: Config, masked: bool = False) -> float:
    """What one edit costs at most; for plans, and kept free before each call.

    Raises InputError for a model or a size whose price is not known.
    """
    if config.cost_usd_per_image is not None:
        return config.cost_usd_per_image
    price = PRICES.get(config.model, {}).get(config.image_size)
    if price is None:
        raise InputError(
            f"gemini: the price of {config.model!r} at {config.image_size} is not known: give "
            "cost_usd_per_image"
        )
    return price + INPUT_USD


def build(config: Config, given: Given) -> Editor:
    """Raises InputError where there is no key, or where the model's price is not known."""
    assert given.answers is not None
    secret = find_key("gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"))
    cost_usd_per_image(config)
    return Asking(
        service=_Gemini(config=config, secret=secret),
        limits=config,
        answers=given.answers,
        secret=secret,
        stamp={"model": config.model},
    )


@dataclass(frozen=True, kw_only=True)
class _Gemini:
    """A `Service`."""

    config: Config
    secret: Secret
    name: str = "gemini"

    def check(self, edit: Edit) -> None:
        if edit.mask is not None:
            raise InputError(
                "gemini: it takes no masks: leave the mask out, or choose openai, bfl or stability"
            )

    def price_usd(self, edit: Edit) -> float:
        return cost_usd_per_image(self.config)

    def canvas(self, edit: Edit) -> tuple[int, int]:
        return canvas_of(edit.image.shape, SIDES[self.config.image_size], 1)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Send]:
        from google import genai
        from google.genai import types

        # Without retry options it asks once.
        options = types.HttpOptions(
            base_url=self.config.base_url, timeout=round(self.config.timeout_s * 1000)
        )
        client = genai.Client(vertexai=False, api_key=self.secret.value, http_options=options)
        try:
            yield lambda call: self._send(client, call)
        finally:
            client.close()

    def _send(self, client: "genai.Client", call: Call) -> Reply:
        from google.genai import types

        size = self.config.image_size
        answer = client.models.generate_content(
            model=self.config.model,
            contents=types.Content(
                role="user",
                parts=[
                    types.Part.from_bytes(data=call.png, mime_type="image/png"),
                    types.Part.from_text(text=call.edit.prompt),
                ],
            ),
            config=types.GenerateContentConfig(
                response_modalities=["IMAGE"],
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
                seed=call.edit.seed % 2**31,
                # 1K is what all make unasked, and what 2.5 does not let itself be asked for.
                image_config=None if size == "1K" else types.ImageConfig(image_size=size),
            ),
        )
        return _read(answer)

    def fault(self, error: Exception) -> Exception | None:
        from google.genai import errors

        if isinstance(error, errors.APIError):
            said = f"{error.status}: {error.message}"
            # A wrong key is a 400 here.
            status = 401 if "API_KEY_INVALID" in str(error.details) else error.code
            return of_status(status, said, getattr(error.response, "headers", None) or {})
        if isinstance(error, errors.UnknownApiResponseError | ValueError):
            return Again("its answer cannot be read", paid=True)
        return None


def _read(answer: "types.GenerateContentResponse") -> Reply:
    """The first image of the answer; raises why there is none."""
    feedback = answer.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        raise Refused(f"the prompt is blocked: {feedback.block_reason.value}", paid=False)
    candidate = answer.candidates[0] if answer.candidates else None
    content = candidate.content if candidate else None
    for part in (content.parts if content else None) or ():
        if part.inline_data is not None and part.inline_data.data and not part.thought:
            return Reply(image=part.inline_data.data)
    reason = candidate.finish_reason if candidate else None
    if reason is not None and reason.value in REFUSALS:
        # What was made and is kept back is taken to be charged.
        said = (candidate.finish_message if candidate else None) or "no image"
        raise Refused(f"{reason.value}: {said}", paid=True)
    raise Again(f"it sent no image ({reason.value if reason else 'no candidate'})", paid=True)
