"""The rows of a report and the files that hold them bare."""

import json
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.report import table
from orchestrator.report.layout import score_grid, verdict
from orchestrator.report.results import TrialResult
from orchestrator.report.rows import rows, shown_metrics
from orchestrator.report.statistics import smallest_p
from tests.orchestrator.report import pieces, samples, set_samples

GOLDEN = """\
variant,metric,mean,std,n,expected,diff,ci_low,ci_high,p,p_holm
real,top1,0.926367,0.007143,3,3,,,,,
real,f1,0.923367,0.007143,3,3,,,,,
real,top1_last,0.922367,0.007143,3,3,,,,,
real,val_top1,0.936367,0.007143,3,3,,,,,
synthetic,top1,0.849033,0.011273,3,3,-0.077333,-0.122870,-0.031797,0.250000,0.500000
synthetic,f1,0.846033,0.011273,3,3,-0.077333,-0.122870,-0.031797,0.250000,0.500000
synthetic,top1_last,0.845033,0.011273,3,3,-0.077333,-0.122870,-0.031797,0.250000,0.500000
synthetic,val_top1,0.859033,0.011273,3,3,-0.077333,-0.122870,-0.031797,0.250000,0.500000
mixed,top1,0.939150,0.000919,2,3,0.008800,-0.006447,0.024047,0.500000,0.500000
mixed,f1,0.936150,0.000919,2,3,0.008800,-0.006447,0.024047,0.500000,0.500000
mixed,top1_last,0.935150,0.000919,2,3,0.008800,-0.006447,0.024047,0.500000,0.500000
mixed,val_top1,0.949150,0.000919,2,3,0.008800,-0.006447,0.024047,0.500000,0.500000
"""


def test_csv_is_the_golden_text() -> None:
    assert table.csv_text(samples.partly_failed()) == GOLDEN


@pytest.mark.parametrize("name", set_samples.ALL)
def test_equal_results_give_equal_bytes(name: str) -> None:
    make = set_samples.ALL[name]
    assert table.csv_text(make()) == table.csv_text(make())
    assert score_grid(make()) == score_grid(make())


def test_times_and_costs_do_not_move_the_numbers() -> None:
    slow = samples.digits()
    trial = replace(slow.cells[0].trials[0], seconds=9_999.0, device="another")
    moved = replace(pieces.with_trial(slow, 0, 0, trial), costs=())
    assert table.csv_text(moved) == table.csv_text(slow)
    assert score_grid(moved) == score_grid(slow)


@pytest.mark.parametrize("name", set_samples.ALL)
def test_a_number_rests_on_a_record(name: str) -> None:
    result = set_samples.ALL[name]()
    for row in rows(result):
        cell = result.cells[row.cell]
        finished = [t for t in cell.trials if t.status == "finished"]
        assert row.n == sum(row.metric in {**t.scores, **t.companion} for t in finished)
        assert (row.mean is None) == (row.n == 0)
        assert (row.std is None) == (row.n < 2)
        assert row.expected == len(cell.trials)
        assert row.diff is None or row.n > 0
        assert row.diff is None or cell.baseline is not None


def test_scores_of_unfinished_trials_are_not_read() -> None:
    whole = samples.digits()
    claimed = TrialResult(key="a" * 64, seed=0, status="failed", scores={"top1": 1.0})
    row = rows(pieces.with_trial(whole, 1, 0, claimed))[4]
    assert (row.label, row.metric, row.n) == ("synthetic", "top1", 2)
    assert row.mean == pytest.approx((0.8607 + 0.8382) / 2)


def test_each_cell_is_compared_with_its_own_baseline() -> None:
    found = [row for row in rows(samples.many_cells()) if row.metric == "top1"]
    assert [row.diff is None for row in found] == [True, False, False] * 4
    assert found[11].diff == pytest.approx(found[2].diff)
    assert {row.p_holm for row in found if row.p is not None} == {1.0}  # eight times 0.25


def test_a_metric_without_numbers_is_not_shown() -> None:
    result = replace(samples.digits(), metrics=("top1", "confusion", "val_top1"))
    assert shown_metrics(result) == ("top1", "val_top1", "top1_last")


def test_nothing_is_called_better_where_the_interval_holds_zero() -> None:
    found = {r.label: verdict(r) for r in rows(samples.digits()) if r.metric == "top1"}
    assert found == {"real": "", "synthetic": "lower", "mixed": "higher"}
    failed = {r.label: verdict(r) for r in rows(samples.partly_failed())}
    assert failed["mixed"] == "undecided"
    assert {verdict(r) for r in rows(samples.one_seed())} == {"", "undecided"}


