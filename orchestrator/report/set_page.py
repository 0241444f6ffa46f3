"""What the page says and shows of synthetic sets, as values for its template."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.report import wording
from orchestrator.report.audit_layout import (
    audit_grid,
    distance_grid,
    filter_class_grid,
    filter_grid,
)
from orchestrator.report.audit_words import audit_remarks, filter_remarks
from orchestrator.report.fidelity import groups, set_labels
from orchestrator.report.gain_figure import gain_figure
from orchestrator.report.gains import gains
from orchestrator.report.layout import Grid
from orchestrator.report.loss_figures import loss_figures
from orchestrator.report.page_tables import READING
from orchestrator.report.ranking_words import ranking_caption, ranking_remarks
from orchestrator.report.results import StudyResult
from orchestrator.report.set_layout import (
    Columns,
    cost_columns,
    gain_columns,
    is_fitted,
    is_indication,
    is_measured,
    measure_columns,
    ranking_grids,
    set_grid,
    stability_columns,
)
from orchestrator.report.set_maps import GROUPS, PAGE_COLOURS, map_svg
from orchestrator.report.set_panels import case_galleries, galleries, sample_gallery
from orchestrator.report.set_words import fidelity_remarks

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_OPEN = 3
"""Groups of sets up to which nothing is folded away."""
MOST_MAPS = 12


@dataclass(frozen=True, kw_only=True)
class Map:
    """The maps of one set."""

    label: str
    tsne: "Markup"
    pca: "Markup"


def set_values(result: StudyResult) -> dict[str, Any]:
    """Everything that the parts of the page about synthetic sets are given."""
    from markupsafe import Markup

    found = gain_figure(result)
    # These elements are our own and matplotlib's; the texts in them are escaped.
    return {
        "set_table": set_table(result),
        "set_caption": _caption(result),
        "set_remarks": fidelity_remarks(result) if is_measured(result) else (),
        "ranked": [(ranking_caption(result, r), grid) for r, grid in ranking_grids(result)],
        "ranking_remarks": ranking_remarks(result),
        "gain_figure": Markup(found.svg) if found else "",
        "gain_names": found.names if found else (),
        "audited": audit_grid(result),
        "audit_remarks": audit_remarks(result),
        "audit_cases": case_galleries(result),
        "distances": distance_grid(result),
        "filtered": filter_grid(result),
        "filter_remarks": filter_remarks(result),
        "filter_classes": _filter_classes(result),
        "samples": sample_gallery(result),
        "galleries": galleries(result),
        "losses": [(each, Markup(each.svg)) for each in loss_figures(result)],
        "maps": _maps(result),
        "num_maps": sum(any(each.map for each in group.sets) for group in groups(result)),
        "map_key": [(GROUPS[group], PAGE_COLOURS[group]) for group in (0, 1, 2)],
        "is_short": len(groups(result)) <= MOST_OPEN,
    }


def _caption(result: StudyResult) -> str:
    worth = "what they were worth to classifiers (below each gain its 95 % interval)"
    told = f"{worth}, and what a fit cost" if is_fitted(result) else f"and {worth}"
    return f"What was measured of the sets, {told}; arrows point to where better is"


def set_table(result: StudyResult) -> Grid | None:
    """The whole table of sets, with costs; None where there is nothing to compare."""
    if not is_measured(result) and not is_fitted(result):
        return None
    columns: Columns = {}
    if is_measured(result):
        columns |= _stacked(measure_columns(result))
    columns |= _with_interval(_doubted(result, gain_columns(result)))
    columns |= {**stability_columns(result), **cost_columns(result)}
    columns.pop("parameters (M)", None)  # they stand under provenance: the table is wide enough
    return set_grid(result, columns)


def _stacked(columns: Columns) -> Columns:
    """With the spread below the mean."""
    return {
        heading: [text.replace(" ±", "\n±", 1) for text in texts]
        for heading, texts in columns.items()
    }


def _doubted(result: StudyResult, columns: Columns) -> Columns:
    """With a word where no test confirms the direction of a gain."""
    found = gains(result)
    marks = ["\nnot confirmed" if is_indication(found.get(g.key)) else "" for g in groups(result)]
    return {
        heading: [text + mark for text, mark in zip(texts, marks, strict=True)]
        if heading == READING
        else texts
        for heading, texts in columns.items()
    }


def _with_interval(columns: Columns) -> Columns:
    """With the interval below the gain, instead of a column."""
    if not columns:
        return {}
    rest = dict(columns)
    pairs = zip(rest.pop("gain (points)"), rest.pop("95 % interval"), strict=True)
    texts = [gain if end == wording.NONE else f"{gain}\n{end}" for gain, end in pairs]
    return {"gain (points)": texts, **rest}


def _filter_classes(result: StudyResult) -> list[tuple[str, Grid]]:
    labels = set_labels(result)
    return [
        (labels[each.key], filter_class_grid(result, each.filtered))
        for each in result.sets
        if each.filtered is not None
    ]


def _maps(result: StudyResult) -> list[Map]:
    """The maps of one set of each group."""
    from markupsafe import Markup

    labels = set_labels(result)
    found: list[Map] = []
    for group in groups(result):
        each = next((each for each in group.sets if each.map is not None), None)
        if each is not None and each.map is not None and len(found) < MOST_MAPS:
            tsne, pca = (map_svg(each.map, kind, result.classes) for kind in ("tsne", "pca"))
            found.append(Map(label=labels[each.key], tsne=Markup(tsne), pca=Markup(pca)))
    return found
