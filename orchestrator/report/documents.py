"""The report as text: Markdown, LaTeX, and aligned columns for a terminal."""

import re
from collections.abc import Callable, Sequence

from orchestrator.report import reading
from orchestrator.report.audit_layout import audit_grid, filter_grid
from orchestrator.report.audit_words import audit_remarks, filter_remarks
from orchestrator.report.layout import Grid, cost_grid, difference_grid, score_grid, shift_grid
from orchestrator.report.profiles import profile_lines
from orchestrator.report.ranking_words import ranking_caption, ranking_remarks
from orchestrator.report.remarks import Remark, remarks
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import shifted_metrics
from orchestrator.report.set_layout import (
    fidelity_grid,
    generator_grid,
    is_measured,
    ranking_grids,
)
from orchestrator.report.set_words import fidelity_remarks, set_caption

MOST_COLUMNS = 8
"""Of a LaTeX table as wide as it comes."""
_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "<": r"$<$",
    ">": r"$>$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


def markdown(result: StudyResult) -> str:
    """The whole report but for its figures. Times stand in its last section alone."""
    parts = [
        f"# {_md(result.question or result.name)}",
        f"**{_md(reading.answer(result))}**",
        *_section("Scores", _md_table(score_grid(result))),
        *_section("Differences", _md_table(difference_grid(result))),
        *_section("Other test sets", _md_table(shift_grid(result)), _lacking(result)),
        *_sets(result),
        *_section("Images per class", _bullets([_md(line) for line in profile_lines(result)])),
        *_section("How to read this", _told(remarks(result))),
        *_section("Not finished", _bullets([_md(text) for text in reading.unfinished(result)])),
        *_section("Notes", _bullets([_md(text) for text in reading.notes(result)])),
        *_section("Cost", _tables(cost_grid(result), generator_grid(result))),
        *_section("Make it again", _code(reading.commands(result))),
    ]
    return "\n\n".join(parts) + "\n"


def _sets(result: StudyResult) -> list[str]:
    """What is known of the synthetic sets: measures, copies, filters."""
    ranked: list[str] = []
    for ranking, grid in ranking_grids(result):
        ranked += [f"{_md(ranking_caption(result, ranking))}:", _md_table(grid)]
    known = _told(fidelity_remarks(result)) if is_measured(result) else ""
    return [
        *_section("Synthetic sets", _parts(_md_table(fidelity_grid(result)), known)),
        *_section("Measures and gain", _parts(*ranked, _told(ranking_remarks(result)))),
        *_section("Audit", _parts(_told(audit_remarks(result)), _md_table(audit_grid(result)))),
        *_section("Filters", _parts(_md_table(filter_grid(result)), _told(filter_remarks(result)))),
    ]


def _parts(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _tables(*grids: Grid) -> str:
    return _parts(*map(_md_table, grids))


def _section(title: str, body: str, remark: str = "") -> list[str]:
    return [f"## {title}", body, *([_md(remark)] if remark else [])] if body else []


def _lacking(result: StudyResult) -> str:
    note = reading.lacking_note(result)
    return f"{note}." if note else ""


def _code(lines: Sequence[str]) -> str:
    return "\n".join(f"    {' '.join(line.split())}" for line in lines)


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _told(found: Sequence[Remark]) -> str:
    return _bullets(
        [
            f"**{'Warning: ' if remark.warning else ''}{_md(remark.title)}.** {_md(remark.text)}"
            for remark in found
        ]
    )


def _md(text: str) -> str:
    """Escape what Markdown or a table would take for its own, on one line."""
    return re.sub(r"([\\|*`\[\]<&$])", r"\\\1", " ".join(text.split()))


def _md_table(grid: Grid) -> str:
    if not grid.lines:
        return ""
    rules = ["---" if i < grid.num_names else "---:" for i in range(len(grid.headings))]
    table = [grid.headings, *(line.texts for line in grid.lines)]
    lines = [f"| {' | '.join(map(_md, texts))} |" for texts in table]
    return "\n".join([lines[0], f"| {' | '.join(rules)} |", *lines[1:]])


def latex(result: StudyResult) -> str:
    """The scores and the differences as booktabs tables (`\\usepackage{booktabs}`).

    Tables of many columns are fitted to the width of the page, and say which package that takes.
    The first caption gives the answer, and what else a reader of the table must know.
    """
    caption = f"{result.question or result.name} {reading.answer(result)}"
    caption = " ".join(
        (
            caption,
            *(
                f"{note}."
                for note in (*reading.duplicate_notes(result), *reading.leak_notes(result))
            ),
        )
    )
    tables = [_latex_table(score_grid(result), caption)]
    differences = difference_grid(result)
    if differences.lines:
        by = "seed and fold" if result.folds else "seed"
        against = f"Differences from the baseline, paired by {by}."
        tables.append(_latex_table(differences, against))
    shifted = shift_grid(result)
    if shifted.lines:
        caption = f"Scores on other test sets. {_lacking(result)}"
        tables.append(_latex_table(shifted, caption))
    return "\n".join([*tables, *_latex_sets(result)])


def _latex_sets(result: StudyResult) -> list[str]:
    """The tables of synthetic sets that have lines."""
    found = [
        (fidelity_grid(result), set_caption(result)),
        *((grid, f"{ranking_caption(result, r)}.") for r, grid in ranking_grids(result)),
        (audit_grid(result), "Copies of real images among the synthetic ones."),
        (filter_grid(result), "What the filters of each set kept."),
        (generator_grid(result), "What the generators cost, beside what their sets were worth."),
    ]
    return [_latex_table(grid, caption) for grid, caption in found if grid.lines]


def _latex_table(grid: Grid, caption: str) -> str:
    columns = "l" * grid.num_names + "r" * (len(grid.headings) - grid.num_names)

    def row(texts: Sequence[str]) -> str:
        return f"    {' & '.join(map(_tex, texts))} \\\\"

    wide = len(grid.headings) > MOST_COLUMNS
    fitted, end = (r"\resizebox{\textwidth}{!}{", "}") if wide else ("", "")
    lines = [
        *([r"% needs \usepackage{graphicx}"] if wide else []),
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_tex(caption)}}}",
        f"  {fitted}\\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        row(grid.headings),
        r"    \midrule",
        *(row(line.texts) for line in grid.lines),
        r"    \bottomrule",
        rf"  \end{{tabular}}{end}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(text.split()))


def text(result: StudyResult) -> str:
    """What a terminal shows at the end of a run: the tables in columns, and the answer."""
    parts = [
        result.question or result.name,
        _columns(score_grid(result)),
        _columns(difference_grid(result, [reading.main_metric(result)])),
        _columns(shift_grid(result, shifted_metrics(result)[:1])),
        _lacking(result),
        _columns(generator_grid(result)) if is_measured(result) else "",
        reading.answer(result),
        "\n".join(f"! {line}" for line in (*reading.unfinished(result), *reading.notes(result))),
    ]
    shown = "\n\n".join(part for part in parts if part)
    return shown.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-") + "\n"


def _columns(grid: Grid) -> str:
    if not grid.lines:
        return ""
    table = [grid.headings, *(line.texts for line in grid.lines)]
    widths = [max(len(texts[i]) for texts in table) for i in range(len(grid.headings))]

    def aligned(texts: Sequence[str]) -> str:
        cells = []
        for index, (content, width) in enumerate(zip(texts, widths, strict=True)):
            justify: Callable[[int], str] = (
                content.ljust if index < grid.num_names else content.rjust
            )
            cells.append(justify(width))
        return "  ".join(cells).rstrip()

    lines = [aligned(texts) for texts in table]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
