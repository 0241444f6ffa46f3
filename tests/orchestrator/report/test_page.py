"""The HTML page: self-contained, escaped, the same bytes every time."""

import functools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from orchestrator.report.figures import has_cut_intervals, score_figure, shift_figure
from orchestrator.report.html import html
from orchestrator.report.page_tables import (
    MOST_METRICS,
    difference_tables,
    score_tables,
    shift_tables,
)
from orchestrator.report.panels import confusions, per_class
from orchestrator.report.results import StudyResult
from tests.orchestrator.report import pieces, samples, set_samples

VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


@functools.cache
def page(name: str) -> str:
    """Each page is made once for all tests."""
    return html(set_samples.PAGES[name]())


class Reader(HTMLParser):
    """Notes tags, attributes and ids, and refuses tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@functools.cache
def read(name: str) -> Reader:
    """The elements of a page, which must close in order."""
    reader = Reader()
    reader.feed(page(name))
    assert reader.open == []
    return reader


@pytest.mark.parametrize("name", set_samples.PAGES)
def test_a_page_loads_nothing_and_runs_nothing(name: str) -> None:
    reader = read(name)
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for attribute, value in reader.attributes:
        assert not attribute.startswith("on")
        if attribute in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            assert value.startswith(("data:image/png;base64,", "#"))
        assert not re.search(r"url\((?!#)", value)
    styles = "".join(re.findall(r"<style.*?</style>", page(name), flags=re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert styles.count("<style") == 1  # a figure's own would reach the whole page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page(name)


@pytest.mark.parametrize("name", set_samples.PAGES)
def test_ids_are_one_of_a_kind_and_references_meet_them(name: str) -> None:
    ids = [value for attribute, value in read(name).attributes if attribute == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page(name))) <= set(ids)


@pytest.mark.parametrize("name", ["digits", "hostile"])
def test_equal_results_give_equal_bytes(name: str) -> None:
    assert html(set_samples.PAGES[name]()) == page(name)


def test_texts_of_a_study_are_escaped_everywhere() -> None:
    assert "alert(1)" in page("hostile")
    assert "<script" not in page("hostile")
    assert "&lt;layer 2&gt;" in page("hostile")
    assert "$x_1$" in page("hostile")  # a figure's label is no formula


def test_figures_take_their_colours_from_the_page() -> None:
    figure = re.findall(r"<svg.*?</svg>", page("digits"), flags=re.DOTALL)
    assert len(figure) == 3 + 2 * 3  # scores, curves, classes; twice three keys
    for drawing in figure:
        assert not re.search(r"#[0-9a-f]{6}\b", drawing)
    assert "prefers-color-scheme: dark" in page("digits")


@pytest.mark.parametrize(
    ("name", "figures"),
    [("digits", 3), ("one_seed", 3), ("shifted", 4), ("deferred", 3), ("nothing_finished", 0)],
)
def test_there_is_a_figure_where_there_is_something_to_draw(name: str, figures: int) -> None:
    assert page(name).count('stroke-linejoin="round"') == figures


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("digits", "fit ddpm"),
        ("digits", "00009285aaaa"),
        ("digits", "timm 1.0.22, torch 2.13.0"),
        ("digits", "augury report quickstart"),
        ("digits", "image-rendering: pixelated"),
        ("partly_failed", "2 of 3"),
        ("deferred", "3 trials deferred"),
        ("many_classes", "No confusion matrix is drawn for more than 30 classes."),
        ("many_classes", "the first 20 of 100 classes."),
        ("nothing_finished", "No answer yet"),
    ],
)
def test_what_a_reader_looks_for_is_there(name: str, said: str) -> None:
    assert said in page(name)


def test_confusion_is_summed_over_finished_seeds() -> None:
    result = samples.digits()
    found = confusions(result)
    assert [matrix.num_trials for matrix in found] == [3, 3, 3]
    assert [sum(count for count, _ in row) for row in found[0].rows] == [240] * 10
    assert sum(share for _, share in found[0].rows[4]) == pytest.approx(1)
    first = result.cells[0].trials
    assert found[0].rows[2][2][0] == sum(t.confusion[2][2] for t in first if t.confusion)


def test_per_class_tables_put_recall_first_and_hold_no_counts_that_are_not_known() -> None:
    found = per_class(samples.deferred())
    assert [item.metric for item in found] == ["recall", "f1"]
    label, scores = found[1].rows[9]
    assert label == "9"
    assert scores[2].score == "–"  # the deferred cell
    assert not found[0].has_images


def test_a_baseline_that_is_not_finished_leaves_one_panel() -> None:
    whole = samples.digits()
    cells = (samples.nothing_finished().cells[0], *whole.cells[1:])
    text = html(replace(whole, cells=cells))
    assert "On the right" not in text
    assert "no cell and its baseline have finished the same seed" in text


def three_axes(scores: tuple[tuple[float, ...], ...]) -> StudyResult:
    """One cell for each tuple, on three axes with long values, compared with the first."""
    cells = tuple(
        pieces.cell(
            {"variant": f"variant {i}", "train.augmentation": None, "mix.using": "replace"},
            found,
            None if i == 0 else 0,
            label=f"variant {i}, no augmentation, replace ratio=0.5",
        )
        for i, found in enumerate(scores)
    )
    axes = tuple(cells[0].coordinates)
    return replace(samples.digits(), axes=axes, cells=cells, seeds=tuple(range(len(scores[0]))))


def test_what_matters_most_stands_first_and_nothing_stands_twice() -> None:
    found = difference_tables(three_axes(((0.9, 0.8, 0.85), (0.7, 0.7, 0.7))))["top1"]
    assert found.caption == "top1, against variant 0, no augmentation, replace ratio=0.5"
    assert found.grid.headings == (
        *("variant", "augmentation", "using", "difference (points)", "reading"),
        *("95 % interval", "p (Holm)", "pairs"),
    )
    assert found.grid.lines[0].texts[6] == "0.250 (0.250)"
    several = difference_tables(samples.many_cells())["top1"]
    assert several.grid.headings[:3] == ("model", "variant", "against")
    assert several.grid.num_names == 3
    assert difference_tables(samples.no_baseline()) == {}


def test_a_direction_that_no_test_confirms_is_marked_as_an_indication() -> None:
    line = difference_tables(samples.digits())["top1"].grid.lines[0]
    assert line.is_indication
    assert line.texts[2] == "lower\nnot confirmed"
    assert '<tr class="lower worse indication">' in page("digits")
    assert "lower <span" in page("digits")
    sure = three_axes(((0.9, 0.91, 0.92, 0.9, 0.91, 0.92), (0.7, 0.72, 0.71, 0.7, 0.7, 0.7)))
    line = difference_tables(sure)["top1"].grid.lines[0]
    assert not line.is_indication
    assert line.texts[4] == "lower"
    # The dot of the difference is filled only where the test confirms it.
    hollow = "fill: var(--paper); stroke: var(--ink)"
    assert hollow in score_figure(samples.digits(), "top1")
    assert hollow not in score_figure(sure, "top1")


def test_scores_stand_before_the_training_images_and_wide_tables_are_parted() -> None:
    (grid,) = score_tables(samples.digits())
    assert grid.headings[:3] == ("variant", "n", "top1 %")
    assert grid.headings[-1] == "real + synthetic"
    assert grid.lines[2].texts[-1] == "900 + 900"
    assert grid.lines[0].texts[2] == "92.64\n± 0.71"
    names = tuple(f"m{i}" for i in range(MOST_METRICS))
    many = samples.with_trials(
        samples.digits(),
        lambda _, trial: replace(trial, scores=dict.fromkeys(names, 0.5) | dict(trial.scores)),
    )
    first, second = score_tables(replace(many, metrics=names))
    assert len(first.headings) == 2 + MOST_METRICS + 1
    assert second.headings == ("variant", "n", "top1_last %", "val_top1 %")
    assert ">More metrics<" in html(replace(many, metrics=names))


def test_each_other_test_set_has_a_table_of_its_own() -> None:
    found = shift_tables(samples.shifted())["top1"]
    assert [table.caption for table in found] == ["top1 on sketch", "top1 on blurred, severity 3"]
    headings = found[0].grid.headings
    assert headings[1:7] == (
        *("n", "shifted top1 %", "clean top1 %", "drop (points)"),
        *("difference (points)", "reading"),
    )
    assert found[0].grid.lines[0].texts[4] == "+30.40\n± 0.40"
    assert set(found[0].grid.lines[0].texts[5:]) == {"–"}


def test_every_number_of_a_card_has_its_heading() -> None:
    """A narrow screen shows each row as a card, and the heading of the column on each number."""
    numbers = page("digits").split("Scores</h2>")[1].split("</table>")[0]
    assert numbers.count("data-heading=") == 3 * 7
    assert 'data-heading="top1 %"' in numbers


def test_intervals_of_two_seeds_do_not_stretch_the_axes() -> None:
    two = three_axes(((0.95, 0.75), (0.5, 0.85)))
    figure = score_figure(two, "top1")
    ticks = [float(text.replace("−", "-")) for text in re.findall(r">(−?\d+)</text>", figure)]
    assert ticks
    assert min(ticks) >= -100
    assert max(ticks) <= 100
    assert has_cut_intervals(two, "top1")
    assert "An arrow ends an interval" in html(two)
    assert "An arrow ends an interval" not in page("digits")


def test_labels_use_the_room_that_there_is() -> None:
    label = "variant 1, no augmentation, replace ratio=0.5"
    assert f">{label}</text>" in score_figure(three_axes(((0.9, 0.8), (0.7, 0.7))), "top1")
    whole = samples.shifted()
    cells = tuple(replace(cell, label=f"{i}{label}") for i, cell in enumerate(whole.cells))
    assert f">0{label}</text>" in shift_figure(replace(whole, cells=cells), "top1")


def test_what_makes_the_page_again_runs_the_study_first() -> None:
    assert "augury run quickstart\naugury report quickstart</code>" in page("digits")
