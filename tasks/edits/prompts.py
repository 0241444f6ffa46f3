"""What images are edited to: prompts from a file, for all classes or by class.

A text file holds one prompt a line; blank lines and lines that begin with # are passed over. A JSON
or YAML file holds one of

- a list of prompts, for all classes;
- a mapping of prompts to weights, for all classes;
- a mapping of each class to a prompt, a list of prompts, or a mapping of prompts to weights.

`{class}` becomes the name of the image's class, its underscores read as spaces. Without weights an
image is edited `per_image` times by each of its prompts. With weights it is edited `per_image`
times in all, and each edit draws one of them.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.edits.documents import SUFFIXES, Value, read_document, read_text
from tasks.errors import InputError, nearest
from tasks.specs import canonical_json

PLACE = "{class}"
EXPECTED = "a text file of one prompt a line, or a JSON or YAML file"
ID_DIGITS = 10
NO_CLASS = ""
"""What the class of an image is called where images lie in no class folders."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What one kind of edit asks for, of images of one class."""

    id: str
    """`p` and the first digits of sha256 of the prompt as written, with its `{class}`: equal for
    all classes, in any order, and whatever else the file holds."""
    text: str
    """With the name of the class."""
    weight: float | None = None
    """How often it is drawn, beside the others of its class; None is not drawn, but always made."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of every class."""

    by_class: Mapping[str, tuple[Prompt, ...]]
    """In the order of the file; under NO_CLASS where there are no classes."""

    def of(self, class_name: str) -> tuple[Prompt, ...]:
        """The prompts of a class that `read_prompts` was told of."""
        return self.by_class[class_name]

    @property
    def digest(self) -> str:
        """sha256 of what they say, whatever file says it in which order."""
        said = {
            name: sorted([each.id, each.text, each.weight] for each in prompts)
            for name, prompts in self.by_class.items()
        }
        return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def read_prompts(path: Path, classes: Sequence[str]) -> Prompts:
    """Read the prompts of images of `classes`; there are none where images lie in no class folders.

    Raises InputError, with the file and the line or key, for whatever cannot be used.
    """
    names = tuple(classes) or (NO_CLASS,)
    if path.suffix.lower() not in SUFFIXES:
        written = _of_lines(path)
        return Prompts(by_class={name: _prompts(written, name) for name in names})
    document = read_document(path, EXPECTED)
    if isinstance(document.content, dict) and not _is_weighted(document.content, names):
        return Prompts(by_class=_by_class(document, document.content, names))
    written = _written(document)
    return Prompts(by_class={name: _prompts(written, name) for name in names})


def chosen(
    prompts: Sequence[Prompt], source_hash: str, per_image: int, seed: int
) -> list[tuple[Prompt, int]]:
    """Say which edits an image gets: prompts with the number of their replica, each pair once.

    Without weights every prompt `per_image` times. With weights, draw number i takes the prompt in
    whose share, in the order of ids, the first 64 bits of sha256 of the canonical JSON of
    ["prompt", seed, source hash, i] fall: more draws go on where fewer ended, on any machine, and
    other images draw apart.

    Args:
        prompts: of the image's class.
        source_hash: sha256 of the image.
        seed: of the draws.
    """
    if per_image < 1:
        raise ValueError(f"per_image={per_image}: an image has at least 1 edit")
    if any(prompt.weight is None for prompt in prompts):
        return [(prompt, replica) for prompt in prompts for replica in range(per_image)]
    ordered = sorted(prompts, key=lambda prompt: prompt.id)
    replicas = dict.fromkeys((prompt.id for prompt in ordered), 0)
    found = []
    for index in range(per_image):
        text = canonical_json(["prompt", seed, source_hash, index])
        bits = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        prompt = _drawn(ordered, bits / 2**64)
        found.append((prompt, replicas[prompt.id]))
        replicas[prompt.id] += 1
    return found


