"""Reads JSON that somebody wrote: every key once, every number finite."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tasks.errors import InputError


def read_json(flag: str, path: Path) -> Any:
    """Read one JSON value.

    Raises InputError naming `flag` where there is no file, no JSON, or a key stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_once, parse_constant=_finite)
    except FileNotFoundError as error:
        raise InputError(f"{flag} {path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"{flag} {path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{flag} {path}: {error}") from error
    except (RecursionError, ValueError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise InputError(f"{flag} {path}: is no JSON ({reason})") from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InputError(f"names {twice!r} twice: keep one")
    return found


def _finite(text: str) -> NoReturn:
    raise InputError(f"holds {text}, which is no number")
