"""JSON that people read too; and JSON that somebody wrote: keys once, numbers finite."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tasks.errors import InputError


def written_json(value: Any, indent: int | None = None) -> str:
    """One JSON value with its letters as they are, unless UTF-8 has none for them."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # The name of a file may be any bytes.
        return json.dumps(value, indent=indent)
    return text


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
    except RecursionError as error:
        raise InputError(f"{flag} {path}: is no JSON (nested too deeply)") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{flag} {path}: is no JSON (not text in UTF-8)") from error
    except ValueError as error:
        raise InputError(f"{flag} {path}: is no JSON ({error})") from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise InputError(f"names {twice!r} twice: keep one")
    return found


def _finite(text: str) -> NoReturn:
    raise InputError(f"holds {text}, which is no number")