def _drawn(prompts: Sequence[Prompt], share: float) -> Prompt:
    weights = [prompt.weight or 0.0 for prompt in prompts]
    left = share * math.fsum(weights)
    for prompt, weight in zip(prompts, weights, strict=True):
        if left < weight:
            return prompt
        left -= weight
    return prompts[-1]


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A prompt as the file has it."""

    where: str
    text: str
    weight: float | None = None


def _of_lines(path: Path) -> list[_Written]:
    lines = enumerate(read_text(path, EXPECTED).split("\n"), start=1)
    stripped = ((number, line.strip()) for number, line in lines)
    found = [
        _Written(where=f"{str(path)!r}, line {number}", text=line)
        for number, line in stripped
        if line and not line.startswith("#")
    ]
    if not found:
        raise InputError(f"{str(path)!r}: holds no prompt; write one a line")
    return found


def _is_weighted(content: Mapping[str, Value], names: Sequence[str]) -> bool:
    """Whether keys are prompts and not classes."""
    weights = all(isinstance(each.content, float) for each in content.values())
    return bool(content) and weights and not set(content) & set(names)


def _by_class(
    document: Value, content: Mapping[str, Value], names: Sequence[str]
) -> dict[str, tuple[Prompt, ...]]:
    if not content:
        raise InputError(f"{document.where}: holds no prompt; write a list, or one for each class")
    for name, value in content.items():
        if name not in names:
            known = [each for each in names if each != NO_CLASS]
            raise InputError(
                f"{value.where}: prompts for unknown class {name!r}; {nearest(name, known)}"
            )
    without = [name for name in names if name not in content]
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        raise InputError(
            f"{document.where}: no prompt for class {', '.join(map(repr, without[:3]))}{more}: "
            "write one for each class, or a list for all"
        )
    return {name: _prompts(_written(content[name]), name) for name in names}


def _written(value: Value) -> list[_Written]:
    match value.content:
        case str():
            found = [_Written(where=value.where, text=value.content.strip())]
        case tuple():
            found = [
                _Written(where=each.where, text=each.text("prompt").strip())
                for each in value.content
            ]
        case dict():
            found = [
                _Written(where=each.where, text=text.strip(), weight=_weight(text, each))
                for text, each in value.content.items()
            ]
        case _:
            raise InputError(
                f"{value.where}: {value.shown} is no prompt: write text, a list of prompts, or a "
                "mapping of prompts to weights"
            )
    if not found:
        raise InputError(f"{value.where}: holds no prompt; write at least one")
    return found


def _weight(prompt: str, value: Value) -> float:
    given = value.content
    if not isinstance(given, float) or not math.isfinite(given) or given <= 0:
        raise InputError(
            f"{value.where}: the weight of {prompt!r} is {value.shown}; a number above 0 would do"
        )
    return given


def _prompts(written: Sequence[_Written], class_name: str) -> tuple[Prompt, ...]:
    """Put the class in, and see that no two prompts are one."""
    seen: dict[str, _Written] = {}
    return tuple(_checked(each, class_name, seen) for each in written)


def _checked(written: _Written, class_name: str, seen: dict[str, _Written]) -> Prompt:
    text = _filled(written, class_name)
    digest = hashlib.sha256(written.text.encode()).hexdigest()
    prompt = Prompt(id=f"p{digest[:ID_DIGITS]}", text=text, weight=written.weight)
    for key in (prompt.text, prompt.id):
        if key in seen:
            raise InputError(
                f"{written.where}: {text!r} is the prompt of {seen[key].where} again: keep one"
            )
        seen[key] = written
    return prompt


def _filled(written: _Written, class_name: str) -> str:
    if not written.text:
        raise InputError(f"{written.where}: an empty prompt; write what to edit")
    for brace in _other_braces(written.text):
        raise InputError(
            f"{written.where}: {brace!r} in {written.text!r}: only {PLACE} may stand in braces"
        )
    if PLACE in written.text and class_name == NO_CLASS:
        raise InputError(
            f"{written.where}: {PLACE} in {written.text!r}, and the images lie in no class "
            "folders: write what they show"
        )
    return written.text.replace(PLACE, class_name.replace("_", " ").strip())


def _other_braces(text: str) -> Iterator[str]:
    left = text.replace(PLACE, "")
    yield from re.findall(r"\{[^{}]*\}?|\}", left)
