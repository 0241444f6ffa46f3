"""The pictures of one synthetic set as files, for those who look at sets one by one."""

import re
from collections.abc import Iterator

from orchestrator.report.contact import Pictures, joined
from orchestrator.report.results import SetResult, SetSample, StudyResult
from orchestrator.report.set_maps import FILE_COLOURS, map_svg
from orchestrator.report.set_panels import MOST_CASES, neighbour_rows
from orchestrator.report.set_table import fidelity_csv, sets_csv


def set_files(
    each: SetResult, sheet: SetSample | None, classes: tuple[str, ...]
) -> dict[str, bytes]:
    """File name -> content: the sample sheet, the visuals, the worst cases of the audit, the map.

    What is not known of the set is left out.
    """
    pictures = {name: joined(rows) for name, rows in _pictures(each, sheet)}
    found = {f"{name}.png": drawn.png for name, drawn in pictures.items() if drawn is not None}
    if each.map is not None:
        for kind in ("tsne", "pca"):
            drawing = map_svg(each.map, kind, classes, FILE_COLOURS, is_file=True)
            if drawing:
                found[f"map_{kind}.svg"] = drawing.encode()
    return found


def _pictures(each: SetResult, sheet: SetSample | None) -> Iterator[tuple[str, Pictures]]:
    if sheet is not None:
        yield "samples", sheet.images
    if each.neighbours:
        yield "nearest_real", neighbour_rows(each)
    for name, rows in each.visuals.items():
        yield re.sub(r"\W+", "_", name).strip("_") or "visual", rows
    if each.audit is not None and each.audit.cases:
        yield "audit", [(case.synthetic, case.real) for case in each.audit.cases[:MOST_CASES]]


def study_files(result: StudyResult) -> dict[str, bytes]:
    """The tables of synthetic sets, as they are shown and bare; nothing without sets."""
    if not result.sets:
        return {}
    return {
        "fidelity.csv": fidelity_csv(result).encode(),
        "sets.csv": sets_csv(result).encode(),
    }
