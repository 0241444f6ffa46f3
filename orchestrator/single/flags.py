"""How the flags of single steps may be spelt: `_` for `-`, and several values after one flag."""

from collections.abc import Collection, Sequence
from typing import Any

from typer.core import TyperCommand


def dashed(name: str) -> str:
    """`batch_size` as `batch-size`."""
    return name.replace("_", "-")


SPELLING = {"token_normalize_func": dashed}
"""The context settings of a command that takes both spellings."""


class PlainCommand(TyperCommand):
    """A command without arguments, so that `--seed 0 1 2` can be `--seed 0 --seed 1 --seed 2`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        several = {
            name for each in self.params if getattr(each, "multiple", False) for name in each.opts
        }
        return super().parse_args(ctx, repeated(args, several))


def repeated(words: Sequence[str], several: Collection[str]) -> list[str]:
    """Write a flag again before each further value of it.

    Args:
        several: the flags that may be repeated, with their dashes.
    """
    out: list[str] = []
    flag, has_value = "", False
    for word in words:
        if word.startswith("--"):
            name, sign, _ = word.partition("=")
            name = f"--{dashed(name[2:])}"
            flag, has_value = (name, bool(sign)) if name in several else ("", False)
        elif flag:
            if has_value:
                out.append(flag)
            has_value = True
        out.append(word)
    return out
