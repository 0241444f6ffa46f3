"""Other test sets, and metrics in which lower is better."""

import json
from dataclasses import replace

import pytest

from orchestrator.report import reading, table
from orchestrator.report.documents import latex, markdown, text
from orchestrator.report.html import html
from orchestrator.report.layout import difference_grid, shift_grid, tone
from orchestrator.report.remarks import remarks
from orchestrator.report.results import StudyResult, TrialResult
from orchestrator.report.rows import rows, shifted_metrics, shifted_rows
from tests.orchestrator.report import samples


def test_a_drop_is_paired_within_the_cell() -> None:
    result = samples.shifted()
    found = {(row.shifted.label, row.shifted.where): row for row in shifted_rows(result, "top1")}
    real = found["real", "sketch"]
    assert real.drop is not None
    assert real.clean.mean == pytest.approx((0.9285 + 0.9184 + 0.9322) / 3)
    assert (real.drop.mean, real.drop.std, real.drop.n) == pytest.approx((0.304, 0.004, 3))
    lacking = found["mixed", "blurred, severity 3"]
    assert lacking.drop is not None
    # Seed 1 was not predicted there: the clean mean has it, the drop does not.
    assert (lacking.clean.n, lacking.shifted.n, lacking.drop.n) == (3, 2, 2)
    assert lacking.drop.mean == pytest.approx(0.08 + 0.004)


def test_cells_are_compared_on_the_other_set_itself() -> None:
    result = samples.shifted()
    found = shifted_rows(result, "top1")
    synthetic = next(row.shifted for row in found if row.shifted.label == "synthetic")
    # The clean difference, -7.73 points, and 12 points less lost.
    assert synthetic.diff == pytest.approx(-0.077333 + 0.12, abs=1e-5)
    compared = [row.shifted for row in found if row.shifted.comparison]
    assert len(compared) == 4
    assert {row.p_holm for row in compared if row.p == 0.25} == {1.0}  # four times 0.25
    clean = [row for row in rows(result) if row.metric == "top1" and row.comparison]
    assert {row.p_holm for row in clean} == {0.5}  # the other sets are a family apart


def test_the_table_holds_clean_shifted_drop_and_difference() -> None:
    grid = shift_grid(samples.shifted(), ["top1"])
    assert grid.headings[:7] == (
        *("variant", "test set", "n", "clean top1 %", "shifted top1 %", "drop (points)", "pairs"),
    )
    texts = {line.texts[:2]: line.texts[2:] for line in grid.lines}
    assert texts["real", "sketch"][:4] == ("3", "92.64 ± 0.71", "62.24 ± 0.72", "+30.40 ± 0.40")
    assert set(texts["real", "sketch"][4:]) == {"–"}
    assert texts["mixed", "sketch"][5] == "+9.09 (+8.14 to +10.04)"
    assert texts["mixed", "sketch"][-1] == "higher"
    assert texts["mixed", "blurred, severity 3"][0] == "2 of 3"
    assert shift_grid(samples.shifted()).headings[:3] == ("metric", "variant", "test set")
    assert shift_grid(samples.digits()).lines == ()


def test_a_set_that_nothing_was_predicted_on_is_shown_as_such() -> None:
    result = replace(samples.shifted(), evaluation_sets={"sketch": 1_000, "paint": 50})
    line = shift_grid(result, ["top1"]).lines[3]
    assert line.texts[1:5] == ("paint", "0 of 3", "92.64 ± 0.71", "–")
    assert "paint" not in html(result).split("Other test sets</h2>")[1].split("</svg>")[0]
    waiting = replace(samples.nothing_finished(), evaluation_sets={"sketch": 1_000})
    assert shifted_metrics(waiting) == ()
    assert "Other test sets" not in html(waiting)


def test_csv_keeps_its_columns_and_its_rows() -> None:
    lines = table.csv_text(samples.shifted()).splitlines()
    before = table.csv_text(replace(samples.shifted(), evaluation_sets={})).splitlines()
    assert lines[0] == f"{before[0]},drop,drop_std"
    assert [line.removesuffix(",,") for line in lines[1 : len(before)]] == before[1:]
    further = lines[len(before) :]
    assert len(further) == 2 * 2 * 3  # metrics, sets, cells
    assert further[0].startswith("real,top1@sketch,0.622367,")
    assert further[0].endswith(",0.304000,0.004000")
    frame = table.frame(samples.shifted())
    assert list(frame.columns) == lines[0].split(",")
    assert len(frame) == len(lines) - 1


def test_every_format_shows_the_other_sets() -> None:
    result = samples.shifted()
    assert "## Other test sets\n\n| metric | variant | test set |" in markdown(result)
    assert "| top1 | mixed | blurred, severity 3 | 2 of 3 |" in markdown(result)
    assert "Scores on other test sets." in latex(result)
    assert "clean top1 %  shifted top1 %" in text(result)
    content = json.loads(table.json_text(result))
    assert content["evaluation_sets"] == {"sketch": 1000, "blurred, severity 3": 797}
    assert content["shifted"][0]["set"] == "sketch"
    assert content["shifted"][0]["drop"] == 0.304
    assert content["trials"][0]["shifted"]["sketch"]["ece"] == pytest.approx(0.21)
    page = html(result)
    assert "Other test sets</h2>" in page
    assert "blurred, severity 3" in page[page.index("Other test sets</h2>") :].split("</svg>")[0]


