"""The report as one page that needs nothing else: no script, no font, no address to load from."""

import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from orchestrator.report import figures, panels, reading, wording
from orchestrator.report.layout import cost_grid, difference_grid, score_grid
from orchestrator.report.results import StudyResult
from orchestrator.report.table import rows, shown_metrics

if TYPE_CHECKING:
    from jinja2 import Template


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["bind"] = _bind
    source = files("orchestrator.report").joinpath("page.html.jinja")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _bind(text: str) -> str:
    """Keep a number and its sign on one line: `95 %`, `p = 0.25`."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\b[pn]) (?==)|(?<==) (?=\d)", "\N{NO-BREAK SPACE}", text)


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
        remarks=reading.remarks(result),
        scores=score_grid(result),
        costs=cost_grid(result),
        out_of=wording.out_of,
        **_by_metric(result),
        **_figures(result),
        **_panels(result),
    )


def _by_metric(result: StudyResult) -> dict[str, Any]:
    metrics = shown_metrics(result)
    grids = {metric: difference_grid(result, [metric]) for metric in metrics}
    return {
        "differences": grids if grids[metrics[0]].lines else {},
        "compared": any(row.comparison for row in rows(result)),
    }


def _figures(result: StudyResult) -> dict[str, Any]:
    from markupsafe import Markup

    keys = [(cell.label, *figures.colour_and_dash(i)) for i, cell in enumerate(result.cells)]
    # These elements are matplotlib's, and it has escaped the texts in them.
    return {
        "legend": keys,
        "score_figure": Markup(figures.score_figure(result, reading.main_metric(result))),
        "curve_figure": Markup(figures.curve_figure(result)),
        "loss_figure": Markup(figures.loss_figure(result.sheets)),
    }


def _panels(result: StudyResult) -> dict[str, Any]:
    return {
        "sheet": panels.sheet_rows(result.sheets, result.classes),
        "confusions": panels.confusions(result),
        "most_confusion_classes": panels.MOST_CONFUSION_CLASSES,
        "per_class": panels.per_class(result),
        "provenance": panels.provenance(result),
    }
