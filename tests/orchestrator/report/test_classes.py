"""Training images of each class, and the recall beside them."""

import json
import re
from dataclasses import replace

import pytest

from orchestrator.report import table
from orchestrator.report.class_figure import MOST_PROFILES, class_figure, profiles
from orchestrator.report.documents import markdown
from orchestrator.report.html import html
from orchestrator.report.panels import class_means, per_class
from orchestrator.report.profiles import is_uniform, spelled
from tests.orchestrator.report import samples


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (samples.tail(2014, 0.01, 10), "2,014 down to 20 (long-tailed, factor 0.01), 4,994 in all"),
        (samples.tail(402, 0.01, 10), "402 down to 4 (long-tailed, factor 0.01), 993 in all"),
        (samples.tail(500, 0.1, 200), "500 down to 50 (long-tailed, factor 0.1), 39,072 in all"),
        ((500,) * 5 + (50,) * 5, "500 down to 50 (step, factor 0.1), 2,750 in all"),
        ((500,) * 3 + (5,) * 2, "500 down to 5 (step, factor 0.01), 1,510 in all"),
        ((500, 400, 300, 200, 100), "100 to 500 (uneven), 1,500 in all"),
        ((4, 2_014, 70), "4 to 2,014 (uneven), 2,088 in all"),
        ((9, 0, 0), "0 to 9 (uneven), 9 in all"),
        ((90,) * 10, "90 a class, 900 in all"),
        ((99, 102, 101), "99 to 102 a class, 302 in all"),
    ],
)
def test_a_profile_in_words(counts: tuple[int, ...], said: str) -> None:
    assert spelled(counts) == said


def test_rounding_and_nature_do_not_make_classes_uneven() -> None:
    assert is_uniform((3, 4, 3))
    assert is_uniform((178, 182, 177))
    assert is_uniform(())
    assert not is_uniform((100, 89))
    assert not is_uniform((2, 0))


def test_markdown_has_a_line_for_uneven_cells_only() -> None:
    section = markdown(samples.long_tailed()).split("## Images per class\n\n")[1].split("\n\n")[0]
    assert section.splitlines() == [
        "- real: 2,014 down to 20 (long-tailed, factor 0.01), 4,994 in all",
        "- mixed: real 2,014 down to 20 (long-tailed, factor 0.01), 4,994 in all; "
        "synthetic 0 to 1,994 (uneven), 15,146 in all",
    ]
    assert "Images per class" not in markdown(samples.digits())


def test_json_holds_the_counts_of_each_cell() -> None:
    result = samples.long_tailed()
    cells = json.loads(table.json_text(result))["cells"]
    assert cells[0]["real_per_class"] == list(samples.tail(2014, 0.01, 10))
    assert cells[1]["synthetic_per_class"] == [1007] * 10
    assert cells[0]["num_parameters"] == 34_826


def test_recall_stands_beside_the_training_images_in_label_order() -> None:
    result = samples.long_tailed()
    recall, f1 = per_class(result)
    assert (recall.metric, recall.has_images, f1.has_images) == ("recall", True, False)
    assert [label for label, _ in recall.rows] == list(result.classes)
    assert [score.images for score in recall.rows[9][1]] == ["20", "0 + 1,007", "20 + 1,994"]
    first = [trial.per_class["recall"][9] for trial in result.cells[0].trials]
    assert recall.rows[9][1][0].score == f"{100 * sum(first) / 3:.2f}"
    page = html(result)
    assert re.search(r'<td class="number count">20 \+ 1,994</td><td class="number">\d+\.\d+', page)
    assert page.index("recall by class") < page.index("f1 by class")


def test_recall_is_averaged_over_finished_trials_that_have_it() -> None:
    cell = samples.partly_failed().cells[2]
    known = [t.per_class["recall"] for t in cell.trials if t.status == "finished"]
    assert len(known) == 2
    assert class_means(cell, "recall") == pytest.approx(
        [(a + b) / 2 for a, b in zip(*known, strict=True)]
    )
    assert class_means(cell, "none") == ()


def test_cells_trained_on_the_same_images_share_a_panel() -> None:
    assert list(profiles(samples.long_tailed()).values()) == [[0], [1], [2]]
    assert list(profiles(samples.digits()).values()) == [[0, 1, 2]]
    assert "images (log)" in class_figure(samples.long_tailed())
    assert "images" not in class_figure(samples.digits())  # counts are not known there
    assert "recall, %" in class_figure(samples.digits())
    assert class_figure(samples.nothing_finished()) == ""


def test_two_hundred_classes_are_numbered_and_all_drawn() -> None:
    figure = class_figure(samples.two_hundred_classes())
    assert "class, numbered from 0 in label order" in figure
    assert "species 7" not in figure
    assert figure.count("<use") >= 3 * 200  # a dot for each class and cell
    assert "species 199" in html(samples.two_hundred_classes())


def test_more_profiles_than_are_drawn_are_owned_up_to() -> None:
    whole = samples.long_tailed()
    cells = tuple(
        replace(whole.cells[0], label=f"cell {i}", real_per_class=samples.tail(900 + i, 0.1, 10))
        for i in range(MOST_PROFILES + 2)
    )
    page = html(replace(whole, cells=cells))
    assert f"The first {MOST_PROFILES} of {MOST_PROFILES + 2} ways" in page
