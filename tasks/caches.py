"""Where this machine keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$AUGURY_CACHE`, else `augury` in the user's cache folder; safe to delete at any time."""
    given = os.environ.get("AUGURY_CACHE")
    if given:
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augury"
