"""What the report says in words, and its Markdown, LaTeX and terminal forms."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.report import reading
from orchestrator.report.documents import latex, markdown, text
from orchestrator.report.remarks import remarks
from orchestrator.report.results import StudyResult
from tests.orchestrator.report import pieces, samples


def warnings_of(result: StudyResult) -> str:
    return " ".join(remark.text for remark in remarks(result) if remark.warning)


def with_many_seeds() -> StudyResult:
    """Eight seeds, every one of them better: the exact test can confirm that."""
    base = tuple(0.90 + 0.002 * (seed % 3) for seed in range(8))
    better = tuple(score + 0.01 + 0.001 * (seed % 4) for seed, score in enumerate(base))
    cells = (
        pieces.cell({"variant": "real"}, base, None),
        pieces.cell({"variant": "mixed"}, better, 0),
    )
    return replace(samples.digits(), seeds=tuple(range(8)), cells=cells)


def test_three_seeds_give_an_indication_and_no_proof() -> None:
    said = reading.answer(samples.digits())
    assert "mixed is 1.09 points higher than real" in said
    assert "cannot go below p = 0.25, so a direction here is an indication" in said


def test_eight_seeds_can_give_a_plain_answer() -> None:
    said = reading.answer(with_many_seeds())
    assert said.startswith("In top1, mixed is 1.15 points higher than real (95 % interval")
    assert "though" not in said
    assert warnings_of(with_many_seeds()) == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one_seed", "mixed is at +1.00 points from real in one pair, which shows nothing"),
        ("partly_failed", "With 8 of 9 trials finished: in top1"),
        ("partly_failed", "mixed is not shown to differ from real"),
        ("no_baseline", "Nothing can be compared, as the study names no baseline"),
        ("nothing_finished", "No answer yet: none of 9 trials is finished."),
        ("deferred", "With 6 of 9 trials finished"),
        ("many_cells", "Of 8 comparisons in top1, 4 are higher, 4 lower and 0 undecided"),
        ("many_cells", "none of them is confirmed"),
    ],
)
def test_the_answer_claims_no_more_than_the_numbers(name: str, said: str) -> None:
    assert said in reading.answer(samples.EVERY[name]())


def test_equal_differences_of_few_seeds_claim_no_direction() -> None:
    result = samples.equal_differences()
    said = reading.answer(result)
    assert said == (
        "In top1, mixed is not shown to differ from real "
        "(+1.00 points, the same in each of 3 pairs)."
    )
    assert "so their interval has no width" in warnings_of(result)
    assert "Minimum detectable effect" not in markdown(result)
    assert "| +1.00 to +1.00 | 0.250 | 0.250 | undecided |" in markdown(result)


def test_equal_differences_of_many_seeds_may_claim_one() -> None:
    result = samples.equal_differences(6)
    assert "mixed is 1.00 points higher than real (the same in each of 6" in reading.answer(result)
    assert "no width" not in warnings_of(result)


def test_the_largest_of_many_differences_may_have_no_spread() -> None:
    few = samples.equal_differences()
    result = replace(few, cells=(few.cells[0], *[few.cells[1]] * 4))
    said = reading.answer(result)
    assert "0 are higher, 0 lower and 4 undecided" in said
    assert said.endswith("+1.00 points (mixed, the same in each of 3 pairs).")


def test_the_answer_is_in_the_first_metric_that_is_a_number() -> None:
    asked = replace(samples.digits(), metrics=("confusion", "f1", "top1"))
    assert reading.main_metric(asked) == "f1"
    assert reading.answer(asked).startswith("In f1, ")


@pytest.mark.parametrize("name", ["digits", "no_baseline", "many_cells"])
def test_an_answer_in_a_metric_that_nobody_asked_for_says_so(name: str) -> None:
    result = replace(samples.EVERY[name](), metrics=("confusion",))
    cells = tuple(
        replace(
            cell,
            trials=tuple(
                replace(
                    trial,
                    scores={n: v for n, v in trial.scores.items() if n not in ("top1", "f1")},
                )
                for trial in cell.trials
            ),
        )
        for cell in result.cells
    )
    said = reading.answer(replace(result, cells=cells))
    assert (
        "top1_last (top-1 accuracy of the last weights, as the study asks for no metric that is "
        "one number)"
    ) in said
    assert "asks for no metric" not in reading.answer(samples.EVERY[name]())


def test_a_study_without_cells_says_so_and_does_not_break() -> None:
    empty = replace(samples.nothing_finished(), cells=())
    assert "No answer yet" in markdown(empty)
    assert "No answer yet" in text(empty)


def test_equal_epochs_are_warned_of() -> None:
    result = replace(samples.digits(), match="epochs")
    longer = replace(result.cells[2], steps=960)
    result = replace(result, cells=(*result.cells[:2], longer))
    assert "480 to 960 optimizer steps): cells with more images train longer" in warnings_of(result)
    assert "| steps |" in markdown(result)


def test_what_the_seeds_can_show_counts_the_comparisons() -> None:
    said = warnings_of(samples.digits())
    # 2 comparisons: twice 2/2^6 is above 0.05, twice 2/2^7 below it.
    assert "is 0.25, and 0.5 corrected for 2" in said
    assert "that takes 7 seeds" in said


def test_markdown_holds_everything_that_was_promised() -> None:
    page = markdown(samples.partly_failed())
    for phrase in (
        "| mixed | 900 | 900 | 1,800 | 2 of 3 | 93.91 ± 0.09 |",
        "| top1 | synthetic | real | 3 | −7.73 | −12.29 to −3.18 | 0.250 | 0.500 | lower |",
        "training seed only",
        "100 validation images and 797 test images",
        "Validation selected the weights",
        "Minimum detectable effect",
        "- mixed, seed 1: failed: OutOfMemoryError: 3.1 GiB asked for \\| at \\<layer 2>",
        "| train | cpu | 9 | 6.2 min |",
        "augury report quickstart",
    ):
        assert phrase in page
    assert page.index("## Cost") > page.index("## How to read this")


def test_only_the_cost_section_moves_with_time() -> None:
    whole = samples.digits()
    slower = replace(whole, costs=tuple(replace(c, hours=2 * c.hours) for c in whole.costs))
    before, after = (markdown(r).split("## Cost") for r in (whole, slower))
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("name", samples.EVERY)
def test_every_table_row_has_as_many_cells_as_its_heading(name: str) -> None:
    for block in markdown(samples.EVERY[name]()).split("\n\n"):
        if block.startswith("|"):
            bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(bars) == 1, block


@pytest.mark.parametrize("name", samples.EVERY)
def test_latex_is_balanced_and_escaped(name: str) -> None:
    source = latex(samples.EVERY[name]())
    assert source.count(r"\begin{table}") == source.count(r"\end{table}")
    assert source.count("{") == source.count("}")
    assert not re.search(r"(?<!\\)[%#]", source)
    assert "top1\\_last" in source


@pytest.mark.parametrize("name", samples.EVERY)
def test_terminal_columns_are_aligned(name: str) -> None:
    shown = text(samples.EVERY[name]())
    assert "\x1b" not in shown
    block = shown.split("\n\n")[1].splitlines()
    ends = {len(line) for line in block}
    assert len(ends) == 1


def test_a_markdown_report_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from tests.orchestrator.report import samples\n"
        "from orchestrator.report.documents import markdown\n"
        "markdown(samples.digits())\n"
        "heavy = {'torch', 'timm', 'sklearn', 'matplotlib', 'pandas', 'statsmodels', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), 'scipy.stats' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[] False"
