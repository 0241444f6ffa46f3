"""How the values of axes are written for people."""

import json
from typing import Any


def spelled(value: Any) -> str:
    """An axis value for people: `{name: small_cnn, width: 8}` is `small_cnn width=8`."""
    if isinstance(value, dict):
        rest = [f"{key}={spelled(item)}" for key, item in value.items() if key != "name"]
        return " ".join([*([str(value["name"])] if "name" in value else []), *rest])
    if isinstance(value, list):
        return " + ".join(spelled(item) for item in value)
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, default=str)