def test_other_sets_are_explained_with_their_sizes() -> None:
    said = next(r.text for r in remarks(samples.shifted()) if r.title == "Other test sets")
    assert said.startswith("sketch (1,000 images), blurred, severity 3 (797 images)")
    assert "corrected for 4 comparisons" in said
    assert "a negative drop is the loss" in said


def test_lower_is_better_turns_the_judgement_and_not_the_number() -> None:
    result = samples.calibrated()
    found = {row.label: row for row in rows(result) if row.metric == "ece"}
    assert tone(result, found["mixed"]) == "better"
    assert tone(result, found["synthetic"]) == "worse"
    top1 = {row.label: row for row in rows(result) if row.metric == "top1"}
    assert tone(result, top1["mixed"]) == "better"
    assert tone(result, top1["synthetic"]) == "worse"
    readings = [line.texts[-1] for line in difference_grid(result, ["ece", "top1"]).lines]
    assert readings == ["higher (worse)", "lower (better)", "lower", "higher"]
    assert "mixed is 1.80 points lower, better, than real" in reading.answer(result)


def test_the_best_of_what_is_not_compared_follows_the_direction() -> None:
    whole = samples.calibrated()
    alone = replace(whole, cells=tuple(replace(cell, baseline=None) for cell in whole.cells))
    assert "the lowest mean ece is 4.30 % (mixed, 3 trials)" in reading.answer(alone)
    upward = replace(alone, metrics=("top1", "ece"))
    assert "the highest mean top1 is 93.73 % (mixed" in reading.answer(upward)


def test_a_count_of_comparisons_says_the_direction() -> None:
    whole = samples.calibrated()
    many = replace(whole, cells=(*whole.cells, *whole.cells[1:]))
    assert "2 look higher, 2 lower and 0 undecided by their 95 % intervals (lower is better)" in (
        reading.answer(many)
    )


def test_formats_mark_what_should_go_down() -> None:
    result = samples.calibrated()
    assert "| ece % ↓ | top1 % |" in markdown(result)
    assert r"ece \% $\downarrow$" in latex(result)
    assert "In ece (↓) lower is better" in markdown(result)
    assert "↓" not in markdown(samples.digits())
    page = html(result)
    assert '<tr class="lower better indication">' in page
    assert '<tr class="higher worse indication">' in page
    assert "ece, % (lower is better)" in page
    assert json.loads(table.json_text(result))["lower_is_better"] == ["ece"]


def lacking() -> StudyResult:
    """`sketch` lacks classes; over those that it has, the clean top1 is three points more."""

    def change(_: int, trial: TrialResult) -> TrialResult:
        return replace(trial, reference={"sketch": {"top1": trial.scores["top1"] + 0.03}})

    return samples.with_trials(samples.shifted(), change)


def test_a_set_that_lacks_classes_is_held_against_the_classes_that_it_has() -> None:
    found = {(r.shifted.label, r.shifted.where): r for r in shifted_rows(lacking(), "top1")}
    real = found["real", "sketch"]
    assert real.clean.mean == pytest.approx((0.9285 + 0.9184 + 0.9322) / 3 + 0.03)
    assert real.drop is not None
    assert real.drop.mean == pytest.approx(0.334)
    other = found["real", "blurred, severity 3"]
    assert other.clean.mean == pytest.approx((0.9285 + 0.9184 + 0.9322) / 3)
    assert other.drop is not None
    assert other.drop.mean == pytest.approx(0.084)
    record = json.loads(table.json_text(lacking()))["shifted"][0]
    assert (record["clean_mean"], record["drop"]) == (0.956367, 0.334)
    assert ",0.334000,0.004000" in table.csv_text(lacking())


def test_a_metric_without_a_reference_has_no_drop_there() -> None:
    """The clean ece of all classes is no measure for the ece of some."""
    found = {(r.shifted.label, r.shifted.where): r for r in shifted_rows(lacking(), "ece")}
    assert found["real", "sketch"].clean.n == 0
    assert found["real", "sketch"].drop is None
    assert found["real", "blurred, severity 3"].drop is not None


def test_every_format_says_what_clean_is_over() -> None:
    said = "sketch lacks classes: clean, and the drop from it, are over the classes that the set"
    for made in (markdown(lacking()), latex(lacking()), text(lacking()), html(lacking())):
        assert said in made
    assert markdown(lacking()).count(said) == 2  # below the table, and in how to read it
    assert "top1 on sketch, clean over the classes that it has" in html(lacking())
    assert "of the classes that the set has" in html(lacking())
    for made in (markdown(samples.shifted()), html(samples.shifted())):
        assert "the classes that" not in made
