"""The HTML page: self-contained, escaped, the same bytes every time."""

import functools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from orchestrator.report.html import html
from orchestrator.report.panels import confusions, per_class, sheet_rows
from tests.orchestrator.report import pieces, samples

VOID = {"meta", "img", "br", "hr", "link", "input"}


@functools.cache
def page(name: str) -> str:
    """Each page is made once for all tests."""
    return html(samples.EVERY[name]())


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


@pytest.mark.parametrize("name", samples.EVERY)
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


@pytest.mark.parametrize("name", samples.EVERY)
def test_ids_are_one_of_a_kind_and_references_meet_them(name: str) -> None:
    ids = [value for attribute, value in read(name).attributes if attribute == "id"]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page(name))) <= set(ids)


@pytest.mark.parametrize("name", ["digits", "hostile"])
def test_equal_results_give_equal_bytes(name: str) -> None:
    assert html(samples.EVERY[name]()) == page(name)


def test_texts_of_a_study_are_escaped_everywhere() -> None:
    assert "alert(1)" in page("hostile")
    assert "<script" not in page("hostile")
    assert "&lt;layer 2&gt;" in page("hostile")
    assert "$x_1$" in page("hostile")  # a figure's label is no formula


def test_figures_take_their_colours_from_the_page() -> None:
    figure = re.findall(r"<svg.*?</svg>", page("digits"), flags=re.DOTALL)
    assert len(figure) == 4 + 2 * 3  # scores, curves, losses, classes; twice three keys
    for drawing in figure:
        assert not re.search(r"#[0-9a-f]{6}\b", drawing)
    assert "prefers-color-scheme: dark" in page("digits")


@pytest.mark.parametrize(
    ("name", "figures"),
    [("digits", 4), ("one_seed", 4), ("shifted", 5), ("deferred", 4), ("nothing_finished", 0)],
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
        ("many_classes", "The first 20 of 100 classes."),
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


def test_a_sheet_may_lack_classes_and_shows_large_images_as_they_are() -> None:
    sheets = (pieces.sheet("real", 3, 2), pieces.sheet("edited", 2, 12, side=128))
    rows = sheet_rows(sheets, ("a", "b", "c", "d"))
    assert [row.label for row in rows] == ["a", "b", "c"]
    assert [len(strip) for strip in rows[0].strips] == [2, 8]
    assert [row.strips[1] == () for row in rows] == [False, False, True]
    assert rows[0].strips[0][0].small
    assert not rows[0].strips[1][0].small


def test_a_baseline_that_is_not_finished_leaves_one_panel() -> None:
    whole = samples.digits()
    cells = (samples.nothing_finished().cells[0], *whole.cells[1:])
    text = html(replace(whole, cells=cells))
    assert "On the right" not in text
    assert "no cell and its baseline have finished the same seed" in text
