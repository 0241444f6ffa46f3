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
from tests.orchestrator.report import pieces, samples, set_samples


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
        ("many_cells", "Of 8 comparisons in top1, 4 look higher, 4 lower and 0 undecided"),
        ("many_cells", "an indication and no proof: with 3 seeds the exact test cannot go below"),
    ],
)
def test_the_answer_claims_no_more_than_the_numbers(name: str, said: str) -> None:
    assert said in reading.answer(set_samples.ALL[name]())


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
    result = replace(set_samples.ALL[name](), metrics=("confusion",))
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
    assert "asks for no metric" not in reading.answer(set_samples.ALL[name]())


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


@pytest.mark.parametrize("name", set_samples.ALL)
def test_every_table_row_has_as_many_cells_as_its_heading(name: str) -> None:
    for block in markdown(set_samples.ALL[name]()).split("\n\n"):
        if block.startswith("|"):
            bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(bars) == 1, block


@pytest.mark.parametrize("name", set_samples.ALL)
def test_latex_is_balanced_and_escaped(name: str) -> None:
    source = latex(set_samples.ALL[name]())
    assert source.count(r"\begin{table}") == source.count(r"\end{table}")
    assert source.count("{") == source.count("}")
    uncommented = re.sub(r"^% needs .*$", "", source, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)[%#]", uncommented)
    assert "top1\\_last" in source


@pytest.mark.parametrize("name", set_samples.ALL)
def test_terminal_columns_are_aligned(name: str) -> None:
    shown = text(set_samples.ALL[name]())
    assert "\x1b" not in shown
    block = shown.split("\n\n")[1].splitlines()
    ends = {len(line) for line in block}
    assert len(ends) == 1


def test_a_markdown_report_loads_nothing_heavy() -> None:
    program = (
        "import sys, types\n"
        "tests = sys.modules['tests'] = types.ModuleType('tests')\n"
        "tests.__path__ = ['tests']\n"  # some packages bring a folder of that name
        "from tests.orchestrator.report import samples, set_samples\n"
        "from orchestrator.report.documents import markdown\n"
        "markdown(samples.digits())\n"
        "markdown(set_samples.several_fits())\n"
        "heavy = {'torch', 'timm', 'sklearn', 'matplotlib', 'pandas', 'statsmodels', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), 'scipy.stats' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[] False"


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (
            (0.3, 0.9),
            "No difference in top1 would be found 4 times in 5, as that takes more than 100 points",
        ),
        ((0.3, 0.9, 0.501), "in top1 of 0.82 to more than 100 points (it differs"),
    ],
)
def test_no_percentages_differ_by_more_than_100_points(
    levels: tuple[float, ...], said: str
) -> None:
    """The second seed of each cell; the first is 0.5 in all, the baseline's are 0.5 and 0.5."""
    cells = tuple(
        pieces.cell({"variant": str(level)}, (0.5, level), None if i == 0 else 0)
        for i, level in enumerate((0.5, *levels))
    )
    result = replace(samples.digits(), seeds=(0, 1), cells=cells)
    assert said in markdown(result)


def test_no_direction_is_confirmed_where_no_correction_leaves_room() -> None:
    """Six seeds reach 0.031, but not four times over."""
    base = tuple(0.90 + 0.01 * seed for seed in range(6))
    better = tuple(score + 0.01 + 0.001 * (seed % 2) for seed, score in enumerate(base))
    cells = [pieces.cell({"variant": "real"}, base, None)]
    cells += [pieces.cell({"variant": str(i)}, better, 0) for i in range(4)]
    result = replace(samples.digits(), seeds=tuple(range(6)), cells=tuple(cells))
    assert (
        "4 look higher, 0 lower and 0 undecided by their 95 % intervals, an indication and no "
        "proof: with 6 seeds the exact test cannot go below p = 0.0312, 0.125 once corrected for 4 "
        "comparisons; the largest"
    ) in reading.answer(result)
    few = replace(result, cells=result.cells[:3])
    assert "though with 6 seeds the exact test" in reading.answer(few)
    assert "though" not in reading.answer(replace(result, cells=result.cells[:2]))


def test_making_it_again_runs_before_it_reports() -> None:
    result = replace(samples.digits(), command="augury report main.yaml --store 'a b'")
    again = markdown(result).split("## Make it again\n\n")[1]
    assert again == (
        "    augury run main.yaml --store 'a b'\n    augury report main.yaml --store 'a b'\n"
    )
    assert "Make it again" not in markdown(replace(result, command=""))
    assert "    make report\n" in markdown(replace(result, command="make report"))


def test_latex_tables_too_wide_for_a_page_are_fitted_to_it() -> None:
    scores, *_ = latex(samples.no_baseline()).split("\n\n")
    assert scores.startswith("% needs \\usepackage{graphicx}\n\\begin{table}\n")
    assert "\n  \\resizebox{\\textwidth}{!}{\\begin{tabular}{lrrrrrrrr}\n" in scores
    assert "\n  \\end{tabular}}\n\\end{table}" in scores
    whole = samples.no_baseline()
    narrow = latex(samples.with_trials(whole, lambda _, t: replace(t, scores={"top1": 0.5})))
    assert narrow.startswith("\\begin{table}\n  \\centering\n  \\caption{")
    assert "\n  \\begin{tabular}{lrrrrr}\n    \\toprule\n" in narrow
    assert "resizebox" not in narrow


def test_the_largest_of_single_pairs_has_no_interval() -> None:
    whole = set_samples.three_sets()
    cells = tuple(replace(cell, trials=cell.trials[:1]) for cell in whole.cells)
    said = reading.answer(replace(whole, seeds=whole.seeds[:1], cells=cells))
    assert said.startswith("Of ")
    assert said.endswith(", one pair, which shows nothing).")
