"""What stands beside the scores: a second classifier, duplicates, gaps in a metric, parameters."""

import base64
import json
from dataclasses import replace

import pytest

from orchestrator.report import table, wording
from orchestrator.report.documents import latex, markdown, text
from orchestrator.report.html import html
from orchestrator.report.layout import score_grid, tone, verdict
from orchestrator.report.remarks import remarks
from orchestrator.report.results import DuplicateCheck, StudyResult, TrialResult
from orchestrator.report.rows import rows, shown_metrics
from tests.orchestrator.report import samples

FOUND = "12 of 797 test images also stand in the train split (10 exact, 2 near); they were left in"
DROPPED = "1 of 1,000 test images of sketch also stands in the train split (1 exact, 0 near)"


def column(result: StudyResult, heading: str) -> list[str]:
    grid = score_grid(result)
    return [line.texts[grid.headings.index(heading)] for line in grid.lines]


def test_a_second_classifier_stands_beside_top1() -> None:
    result = samples.companions()
    assert shown_metrics(result)[:5] == (
        *("top1", "companion_top1", "combined_top1", "agreement", "f1"),
    )
    assert column(result, "companion_top1 %") == [
        *("87.64 ± 0.71", "80.44 ± 0.88 (2 of 3)", "88.73 ± 0.33"),
    ]
    assert column(result, "combined_top1 %")[0] == "93.64 ± 0.71"
    assert column(result, "agreement %")[0] == "90.00 ± 0.00"
    assert "agreement" not in shown_metrics(samples.digits())
    assert "synthetic,companion_top1,0.804450,0.008839,2,3," in table.csv_text(result)
    assert "it is no better for being high" in markdown(result)
    assert json.loads(table.json_text(result))["trials"][0]["companion"]["agreement"] == 0.9


def test_more_agreement_is_neither_better_nor_worse() -> None:
    def change(index: int, trial: TrialResult) -> TrialResult:
        agreement = 0.8 + 0.05 * index + 0.001 * index * trial.seed
        return replace(trial, companion={"agreement": agreement})

    result = samples.with_trials(samples.digits(), change)
    found = [row for row in rows(result) if row.metric == "agreement" and row.comparison]
    assert [verdict(row) for row in found] == ["higher", "higher"]
    assert [tone(result, row) for row in found] == ["", ""]


def test_duplicates_are_told_in_every_format() -> None:
    result = samples.duplicated()
    for made in (markdown(result), latex(result), text(result), html(result)):
        assert f"{FOUND} the scores" in made
        assert f"{DROPPED}; it was dropped from the scores" in made
    content = json.loads(table.json_text(result))
    assert content["notes"][1].startswith(FOUND)
    assert content["duplicates"][0]["num_near"] == 2
    assert "pairs" not in content["duplicates"][0]


def test_a_search_that_found_nothing_is_no_warning() -> None:
    result = samples.duplicated()
    said = {remark.title: remark for remark in remarks(result)}["Duplicates"]
    assert said.text.endswith("none found in the train split: blurred (797).")
    assert not said.warning
    assert "0 of 797" not in markdown(result)


def test_pairs_of_duplicates_stand_side_by_side() -> None:
    page = html(samples.duplicated())
    panel = page.split("Test images in the train split</h2>")[1].split("</section>")[0]
    assert panel.count("<li>") == 5
    assert panel.count('alt="test image"') == panel.count('alt="train image"') == 5
    first = panel.split("<li>")[1]
    ours, like = (
        base64.b64encode(image).decode() for image in samples.duplicated().duplicates[0].pairs[0]
    )
    assert first.index(ours) < first.index("test image") < first.index(like)
    clean = DuplicateCheck(where="test", num_test=797, num_exact=0, num_near=0, dropped=False)
    alone = replace(samples.duplicated(), duplicates=(clean,))
    assert "Test images in the train split" not in html(alone)


def test_a_metric_without_a_value_in_some_trials_says_n() -> None:
    result = samples.sparse_metric()
    assert column(result, "many_shot %") == ["97.00 ± 0.00", "– (0 of 3)", "97.00 (1 of 3)"]
    assert column(result, "n") == ["3", "3", "3"]
    assert column(result, "top1 %")[1] == "84.90 ± 1.13"
    assert "synthetic,many_shot,,,0,3,,,,," in table.csv_text(result)
    for made in (markdown(result), latex(result), text(result), html(result)):
        assert "many" in made


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (11_173_962, "11.17"),
        (1_000_000, "1.00"),
        (632_045_800, "632.05"),
        (34_826, "0.0348"),
        (None, "–"),
    ],
)
def test_parameters_are_in_millions(number: int | None, said: str) -> None:
    assert wording.millions(number) == said


def test_the_page_gives_the_parameters_of_each_model() -> None:
    assert "resnet18 (11.18 M parameters); resnet50 (23.53 M" in html(samples.many_cells())
    assert "small_cnn (0.0348 M parameters)" in html(samples.digits())


def dropped() -> StudyResult:
    """Ten test images were left out of the scores."""
    check = DuplicateCheck(where="test", num_test=131, num_exact=8, num_near=2, dropped=True)
    return replace(samples.digits(), num_test=131, duplicates=(check,))


def test_images_that_were_left_out_are_not_counted_as_tested() -> None:
    said = {remark.title: remark.text for remark in remarks(dropped())}["Images"]
    assert "121 test images, 10 duplicates left out." in said
    assert "One test image is 0.83 points" in said
    assert json.loads(table.json_text(dropped()))["num_test"] == 121
    (check,) = dropped().duplicates
    kept = replace(dropped(), duplicates=(replace(check, dropped=False),))
    assert "131 test images." in {remark.title: remark.text for remark in remarks(kept)}["Images"]
    assert json.loads(table.json_text(kept))["num_test"] == 131


def test_images_left_out_of_another_set_are_not_counted_there() -> None:
    result = replace(samples.shifted(), duplicates=samples.duplicated().duplicates)
    said = {remark.title: remark.text for remark in remarks(result)}["Other test sets"]
    assert said.startswith("sketch (999 images, 1 duplicate left out)")
    assert json.loads(table.json_text(result))["evaluation_sets"]["sketch"] == 999


@pytest.mark.parametrize("name", ["digits", "nothing_finished", "partly_failed"])
def test_a_matrix_never_waits_for_a_number(name: str) -> None:
    result = replace(samples.EVERY[name](), metrics=("confusion", "top1"))
    for made in (markdown(result), latex(result), table.csv_text(result)):
        assert "confusion" not in made
    assert "confusion" not in html(result).split("Scores</h2>")[1].split("</table>")[0]
    assert shown_metrics(result)[0] == "top1"


@pytest.mark.parametrize(("num_classes", "is_said"), [(3, True), (5, True), (6, False)])
def test_the_five_most_probable_of_five_are_all(num_classes: int, is_said: bool) -> None:
    result = samples.with_trials(
        samples.digits(), lambda _, trial: replace(trial, scores={**trial.scores, "top5": 1.0})
    )
    classes = samples.CLASSES[:num_classes]
    few = replace(result, metrics=("top1", "top5"), classes=classes)
    assert ("top5 is 100.00 by definition" in markdown(few)) == is_said
    assert "by definition" not in markdown(replace(few, metrics=("top1",)))
