"""The report as one page that needs nothing else: no script, no font, no address to load from."""

import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from orchestrator.report import curves, drawing, figures, panels, reading, wording
from orchestrator.report.class_figure import MOST_PROFILES, class_figure, profiles
from orchestrator.report.layout import cost_grid
from orchestrator.report.page_tables import (
    MOST_COLUMNS,
    READING,
    difference_tables,
    score_tables,
    shift_tables,
)
from orchestrator.report.profiles import profile_lines
from orchestrator.report.remarks import remarks
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import lacks_classes, rows, shifted_metrics
from orchestrator.report.set_page import set_values

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bind"] = _bind
    environment.filters["cut"] = _cut
    environment.filters["breakable"] = _breakable
    environment.filters["breakable_attribute"] = _breakable_attribute
    return environment.get_template("page.html.jinja")


def _source(name: str) -> str:
    return files("orchestrator.report").joinpath(name).read_text(encoding="utf-8")


def _bind(text: str) -> str:
    """Keep a number and its sign on one line: `95 %`, `p = 0.25`."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\b[pn]) (?==)|(?<==) (?=\d)", "\N{NO-BREAK SPACE}", text)


def _cut(name: str) -> str:
    return drawing.short(name, 14)


def _breakable(text: str) -> "Markup":
    """Let a narrow text break where its words are joined, and never before `%` or within `a/s`."""
    from markupsafe import Markup, escape

    joined = str(escape(text.replace(" %", "\N{NO-BREAK SPACE}%")))
    joined = re.sub(r"/(?=\w\b)", "/\N{WORD JOINER}", joined)
    return Markup(re.sub(r"(_|/(?!\N{WORD JOINER}))", r"\1<wbr>", joined))


def _breakable_attribute(text: str) -> str:
    """The same for a heading that the style sheet shows, which can hold no element."""
    return text.replace("_", "_\N{ZERO WIDTH SPACE}")


def html(result: StudyResult) -> str:
    """The whole report as one HTML document, for a screen of any width, light or dark.

    Every text of the study is escaped; the page forbids itself to load anything (its own Content
    Security Policy) and holds no script. But for costs, equal results give equal bytes.
    """
    return _template().render(
        result=result,
        answer=reading.answer(result),
        finished=reading.num_finished(result),
        asked=reading.num_trials(result),
        unfinished=reading.unfinished(result),
        notes=reading.notes(result),
        remarks=remarks(result),
        scores=score_tables(result),
        reading=READING,
        most_columns=MOST_COLUMNS,
        costs=cost_grid(result),
        out_of=wording.out_of,
        differences=difference_tables(result),
        shifts=shift_tables(result),
        compared=any(row.comparison for row in rows(result)),
        cut=figures.has_cut_intervals(result, reading.main_metric(result)),
        lacking=any(lacks_classes(result, name) for name in result.evaluation_sets),
        **_figures(result),
        **_panels(result),
        **set_values(result),
    )


def _figures(result: StudyResult) -> dict[str, Any]:
    from markupsafe import Markup

    keys = [(cell.label, *drawing.colour_and_dash(i)) for i, cell in enumerate(result.cells)]
    # These elements are matplotlib's, and it has escaped the texts in them.
    return {
        "legend": keys,
        "score_figure": Markup(figures.score_figure(result, reading.main_metric(result))),
        "shift_figure": Markup(
            "".join(figures.shift_figure(result, name) for name in shifted_metrics(result)[:1])
        ),
        "curve_figure": Markup(curves.curve_figure(result)),
        "class_figure": Markup(class_figure(result)),
    }


def _panels(result: StudyResult) -> dict[str, Any]:
    return {
        "confusions": panels.confusions(result),
        "most_confusion_classes": panels.MOST_CONFUSION_CLASSES,
        "per_class": panels.per_class(result),
        "profile_lines": profile_lines(result),
        "num_profiles": len(profiles(result)),
        "most_profiles": MOST_PROFILES,
        "duplicates": panels.duplicate_pairs(result),
        "trial_names": panels.trial_names(result),
        "trials_of": [panels.trials_by_name(cell) for cell in result.cells],
        "provenance": panels.provenance(result),
    }
