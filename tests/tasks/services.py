"""Editors that ask the server on loopback, and small images for them."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks import plugins
from tasks.editing import Answers, Edit, Editor, Given
from tasks.edits.answers import FolderAnswers
from tasks.packs import Pixels
from tests.tasks.service_server import Service

PROVIDERS = ("openai", "bfl", "stability", "gemini")
MASKED = ("openai", "bfl", "stability")
QUICK: dict[str, Any] = {"timeout_s": 5.0, "backoff_s": 0.01, "cost_usd_per_image": 0.05}
SMALL: dict[str, dict[str, Any]] = {
    "openai": {},
    "bfl": {"side": 64, "poll_s": 0.01},
    "stability": {"side": 64, "requests_per_minute": None},
    "gemini": {"image_size": "512"},
}


def editor_of(provider: str, service: Service, answers: Path | Answers, **settings: Any) -> Editor:
    """Built as a study builds it, asking the server."""
    url = f"{service.url}/v1" if provider == "openai" else service.url
    chosen = {**QUICK, **SMALL[provider], "base_url": url, **settings}
    config = plugins.module("editors", provider).Config(**chosen)
    kept = FolderAnswers(answers, min_free_bytes=0) if isinstance(answers, Path) else answers
    plugin = plugins.plugin("editors", provider, config)
    built: Editor = plugins.build("editors", plugin, Given(answers=kept))
    return built


def smooth(height: int, width: int, channels: int) -> Pixels:
    """An image that survives being scaled."""
    down = np.linspace(20, 120, height)[:, None, None]
    across = np.linspace(0, 90, width)[None, :, None]
    shades = np.arange(channels)[None, None, :] * 15
    return np.rint(down + across + shades).astype(np.uint8)


def edits_of(count: int, prefix: str = "edit") -> list[Edit]:
    """Small grey images; the prompt says the id, by which the server counts."""
    image = smooth(16, 16, 1)
    return [
        Edit(id=f"{prefix} {index}", image=image, prompt=f"{prefix} {index}", seed=index)
        for index in range(count)
    ]
