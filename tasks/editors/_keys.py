"""Finds the key of a service, and takes it out of every text that comes back."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import InputError

FILE = "api_keys.yaml"
"""In the working folder, unless `AUGURY_API_KEYS` names another: `openai: sk-...`, a line each."""


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A key, which shows itself to nobody who prints it."""

    value: str = field(repr=False)
    place: str
    """Where it was found."""

    def scrubbed(self, text: str) -> str:
        """`text` on one line, without the key."""
        return " ".join(text.replace(self.value, "***").split())


def find_key(provider: str, variables: tuple[str, ...]) -> Secret:
    """Look in `api_keys.yaml`, then in the environment.

    Raises InputError where there is none, or where it cannot be a key; it is never quoted.
    """
    path = Path(os.environ.get("AUGURY_API_KEYS") or FILE)
    found = _listed(path).get(provider)
    if found:
        return _checked(found, f"{provider!r} in {str(path)!r}")
    for variable in variables:
        if os.environ.get(variable):
            return _checked(os.environ[variable], f"${variable}")
    raise InputError(
        f"{provider}: there is no key: write a line '{provider}: KEY' into {str(path)!r} (or into "
        f"the file that AUGURY_API_KEYS names), or set {' or '.join(variables)}"
    )


def _listed(path: Path) -> dict[str, Any]:
    import yaml

    if not path.exists():
        if os.environ.get("AUGURY_API_KEYS"):
            raise InputError(f"AUGURY_API_KEYS names {str(path)!r}, which is not there")
        return {}
    listed = None
    # What the parser says quotes the line, and so the key: it is not passed on.
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        listed = yaml.safe_load(path.read_text())
    if not isinstance(listed, dict):
        raise InputError(f"{str(path)!r} holds no lines such as 'openai: KEY' that can be read")
    return listed


def _checked(found: Any, place: str) -> Secret:
    key = found.strip() if isinstance(found, str) else ""
    if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"{place} is no key: 8 or more letters, digits and signs, without blanks, in quotes "
            "where it is all digits"
        )
    return Secret(value=key, place=place)
