"""What the report says of synthetic sets: tables, sentences, files."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.report import reading
from orchestrator.report.audit_layout import audit_grid, filter_grid
from orchestrator.report.audit_words import audit_remarks, filter_remarks
from orchestrator.report.documents import latex, markdown, text
from orchestrator.report.measures import measure
from orchestrator.report.results import FilterResult, StudyResult
from orchestrator.report.set_layout import fidelity_grid, generator_grid
from orchestrator.report.set_table import sets_csv
from orchestrator.report.set_words import fidelity_remarks
from orchestrator.report.table import json_text
from orchestrator.report.write import write_report
from tests.orchestrator.report import samples, set_samples
from tests.orchestrator.report.set_samples import made_set, study_of


def column(result: StudyResult, heading: str) -> list[str]:
    grid = fidelity_grid(result)
    place = grid.headings.index(heading)
    return [line.texts[place] for line in grid.lines]


def said(result: StudyResult) -> str:
    return " ".join(remark.text for remark in fidelity_remarks(result))


def test_the_table_holds_measures_gain_and_failed_fits() -> None:
    assert fidelity_grid(set_samples.generators()).headings == (
        *("set", "n", "fid ↓", "kid × 1000 ↓", "precision ↑", "recall ↑", "density ↑"),
        *("coverage ↑", "cas % ↑", "rec. MSE ↓", "gain (points)", "95 % interval", "reading"),
        *("pairs", "failed fits"),
    )
    result = set_samples.several_fits()
    assert column(result, "n") == ["3", "2 of 3", "2 of 3", "3"]
    assert column(result, "failed fits") == ["0 of 3", "1 of 3", "0 of 3", "0 of 3"]
    assert column(result, "pairs") == ["3 × 3", "3 × 2", "3 × 3", "3 × 3"]
    assert column(result, "fid ↓")[0] == "15.1 ± 2.3"


def test_nothing_is_called_higher_where_the_interval_holds_zero() -> None:
    grid = fidelity_grid(set_samples.generators())
    at, reads = (grid.headings.index(name) for name in ("95 % interval", "reading"))
    for line in grid.lines:
        if " to " in line.texts[at]:
            low, high = (float(end.replace("−", "-")) for end in line.texts[at].split(" to "))
            expected = "higher" if low > 0 else "lower" if high < 0 else "undecided"
            assert line.texts[reads] == expected
            assert line.verdict == expected
        else:
            assert line.texts[reads] == "–"


def test_a_measure_that_some_sets_lack_says_how_many_have_it() -> None:
    sets = [made_set("gan", seed) for seed in range(3)]
    fewer = {name: value for name, value in sets[0].measures.items() if name != "cas"}
    result = study_of([replace(sets[0], measures=fewer), *sets[1:]])
    (shown,) = column(result, "cas % ↑")
    assert shown.endswith("(2 of 3)")
    assert column(result, "n") == ["3"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("fid", 250.123, "250.1"),
        ("fid", 0.0512, "0.0512"),
        ("fid", 0.0, "0.00"),
        ("kid", 0.00321, "3.21"),
        ("cas", 0.9134, "91.34"),
        ("density", 1.2, "1.200"),
        ("another", 3.14159, "3.14"),
    ],
)
def test_measures_are_written_in_their_units(name: str, value: float, shown: str) -> None:
    assert measure(name).text(value) == shown


def test_what_a_fit_says_of_itself_measures_no_set() -> None:
    found = {"reconstruction_mse": 0.02}
    failed = [made_set("vae", seed, measures=found, stamp={}) for seed in range(2)]
    result = study_of([*failed, made_set("cgan", 0), made_set("cgan", 1)])
    assert column(result, "n") == ["0 of 2", "2"]
    assert column(result, "rec. MSE ↓")[0] == "0.0200 ± 0.0000"
    alone = study_of(failed, measures=())
    assert column(alone, "n") == ["2"]


def test_what_is_not_measured_is_not_explained() -> None:
    told = said(
        study_of([made_set("gan", measures={"fid": 3.0, "recall": 0.5})], measures=("fid",))
    )
    assert told.startswith("fid: how far the features")
    assert "recall" not in told
    assert said(set_samples.generators()).startswith("fid and kid: how far the features")


def test_folders_have_no_columns_of_fits() -> None:
    assert "failed fits" not in fidelity_grid(set_samples.folder_set()).headings
    assert "failed fits" in fidelity_grid(set_samples.three_sets()).headings


def test_what_real_test_images_get_is_told_once() -> None:
    result = set_samples.generators()
    told = "The 797 real test images, measured as a set is, get fid 0.500, precision 0.710. A set"
    assert said(result).count("measured as a set is") == 1
    assert told in said(result)
    unseen = replace(result.sets[0], held_out={})
    other = replace(result.sets[1], held_out={"fid": 0.25})
    told_apart = said(replace(result, sets=(unseen, other, *result.sets[2:])))
    assert told_apart.count("measured as a set is") == 2
    assert "get fid 0.250 (beside " in told_apart


def test_conventions_are_printed_and_lettered_where_they_differ() -> None:
    assert "extractor classifier, weights small_cnn fitted on 1000 images" in said(
        set_samples.generators()
    )
    assert "convention" not in fidelity_grid(set_samples.generators()).headings
    result = set_samples.two_conventions()
    assert column(result, "convention") == ["A", "B", "B", "A", "A", "A"]
    assert "Figures of different conventions cannot be compared" in said(result)
    (told,) = [r.text for r in fidelity_remarks(result) if r.title == "Conventions"]
    shared, first, second, *_ = told.split(". ")
    assert shared.startswith("All: extractor classifier, weights small_cnn fitted on 1000 images, ")
    assert (first, second) == ("A: images 1000", "B: images 500")
    page = markdown(result)
    assert "lsgan and wgan_gp therefore stand in no ranking" in page
    assert "over 4 sets, convention A:" in page


def test_warnings_are_said_once_with_the_sets_they_are_about() -> None:
    assert said(set_samples.generators()).count("below 2,048 it is mostly bias") == 1
    assert "All measured sets: fid of 1000 images" in said(set_samples.generators())
    result = set_samples.three_sets()
    fewer = (result.sets[0], *(replace(each, warnings=()) for each in result.sets[1:]))
    assert "vanilla_gan: fid of 1000 images" in said(replace(result, sets=fewer))


def test_one_fit_each_is_owned_up_to() -> None:
    assert "There is one set of each kind" in said(set_samples.generators())
    assert "A row of one set says nothing" in said(set_samples.generators())
    several = said(set_samples.several_fits())
    assert "two-way clustering" in several
    assert "A row of one set" not in several
    assert "none is confirmed by the corrected test" in said(set_samples.generators())


def test_the_ranking_says_what_it_cannot_show() -> None:
    page = markdown(set_samples.generators())
    assert "Ravuri \\& Vinyals, 2019" in page
    assert "| rec. MSE ↓ | −0.50 | 3 | 1.000 | 1.000 | 3 sets can show nothing |" in page
    three = markdown(set_samples.three_sets())
    assert "With fewer than 5 sets no such p can go below 0.05" in three
    assert "goes with the gain" not in three
    assert "## Measures and gain" not in markdown(set_samples.folder_set())


def test_times_stand_under_cost_alone() -> None:
    whole = set_samples.generators()
    slower = tuple(
        replace(
            each,
            fit=each.fit and replace(each.fit, seconds=3 * each.fit.seconds, peak_memory_bytes=7),
            images_per_s=1.0,
        )
        for each in whole.sets
    )
    before, after = (
        markdown(result).split("## Cost") for result in (whole, replace(whole, sets=slower))
    )
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_costs_stand_beside_gain() -> None:
    grid = generator_grid(set_samples.generators())
    assert grid.headings[1] == "gain (points)"
    assert grid.headings[-5:] == (
        *("failed fits", "fit time", "peak memory", "parameters (M)", "images/s"),
    )
    lsgan = grid.lines[1].texts
    assert lsgan[-5:] == ("1 of 1", "–", "–", "–", "–")
    assert not generator_grid(samples.digits()).lines
    assert not generator_grid(set_samples.folder_set()).lines


def test_a_study_that_asked_for_no_measures_has_no_table_of_them() -> None:
    page = markdown(set_samples.unmeasured_sets())
    assert "## Synthetic sets" not in page
    assert "| ddpm | +0.80 |" in page.split("## Cost")[1]


def test_an_audit_that_found_nothing_says_so() -> None:
    (nothing, nearer) = audit_remarks(set_samples.three_sets())
    assert nothing.text.startswith("No image was found in any audited set that copies a test image")
    assert "(3,000 images looked at)" in nothing.text
    assert not nothing.warning
    assert "At most 0.4 % are, of " in nearer.text
    assert audit_remarks(samples.digits()) == ()


def test_leaks_are_said_first_and_beside_the_scores() -> None:
    result = set_samples.generators()
    stopped, first, second, *_ = audit_remarks(result)
    assert stopped.title == "dvae: stopped"
    assert first.text == "1 of 1,000 images is a copy of a test image (0 exact, 1 near)."
    assert second.text.startswith("5 of 1,000 images are copies of test images (2 exact, 3 near)")
    assert "12 (1.2 %) are memorised" in second.text
    notes = reading.notes(result)
    assert "set cgan: 1 of 1,000 images is a copy of a test image (0 exact, 1 near)" in notes
    assert any(note.startswith("trials of dvae were stopped: audit of dvae") for note in notes)
    assert "trials of dvae were stopped" in latex(result)
    assert audit_grid(result).lines[5].texts == (
        *("dvae", "1,000", "2", "3", "1", "4", "12", "1.2", "6.1"),
    )


def test_what_failed_trials_say_of_a_gate_is_not_said_again() -> None:
    result = set_samples.generators()
    gate = result.sets[6].audit.gate if result.sets[6].audit else ""
    failed = samples.with_trials(
        result,
        lambda index, t: (
            replace(t, status="failed", error=f"needs audit gate: {gate}")
            if index in (13, 14)
            else t
        ),
    )
    assert not any("dvae" in note for note in reading.notes(failed))
    assert any("dvae, mixed" in line for line in reading.unfinished(failed))


def test_failures_of_one_cause_are_one_line() -> None:
    lines = [line for line in reading.unfinished(set_samples.generators()) if "mixed" in line]
    assert len(lines) == 1
    assert lines[0].startswith("lsgan, mixed, seed 0, seed 1 and seed 2: failed: needs fit lsgan")


def test_edits_are_expected_to_resemble_training_images() -> None:
    result = set_samples.generators()
    assert "light edits" not in " ".join(remark.text for remark in audit_remarks(result))
    copied = replace(result.sets[0], edited=True, audit=set_samples.leaking())
    told = [r.text for r in audit_remarks(replace(result, sets=(copied, *result.sets[1:])))]
    (found,) = (text for text in told if "light edits" in text)
    assert found.startswith(f"{copied.name}: edits of training images")


def test_filters_name_the_class_that_lost_most() -> None:
    result = set_samples.generators()
    grid = filter_grid(result)
    assert grid.headings == (
        *("set", "drawn", "kept", "kept %", "worst class", "by blank", "by confidence"),
    )
    assert grid.lines[0].texts[4] == "8: 100 of 171 (58.5 %)"
    none = FilterResult(drawn=(5,) * 10, kept=(0, *(5,) * 9), dropped={"blank": (5, *(0,) * 9)})
    emptied = study_of([made_set("gan", filtered=none)])
    assert "gan: no image of class 0 was kept." in [r.text for r in filter_remarks(emptied)]
    assert filter_remarks(samples.digits()) == ()


def test_json_holds_sets_without_pictures() -> None:
    found = json.loads(json_text(set_samples.several_fits()))
    assert len(found["sets"]) == 12
    assert found["sets"][0]["audit"]["quantiles"]["test_to_train"][3] == 2.0
    assert "cases" not in found["sets"][0]["audit"]
    assert "losses" not in found["sets"][0]
    assert found["set_groups"][1]["gain"]["fits"] == 2
    assert {row["measure"] for row in found["measures_and_gain"]} >= {"fid", "cas"}
    assert json.loads(json_text(samples.digits()))["sets"] == []


def test_sets_have_a_csv_of_their_own(tmp_path: Path) -> None:
    result = set_samples.generators()
    table = list(csv.DictReader(io.StringIO(sets_csv(result))))
    assert [row["set"] for row in table] == list(set_samples.GENERATORS)
    assert float(table[0]["fid"]) == result.sets[0].measures["fid"]
    assert table[1]["fit"] == "failed"
    assert table[1]["fid"] == ""
    assert table[5]["audit_test_near"] == "0"
    assert float(table[8]["gain"]) == pytest.approx(0.0149, abs=1e-4)
    written = write_report(result, tmp_path, ["csv"])
    assert [file.name for file in written.files] == ["report.csv", "sets.csv"]
    written = write_report(samples.digits(), tmp_path / "none", ["csv"])
    assert [file.name for file in written.files] == ["report.csv"]


def test_the_terminal_shows_what_sets_were_worth_and_cost() -> None:
    shown = text(set_samples.generators())
    assert "fit time" in shown
    assert "fit time" not in text(set_samples.unmeasured_sets())


def test_latex_has_a_table_of_each_kind() -> None:
    source = latex(set_samples.generators())
    assert source.count(r"\begin{table}") == 7
    assert r"fid $\downarrow$" in source
    assert r"kid $\times$ 1000" in source
