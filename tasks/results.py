"""The small file in which a task says what it measured."""

import json
import math
from pathlib import Path
from typing import Any


def write_result(out: Path, values: dict[str, Any]) -> None:
    """Write `result.json`; numbers that are not finite become null, as JSON has none."""
    (out / "result.json").write_text(json.dumps(_finite(values), sort_keys=True))


def read_result(folder: Path) -> dict[str, Any]:
    """Read `result.json` of a finished step."""
    values: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return values


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
