"""Sets by group, what they were worth, and whether a measure says so."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from orchestrator.report.fidelity import failed_fits, groups, set_labels
from orchestrator.report.gains import Gain, _over_fits, gains
from orchestrator.report.layout import direction
from orchestrator.report.measures import measure
from orchestrator.report.ranking import permutation_p, rankings, ranks, spearman
from orchestrator.report.results import SetResult, StudyResult
from orchestrator.report.rows import rows
from orchestrator.report.set_layout import correlation_reading
from orchestrator.report.statistics import Place
from tests.orchestrator.report import pieces, samples, set_samples
from tests.orchestrator.report.set_samples import made_set, study_of


def gain_of(result: StudyResult, label: str) -> Gain:
    group = next(group for group in groups(result) if group.label == label)
    return gains(result)[group.key]


def with_values(values: Sequence[float], gained: Sequence[float]) -> StudyResult:
    """Sets of these FIDs, and for each a mixed cell that gains about so much in every seed."""
    sets = [
        made_set(f"g{i}", pictures=False, measures={"fid": fid}) for i, fid in enumerate(values)
    ]
    base = (0.9, 0.91, 0.92)
    cells = [pieces.cell({"variant": "real"}, base, None)]
    cells += [
        pieces.cell(
            {"variant": each.name},
            tuple(score + more + 0.001 * (seed % 2) for seed, score in enumerate(base)),
            0,
            num_synthetic=100,
            sets=(each.key,),
        )
        for each, more in zip(sets, gained, strict=True)
    ]
    return study_of(sets, cells=tuple(cells), measures=("fid",), sheets=())


def test_sets_that_differ_by_seed_alone_are_one_row() -> None:
    result = set_samples.several_fits()
    found = groups(result)
    assert [group.label for group in found] == ["wgan_gp", "cgan", "biggan", "vae"]
    assert [group.measures["fid"].n for group in found] == [3, 2, 2, 3]
    values = [each.measures["fid"] for each in found[0].sets]
    assert found[0].measures["fid"].mean == pytest.approx(np.mean(values))
    assert found[0].measures["fid"].std == pytest.approx(np.std(values, ddof=1))
    assert [len(group.fits) for group in found] == [3, 3, 3, 3]
    labels = set_labels(result)
    assert len(set(labels.values())) == len(result.sets)
    assert labels[result.sets[4].key] == "cgan (seed 1)"


def test_one_fit_behind_two_sets_counts_once() -> None:
    ddpm, ddim = made_set("ddpm"), made_set("ddim")
    result = study_of([ddpm, replace(ddim, group=ddpm.group, fit=ddpm.fit)])
    (group,) = groups(result)
    assert len(group.fits) == 1


def test_groups_called_alike_are_told_apart() -> None:
    sets = [made_set("gan"), replace(made_set("gan", 1), group="other")]
    assert [group.label for group in groups(study_of(sets))] == ["gan #1", "gan #2"]


def test_a_measure_that_is_no_number_is_missing() -> None:
    only = made_set("gan", measures={"fid": math.nan, "cas": 0.5})
    (group,) = groups(replace(samples.digits(), sets=(only,), measures=("fid", "cas")))
    assert set(group.measures) == {"cas"}


def test_failed_fits_say_why_once() -> None:
    (line,) = failed_fits(set_samples.several_fits())
    assert line.startswith("cgan (seed 1): cgan diverged by step 1200")


def test_the_gain_of_one_set_is_the_difference_of_its_mixed_cell() -> None:
    result = set_samples.generators()
    gain = gain_of(result, "ddpm")
    (cell,) = gain.cells
    assert result.cells[cell].label == "ddpm, mixed"
    (row,) = [row for row in rows(result) if row.cell == cell and row.metric == "top1"]
    assert gain.found == row.comparison
    assert gain.context == ("mixed", 0)
    assert groups(result)[1].key not in gains(result)  # its fit failed


def test_without_mixed_cells_the_gain_is_that_of_synthetic_images_alone() -> None:
    whole = set_samples.three_sets()
    left = tuple(c for c in whole.cells if c.num_real == 0 or not c.sets)
    found = gains(replace(whole, cells=left))
    assert {gain.context for gain in found.values()} == {("synthetic", 0)}
    assert all(gain.found.difference < -0.05 for gain in found.values())


def test_a_cell_of_two_sets_says_nothing_of_either() -> None:
    whole = set_samples.three_sets()
    both = tuple(each.key for each in whole.sets[:2])
    cells = tuple(replace(c, sets=both) if c.sets else c for c in whole.cells)
    assert gains(replace(whole, cells=cells)) == {}


def test_gains_are_taken_against_the_baseline_that_most_sets_share() -> None:
    whole = set_samples.three_sets()
    other = pieces.cell({"sets": None, "variant": "real"}, (0.5, 0.5, 0.51), None, label="other")
    extra = [
        replace(c, baseline=len(whole.cells), label=f"other {c.label}")
        for c in whole.cells[1:3]  # the first set alone has cells against it
    ]
    result = replace(whole, cells=(*whole.cells, other, *extra))
    assert {gain.context for gain in gains(result).values()} == {("mixed", 0)}


def test_the_gain_over_several_fits_is_their_mean_and_holds_both_variances() -> None:
    result = set_samples.several_fits()
    gain = gain_of(result, "biggan")
    assert len(gain.cells) == 3  # that one set is not measured does not hide its cell
    singles = [row.diff for row in rows(result) if row.cell in gain.cells and row.metric == "top1"]
    assert gain.found.difference == pytest.approx(np.mean([d for d in singles if d is not None]))
    widths = [
        row.ci_high - row.ci_low
        for row in rows(result)
        if row.cell in gain.cells and row.metric == "top1"
        if row.ci_low is not None and row.ci_high is not None
    ]
    assert gain.found.ci_low is not None
    assert gain.found.ci_high is not None
    assert gain.found.ci_high - gain.found.ci_low > max(widths)
    assert not gain.is_confirmed


def test_intervals_over_crossed_seeds_cover_what_they_say() -> None:
    """Fits and training seeds both move the score; a shared baseline moves all fits alike."""
    rng, covered, draws = np.random.default_rng(0), 0, 600
    for _ in range(draws):
        fits, seeds = rng.normal(0, 0.01, 3), rng.normal(0, 0.01, 4)
        noise = rng.normal(0, 0.005, (3, 4))
        differences: list[dict[Place, float]] = [
            {(s, 0): 0.02 + fits[f] + seeds[s] + noise[f, s] for s in range(4)} for f in range(3)
        ]
        found = _over_fits(differences, None)
        assert found is not None
        assert found.ci_low is not None
        assert found.ci_high is not None
        covered += found.ci_low <= 0.02 <= found.ci_high
    assert 0.93 <= covered / draws <= 1.0


def test_fits_without_a_common_seed_or_with_one_decide_nothing() -> None:
    apart: list[dict[Place, float]] = [{(0, 0): 0.1}, {(1, 0): 0.1}]
    assert _over_fits(apart, None) is None
    one: list[dict[Place, float]] = [{(0, 0): 0.1}, {(0, 0): 0.2}]
    found = _over_fits(one, None)
    assert found is not None
    assert (found.ci_low, direction(found)) == (None, "undecided")
    alike: list[dict[Place, float]] = [{(0, 0): 0.1, (1, 0): 0.1}] * 3
    found = _over_fits(alike, None)
    assert found is not None
    assert direction(found) == "undecided"  # no width: too few to tell from chance


@pytest.mark.parametrize("seed", range(4))
def test_rank_correlation_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 4, 6).tolist(), rng.normal(size=6).round(1).tolist()
    assert ranks(first) == stats.rankdata(first).tolist()
    expected = stats.spearmanr(first, second).statistic
    assert spearman(first, second) == pytest.approx(expected)

    def strength(x: Sequence[float]) -> float:
        return abs(float(stats.spearmanr(x, second).statistic))

    exact = stats.permutation_test(
        (first,), strength, permutation_type="pairings", alternative="greater", n_resamples=np.inf
    )
    assert permutation_p(first, second) == pytest.approx(exact.pvalue, abs=1e-9)


def test_rank_correlation_of_many_sets_is_drawn_and_repeats() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=12).tolist(), rng.normal(size=12).tolist()
    p = permutation_p(first, second)
    assert p == permutation_p(first, second)
    assert p == pytest.approx(stats.spearmanr(first, second).pvalue, abs=0.03)
    assert permutation_p(first, first) == pytest.approx(1 / 50_001, rel=0.1)


def test_too_few_pairs_or_no_spread_have_no_rank_correlation() -> None:
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_a_positive_correlation_is_good_news_whichever_way_the_measure_runs() -> None:
    falling = with_values([30, 20, 10, 5, 1], [0.01, 0.02, 0.03, 0.04, 0.05])
    (found,) = rankings(falling)[0].correlations
    assert measure("fid").higher_is_better is False
    assert found.rho == pytest.approx(1)
    assert found.p == pytest.approx(2 / 120)
    assert correlation_reading(found) == "goes with the gain"
    (found,) = rankings(with_values([1, 5, 10, 20, 30], [0.01, 0.02, 0.03, 0.04, 0.05]))[
        0
    ].correlations
    assert found.rho == pytest.approx(-1)
    assert correlation_reading(found) == "goes against the gain"


def test_where_lower_scores_are_better_a_gain_is_a_fall() -> None:
    result = with_values([30, 20, 10, 5, 1], [-0.01, -0.02, -0.03, -0.04, -0.05])
    result = samples.with_trials(result, lambda _, t: replace(t, scores={"ece": t.scores["top1"]}))
    result = replace(result, metrics=("ece",), lower_is_better=frozenset({"ece"}))
    (found,) = rankings(result)[0].correlations
    assert found.rho == pytest.approx(1)


def test_four_sets_can_show_nothing() -> None:
    result = with_values([30, 20, 10, 5], [0.01, 0.02, 0.03, 0.04])
    (found,) = rankings(result)[0].correlations
    assert found.n == 4
    assert found.rho == pytest.approx(1)
    assert found.p is not None
    assert found.p > 0.05
    assert correlation_reading(found) == "4 sets can show nothing"


def test_different_conventions_are_not_ranked_together() -> None:
    found = rankings(set_samples.two_conventions())
    assert [ranking.labels for ranking in found] == [
        ("vanilla_gan", "cgan", "biggan", "vae"),
        ("lsgan", "wgan_gp"),
    ]


def test_measures_are_corrected_for_their_number() -> None:
    (ranking,) = rankings(set_samples.generators())
    tested = [each for each in ranking.correlations if each.p is not None]
    assert len(tested) == 8
    for each in tested:
        assert each.p_holm is not None
        assert each.p is not None
        assert each.p_holm >= each.p
    least = min(tested, key=lambda each: each.p or 1)
    assert least.p_holm == pytest.approx(8 * (least.p or 1))


def test_cross_validated_sets_of_one_group_are_one_gain() -> None:
    """Each fold has a set of its own, and all of them are the cell's."""
    whole = samples.cross_validated()
    sets: list[SetResult] = [
        replace(made_set("ddpm", pictures=False), key=f"pack{fold}", seed=0) for fold in range(5)
    ]
    cells = tuple(
        replace(c, sets=tuple(each.key for each in sets)) if i == 2 else c
        for i, c in enumerate(whole.cells)
    )
    result = replace(whole, cells=cells, sets=tuple(sets), measures=("fid",))
    (gain,) = gains(result).values()
    assert gain.cells == (2,)
    assert len(set(set_labels(result).values())) == 5
