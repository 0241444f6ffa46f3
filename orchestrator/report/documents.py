"""The report as text: Markdown, LaTeX, and aligned columns for a terminal."""

import re
from collections.abc import Callable, Sequence

from orchestrator.report import reading
from orchestrator.report.layout import Grid, cost_grid, difference_grid, score_grid, shift_grid
from orchestrator.report.profiles import profile_lines
from orchestrator.report.remarks import remarks
from orchestrator.report.results import StudyResult
from orchestrator.report.rows import shifted_metrics

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
}


def markdown(result: StudyResult) -> str:
    """The whole report but for its figures. Times stand in its last section alone."""
    parts = [
        f"# {_md(result.question or result.name)}",
        f"**{_md(reading.answer(result))}**",
        *_section("Scores", _md_table(score_grid(result))),
        *_section("Differences", _md_table(difference_grid(result))),
        *_section("Other test sets", _md_table(shift_grid(result)), _lacking(result)),
        *_section("Images per class", _bullets([_md(line) for line in profile_lines(result)])),
        *_section("How to read this", _bullets(_remark_lines(result))),
        *_section("Not finished", _bullets([_md(text) for text in reading.unfinished(result)])),
        *_section("Notes", _bullets([_md(text) for text in reading.notes(result)])),
        *_section("Cost", _md_table(cost_grid(result))),
        *_section("Make it again", _code(reading.commands(result))),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, body: str, remark: str = "") -> list[str]:
    return [f"## {title}", body, *([_md(remark)] if remark else [])] if body else []


def _lacking(result: StudyResult) -> str:
    note = reading.lacking_note(result)
    return f"{note}." if note else ""


def _code(lines: Sequence[str]) -> str:
    return "\n".join(f"    {' '.join(line.split())}" for line in lines)


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _remark_lines(result: StudyResult) -> list[str]:
    return [
        f"**{'Warning: ' if remark.warning else ''}{_md(remark.title)}.** {_md(remark.text)}"
        for remark in remarks(result)
    ]


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
    caption = " ".join((caption, *(f"{note}." for note in reading.duplicate_notes(result))))
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
    return "\n".join(tables)


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
