"""The sample sheets of a report: what is beside each other belongs together."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.ledger import Ledger
from orchestrator.pictures import SHEET_IMAGES, sample_sheets
from orchestrator.plan import Plan
from orchestrator.report.results import SetSample
from tasks.packs import Example, Pack, read_all, select, write_pack
from tasks.specs import EvaluateSpec, GatherSpec, Key, PackSpec, TrialSpec
from tests.orchestrator.test_edits import SDEDIT, edited
from tests.orchestrator.test_plan import INFO
from tests.orchestrator.test_quality import of_kind

EDITED = 100
"""Added to the grey of an image by its edit."""


def grey_of(label: int, index: int) -> int:
    return label * 20 + index % 20


def commit(ledger: Ledger, kind: str, key: Key, examples: Callable[[], list[Example]]) -> None:
    attempt = ledger.begin(kind, key)
    read_all(write_pack(attempt.folder, examples, INFO.classes, None, 1))
    ledger.commit(attempt, {"result": {}, "commit": "", "seconds": 1.0, "device": "cpu"})


def real(split: str) -> list[Example]:
    return [
        Example(
            pixels=np.full((1, 1, 1), grey_of(label, index), np.uint8),
            label=label,
            source=f"{split}/{label}/{index}",
            sha256=f"{split} {label} {index}",
        )
        for label, number in enumerate(INFO.splits[split].counts)
        for index in range(number)
    ]


def edits(images: list[Example]) -> list[Example]:
    """Two of each image, in another order than theirs."""
    return [
        Example(
            pixels=each.pixels + np.uint8(EDITED),
            label=each.label,
            source=f"{each.source}#p{prompt}_0",
            sha256=f"{each.sha256} {prompt}",
        )
        for each in reversed(images)
        for prompt in range(2)
    ]


def with_packs(plan: Plan, tmp_path: Path) -> Ledger:
    """A store in which all packs are made: edits are those of all images of their split."""
    ledger = Ledger(str(tmp_path / "store"))
    for key, step in plan.steps.items():
        match step.spec:
            case PackSpec(split=split):
                commit(ledger, "pack", key, lambda split=split: real(split))  # type: ignore[misc]
            case GatherSpec(sources=sources):
                split = "test" if sources is None else "train"
                commit(ledger, "gather", key, lambda split=split: edits(real(split)))  # type: ignore[misc]
    return ledger


def sheets(plan: Plan, ledger: Ledger) -> dict[str, list[list[int]]]:
    """By name, the greys of each row."""
    found = sample_sheets(plan.studies[0], ledger, [*plan.steps.values()])
    return {sheet.name: greys(sheet) for sheet in found}


def greys(sheet: SetSample) -> list[list[int]]:
    return [
        [int(np.asarray(Image.open(io.BytesIO(png))).item()) for png in row] for row in sheet.images
    ]


def plus(rows: list[list[int]]) -> list[list[int]]:
    return [[grey + EDITED for grey in row] for row in rows]


def test_edits_stand_where_their_sources_do(tmp_path: Path) -> None:
    plan = edited(tmp_path, SDEDIT, evaluate_on={"shifted": {**SDEDIT, "of": "test"}})
    found = sheets(plan, with_packs(plan, tmp_path))
    assert [*found] == ["real", "test", "shifted", "edited"]
    assert all(len(row) == SHEET_IMAGES for rows in found.values() for row in rows)
    assert found["edited"] == plus(found["real"])
    assert found["shifted"] == plus(found["test"])


def test_the_real_images_are_training_images(tmp_path: Path) -> None:
    plan = edited(tmp_path, SDEDIT)
    ledger = with_packs(plan, tmp_path)
    (trial, *_) = of_kind(plan, "trial")
    assert isinstance(trial, TrialSpec)
    pack = Pack(ledger.fetch("pack", trial.cell.images.pack))
    rows = select(pack, trial.cell.images)[1]
    first = [int(pack.image(row).item()) for row in rows if pack.labels[row] == 0]
    found = sheets(plan, ledger)
    assert found["real"][0] == first[:SHEET_IMAGES]
    assert [*found] == ["real", "edited"]


@pytest.mark.parametrize("missing", ["test", "shifted"])
def test_what_is_not_made_yet_has_no_sheet(missing: str, tmp_path: Path) -> None:
    plan = edited(tmp_path, SDEDIT, evaluate_on={"shifted": {**SDEDIT, "of": "test"}})
    tests = {spec.test for spec in of_kind(plan, "evaluate") if isinstance(spec, EvaluateSpec)}
    gone = {
        key
        for key in tests
        if isinstance(plan.steps[key].spec, GatherSpec) == (missing == "shifted")
    }
    made = Plan(
        **{**vars(plan), "steps": {k: step for k, step in plan.steps.items() if k not in gone}}
    )
    ledger = with_packs(made, tmp_path)
    left = {"real", "test", "shifted", "edited"} - {missing}
    assert set(sheets(plan, ledger)) == left
