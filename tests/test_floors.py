"""Which layer may load what: read in the source with `ast`, and seen in fresh processes."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN_KINDS = (
    *("datasets", "generators", "filters", "augmentations", "classifiers", "companions"),
    *("metrics", "extractors"),
)
HEAVY = frozenset(
    {"diffusers", "mlflow", "ray", "sklearn", "timm", "torch", "torchvision", "transformers"}
)
"""What a command that only plans or reports must not load."""

ALLOWED = {
    "ray": {"orchestrator/cluster.py", "orchestrator/execute.py"},
    "mlflow": {"orchestrator/tracking.py"},
}
"""Who imports the two platforms, at any depth of a function."""

LIGHT = ("orchestrator.study", "orchestrator.inputs", "orchestrator.plan", "orchestrator.ledger")


def sources(*folders: str) -> list[str]:
    """All Python files below `folders`, as paths from the root of the repository."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    )


def imported(path: str) -> Iterator[str]:
    """Every module that a file imports, in functions and by `import_module("...")` too."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                near = package[: len(package) - level + 1] if level else []
                base = ".".join([*near, *([module] if module else [])])
                yield base
                yield from (f"{base}.{name.name}" for name in names)
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called)) if (
                called in ("import_module", "__import__") and node.args
            ):
                yield from literal(node.args[0])


def literal(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def importers(package: str, *folders: str) -> set[str]:
    return {
        path
        for path in sources(*folders)
        if any(name == package or name.startswith(f"{package}.") for name in imported(path))
    }


@pytest.mark.parametrize("package", ["orchestrator", "ray", "mlflow"])
def test_tasks_know_no_orchestrator(package: str) -> None:
    assert importers(package, "tasks") == set()


@pytest.mark.parametrize("package", ALLOWED)
def test_each_platform_has_its_files(package: str) -> None:
    assert importers(package, "orchestrator", "tasks") <= ALLOWED[package]


def test_search_spaces_hold_data() -> None:
    code = [path for path in sources("search_spaces") if (ROOT / path).stat().st_size]
    assert code == []
    assert sources("search_spaces") in ([], ["search_spaces/__init__.py"])


def test_the_reader_of_imports_sees_all_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text(
        "import ray.tune as t\n"
        "def f():\n"
        "    from mlflow import x\n"
        "    from . import c\n"
        "    from ..d import e\n"
        "    importlib.import_module('torch.nn')\n"
    )
    assert {"ray.tune", "mlflow", "mlflow.x", "a.c", "d.e", "torch.nn"} <= set(imported("a/b.py"))


def loaded_by(code: str, folder: Path) -> list[str]:
    """Run `code` in a fresh process and list which heavy packages it has loaded at its end."""
    program = (
        f"import json, sys\n{code}\n"
        f"print('\\n' + json.dumps(sorted({set(HEAVY)!r} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=fresh_environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def fresh_environment(folder: Path) -> dict[str, str]:
    """Nothing of the caller's but the way to the sources; whatever is written lands in `folder`."""
    own = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return {"PYTHONPATH": str(ROOT), **own}


def report_modules() -> list[str]:
    return [path.removesuffix(".py").replace("/", ".") for path in sources("orchestrator/report")]


@pytest.mark.parametrize("module", [*LIGHT, *report_modules(), "orchestrator.cli"])
def test_planning_and_reporting_load_nothing_heavy(module: str, tmp_path: Path) -> None:
    assert loaded_by(f"import {module.removesuffix('.__init__')}", tmp_path) == []


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "quickstart"]], ids=" ".join)
def test_commands_that_run_nothing_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "from orchestrator.cli import main\n"
        f"sys.argv = ['augury', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code"
    )
    assert loaded_by(code, tmp_path) == []


def test_ten_thousand_trials_are_planned_within_two_seconds(tmp_path: Path) -> None:
    """Of one core's time, whoever else uses the machine."""
    study = {
        "question": "q",
        "dataset": "digits",
        "synthetic": {"made": {"generator": "vae"}},
        "train": {"model": "small_cnn"},
        "axes": {
            "variant": ["real", "mixed"],
            "train.lr": [number / 10000 for number in range(1, 140)],
            "subset.fraction": [0.25, 0.5, 1],
            "train.batch_size": [16, 32, 64, 128],
        },
        "seeds": [0, 1, 2],
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(study))
    code = (
        "import json, time\n"
        "from orchestrator.inputs import identify\n"
        "from orchestrator.plan import make_plan, sources\n"
        "from orchestrator.study import load_study\n"
        "began = time.process_time()\n"
        "study = load_study('grid.yaml')\n"
        "plan = make_plan([study], identify(sources(study)), {})\n"
        "print(json.dumps([plan.unique, time.process_time() - began]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=fresh_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    num_trials, seconds = json.loads(done.stdout)
    assert num_trials == 10_008
    assert seconds < 2


def plugin_files() -> list[str]:
    folders = (f"tasks/{kind}" for kind in PLUGIN_KINDS)
    return [path for path in sources(*folders) if not Path(path).name.startswith("_")]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What is wrong with each plugin file; all are imported in one process, in turn."""
    code = f"""
import dataclasses, importlib, json, sys
wrong = {{}}
for path in {plugin_files()!r}:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    loaded = {set(HEAVY)!r} & set(sys.modules)
    config = getattr(module, "Config", None)
    frozen = dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen
    wrong[path] = [f"importing it loads {{name}}" for name in sorted(loaded)] + [
        complaint
        for complaint, holds in {{
            "Config is no frozen dataclass": frozen,
            "VERSION is no positive int": type(getattr(module, "VERSION", 0)) is int
            and getattr(module, "VERSION", 0) > 0,
            "build is no function": callable(getattr(module, "build", None)),
        }}.items()
        if not holds
    ]
    for name in [n for n in sys.modules if n.split(".")[0] in loaded]:
        del sys.modules[name]  # so that the next file answers for itself
print(json.dumps(wrong))
"""
    folder = tmp_path_factory.mktemp("plugins")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=fresh_environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    wrong: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return wrong


@pytest.mark.parametrize("path", plugin_files())
def test_every_plugin_file_keeps_the_contract(path: str, plugins: dict[str, list[str]]) -> None:
    assert plugins[path] == []
