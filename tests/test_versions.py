"""Whoever changes what a step computes is asked whether its VERSION must be raised.

`versions.json` holds, for each plugin file and each kind of step, the VERSION at which it was last
looked at and a hash of its code, comments and docstrings aside. `python -m tests.test_versions`
writes it anew.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).with_name("versions.json")
PLUGIN_KINDS = (
    "datasets",
    "generators",
    "editors",
    "filters",
    "augmentations",
    "classifiers",
    "companions",
    "metrics",
    "extractors",
)
REWRITE = "python -m tests.test_versions"

TRAINING = (
    *("tasks/train.py", "tasks/stepping.py", "tasks/drawing.py", "tasks/feeding.py"),
    *("tasks/inference.py", "tasks/images.py", "tasks/views.py", "tasks/packs.py"),
    *("tasks/classification.py", "tasks/initialisation.py", "tasks/companion.py"),
    *("tasks/augmentation.py", "tasks/classifiers/_checkpoints.py"),
)
EDITING = (
    *("tasks/edits/masks.py", "tasks/edits/mask_files.py", "tasks/edits/boxes.py"),
    *("tasks/edits/strokes.py", "tasks/edits/salient.py", "tasks/edits/segmenting.py"),
    *("tasks/edits/polarity.py", "tasks/edits/naming.py", "tasks/edits/prompts.py"),
    *("tasks/edits/sizing.py", "tasks/editing.py"),
)
STEPS = {
    "pack": ("tasks/pack.py", "tasks/packs.py"),
    "duplicates": ("tasks/duplicates.py", "tasks/copies.py", "tasks/packs.py"),
    "fit": ("tasks/fit.py", "tasks/generation.py", "tasks/packs.py"),
    "sample": ("tasks/generate.py", "tasks/generation.py", "tasks/packs.py"),
    "filter": ("tasks/filter.py", "tasks/filtering.py", "tasks/generate.py", "tasks/features.py"),
    "gather": ("tasks/pack.py", "tasks/packs.py"),
    "edit": ("tasks/edit.py", "tasks/edits/keeping.py", "tasks/packs.py", *EDITING),
    "edit_files": (
        *("tasks/edit_files.py", "tasks/edits/augmenting.py", "tasks/edits/keeping.py"),
        *("tasks/augmentation.py", *EDITING),
    ),
    "extractor": ("tasks/extractor.py", "tasks/reference.py", *TRAINING),
    "features": ("tasks/features.py", "tasks/extraction.py", "tasks/packs.py"),
    "fidelity": (
        *("tasks/fidelity.py", "tasks/neighbours.py", "tasks/extraction.py", "tasks/packs.py"),
        *("tasks/measures/catalogue.py", "tasks/measures/frechet.py", "tasks/measures/kernel.py"),
        *("tasks/measures/manifold.py", "tasks/measures/projection.py"),
    ),
    "cas": ("tasks/cas.py", "tasks/reference.py", "tasks/predict.py", *TRAINING),
    "audit": (
        *("tasks/audit.py", "tasks/copies.py", "tasks/neighbours.py", "tasks/extraction.py"),
        "tasks/packs.py",
    ),
    "gate": ("tasks/gate.py",),
    "lineage": ("tasks/lineage.py",),
    "trial": TRAINING,
    "evaluate": (
        *("tasks/predict.py", "tasks/inference.py", "tasks/images.py", "tasks/predictions.py"),
        "tasks/companion.py",
    ),
}
"""The files whose code decides what a step of each kind writes."""

Record = tuple[int, str]


def test_each_kind_of_step_is_watched() -> None:
    from orchestrator.plan import VERSIONS

    assert set(STEPS) == set(VERSIONS)


def entries() -> dict[str, tuple[str, ...]]:
    """What is watched: the name of an entry -> the files that decide its results."""
    plugins = (
        path.relative_to(ROOT).as_posix()
        for kind in PLUGIN_KINDS
        for path in sorted((ROOT / "tasks" / kind).glob("[!_]*.py"))
    )
    return {path: (path,) for path in plugins} | STEPS


def current(name: str) -> Record:
    """The VERSION of an entry and the hash of its code, as they are now."""
    files = entries()[name]
    if name in STEPS:
        from orchestrator.plan import VERSIONS

        return VERSIONS[name], code_hash(files)
    return stated_version(files[0]), code_hash(files)


def stated_version(path: str) -> int:
    """VERSION as the file states it; nothing is imported."""
    for node in parsed(path).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id="VERSION")], value=ast.Constant(value=int(stated))
            ):
                return stated
    raise AssertionError(f"{path} states no `VERSION = <int>`")


def code_hash(files: tuple[str, ...]) -> str:
    """Hash `files`, and the networks and private neighbours that they import."""
    digest = hashlib.sha256()
    for path in sorted(reached(files)):
        digest.update(json.dumps([path, reduced(parsed(path))]).encode())
    return digest.hexdigest()[:16]


def reached(files: tuple[str, ...]) -> set[str]:
    """`files` with all of `tasks/networks` and `tasks/*/_*.py` that they import, at any remove."""
    found: set[str] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += own_parts(path)
    return found


SHARED = (
    *("tasks/clip.py", "tasks/copies.py", "tasks/counting.py", "tasks/neighbours.py"),
    *("tasks/origins.py", "tasks/shards.py"),
    "tasks/generators/ddpm.py",  # of which clip_guided is built
)
"""Modules that files of a kind rest on, beside networks and those that begin with `_`."""


def own_parts(path: str) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Import(names=names):
                modules = [name.name for name in names]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                modules = [module, *(f"{module}.{name.name}" for name in names)]
            case _:
                continue
        for module in modules:
            file = Path(*module.split(".")).with_suffix(".py")
            own = file.parts[:2] == ("tasks", "networks") or file.name.startswith("_")
            own = own or file.as_posix() in SHARED
            if file.parts[0] == "tasks" and own and (ROOT / file).is_file():
                yield file.as_posix()


def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def reduced(node: Any) -> Any:
    """The syntax tree as JSON, without docstrings, VERSION and what is empty.

    Not `ast.dump`: it spells the same code differently in different versions of Python.
    """
    match node:
        case list():
            kept = [item for item in node if not beside_the_code(item)]
            return [reduced(item) for item in kept]
        case ast.AST():
            fields = {name: reduced(value) for name, value in ast.iter_fields(node)}
            named = {k: v for k, v in fields.items() if v not in (None, []) and k != "kind"}
            return [type(node).__name__, named]
        case bytes() | complex():
            return repr(node)
        case _ if node is ...:
            return "..."
        case _:
            return node


def beside_the_code(node: Any) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign(targets=[ast.Name(id="VERSION")]):
            return True
        case _:
            return False


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[Any]]:
    records: dict[str, list[Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return records


@pytest.mark.parametrize("name", entries())
def test_changed_code_has_been_looked_at(name: str, recorded: dict[str, list[Any]]) -> None:
    assert name in recorded, f"{name} is new: run `{REWRITE}`"
    version, code = current(name)
    old_version, old_code = recorded[name]
    assert version >= old_version, f"{name}: VERSION fell from {old_version} to {version}"
    assert version == old_version, f"{name} is now VERSION {version}: run `{REWRITE}`"
    assert code == old_code, (
        f"the code of {name} changed at VERSION {version}: raise VERSION if results change (stored "
        f"ones then count as not done), and in any case run `{REWRITE}`"
    )


def test_nothing_is_recorded_that_is_gone(recorded: dict[str, list[Any]]) -> None:
    assert set(recorded) <= set(entries()), f"run `{REWRITE}`"


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("def f(x):\n    # why\n    return x  + 1\n", True),
        ('"""What."""\ndef f(x):\n    """How."""\n    return x + 1\n', True),
        ('VERSION = 2\ndef f(x): return x + 1\nA: int\n"""Of A."""\n', False),
        ("VERSION = 2\ndef f(x): return x + 1\n", True),
        ("def f(x): return x + 2\n", False),
        ("def f(y): return y + 1\n", False),
    ],
)
def test_the_hash_sees_code_and_nothing_else(changed: str, same: bool) -> None:
    plain = reduced(ast.parse("def f(x):\n    return x + 1\n"))
    assert (reduced(ast.parse(changed)) == plain) is same


def main() -> None:
    """Write `versions.json` for the code as it is now."""
    rows = (f"{json.dumps(name)}: {json.dumps(current(name))}" for name in sorted(entries()))
    RECORDED.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