@pytest.mark.parametrize(
    ("num_seeds", "said"), [(2, "undecided"), (3, "undecided"), (5, "undecided"), (6, "higher")]
)
def test_equal_differences_show_nothing_before_the_exact_test_can(
    num_seeds: int, said: str
) -> None:
    """0.91 - 0.90 and 0.92 - 0.91 differ in their last bits: no spread is not always zero."""
    row = next(r for r in rows(samples.equal_differences(num_seeds)) if r.diff is not None)
    assert row.ci_low is not None
    assert row.ci_low > 0
    assert verdict(row) == said
    assert (smallest_p(num_seeds) <= 0.05) == (said == "higher")


def test_a_spread_however_small_is_believed() -> None:
    base = (0.90, 0.91, 0.92)
    cells = (
        pieces.cell({"variant": "real"}, base, None),
        pieces.cell({"variant": "mixed"}, (0.91, 0.92, 0.930001), 0),
    )
    found = rows(replace(samples.digits(), cells=cells))
    assert {verdict(row) for row in found if row.diff is not None} == {"higher"}


@pytest.mark.parametrize("axis", ["train.steps", "synthetic.ddpm.generator.steps"])
def test_an_axis_and_a_column_never_share_a_heading(axis: str) -> None:
    whole = samples.digits()
    cells = tuple(
        replace(cell, coordinates={axis: steps}, steps=steps)
        for cell, steps in zip(whole.cells, (100, 200, 400), strict=True)
    )
    grid = score_grid(replace(whole, axes=(axis,), cells=cells))
    assert grid.headings.count("steps") == 1
    assert [line.texts[0] for line in grid.lines] == ["100", "200", "400"]
    assert {len(line.texts) for line in grid.lines} == {len(grid.headings)}


def test_two_axes_of_steps_need_no_third_column() -> None:
    whole = samples.digits()
    axes = ("train.steps", "synthetic.ddpm.steps")
    cells = tuple(
        replace(cell, coordinates=dict.fromkeys(axes, steps), steps=steps)
        for cell, steps in zip(whole.cells, (100, 200, 400), strict=True)
    )
    headings = score_grid(replace(whole, axes=axes, cells=cells)).headings
    assert headings[:3] == (*axes, "real")
    assert "steps" not in headings


def test_models_that_differ_show_their_parameters() -> None:
    assert "parameters (M)" not in score_grid(samples.digits()).headings
    grid = score_grid(samples.many_cells())
    place = grid.headings.index("parameters (M)")
    assert [line.texts[place] for line in grid.lines[::3]] == ["11.18", "23.53", "27.83", "85.81"]


def test_values_of_axes_are_spelled_for_people() -> None:
    whole = samples.digits()
    values: list[dict[str, Any]] = [{"variant": True}, {"variant": [1, 2]}, {}]
    cells = tuple(
        replace(cell, coordinates=value) for cell, value in zip(whole.cells, values, strict=True)
    )
    lines = table.csv_text(replace(whole, cells=cells)).splitlines()
    assert [lines[i].split("top1")[0] for i in (1, 5, 9)] == ["true,", "1 + 2,", ","]


def test_rounding_leaves_no_minus_zero() -> None:
    cells = samples.digits().cells
    almost = pieces.cell({"variant": "mixed"}, (0.9285 - 1e-9, 0.9184, 0.9322), 0)
    result = replace(samples.digits(), cells=(*cells[:2], almost))
    assert "-0.000000" not in table.csv_text(result)
    assert "-0.0," not in table.json_text(result)


def test_json_holds_the_rows_and_every_trial() -> None:
    result = samples.partly_failed()
    content = json.loads(table.json_text(result))
    assert content["question"] == result.question
    assert len(content["rows"]) == 12
    assert content["rows"][4]["coordinates"] == {"variant": "synthetic"}
    assert content["rows"][4]["diff"] == -0.077333
    assert [t["status"] for t in content["trials"]].count("failed") == 1
    assert content["costs"][0]["what"] == "fit ddpm"


def test_a_frame_has_the_columns_of_the_csv() -> None:
    result = samples.deferred()
    frame = table.frame(result)
    assert list(frame.columns) == GOLDEN.splitlines()[0].split(",")
    assert frame["n"].tolist() == [3] * 8 + [0] * 4
    assert frame["diff"].isna().tolist() == [True] * 4 + [False] * 4 + [True] * 4
