"""How far measures of synthetic sets may be trusted to say what is worth training on."""

from orchestrator.report import wording
from orchestrator.report.fidelity import groups
from orchestrator.report.gains import gains
from orchestrator.report.measures import shown_measures
from orchestrator.report.ranking import FEWEST, Ranking, rankings
from orchestrator.report.reading import main_metric
from orchestrator.report.remarks import Remark
from orchestrator.report.results import StudyResult
from orchestrator.report.set_layout import stamp_letters
from orchestrator.report.set_words import context_text


def ranking_remarks(result: StudyResult) -> tuple[Remark, ...]:
    """How to read the rank correlations, and where there are none."""
    found = rankings(result)
    if not shown_measures(result) or not gains(result) or len(groups(result)) < 2:
        return ()
    large = [ranking for ranking in found if len(ranking.labels) > 2]
    if not large:
        text = (
            "Fewer than three sets were measured alike and compared with one baseline, so no "
            "measure can be held against the gain."
        )
        return (Remark(title="Measures and gain", text=text),)
    return (_how_to_rank(large), *_left_out(result, large), _known())


def _how_to_rank(large: list[Ranking]) -> Remark:
    text = (
        "Spearman's rank correlation over the rows above, sets that differ by their seed alone "
        "counted once by their mean. Positive: the sets that the measure calls better gained more. "
        "p is two-sided, the share of orders that are as extreme (of all orders up to 8 sets, of "
        "50,000 drawn ones beyond), and corrected by Holm for the number of measures. The gains "
        "are uncertain themselves, which draws it to zero."
    )
    weak = min(len(ranking.labels) for ranking in large) < FEWEST
    if weak:
        text += f" With fewer than {FEWEST} sets no such p can go below 0.05."
    return Remark(title="Rank correlation", text=text, warning=weak)


def _left_out(result: StudyResult, large: list[Ranking]) -> tuple[Remark, ...]:
    """Sets that no ranking holds, and why they are not ranked together."""
    ranked = {label for ranking in large for label in ranking.labels}
    left = [
        group.label
        for group in groups(result)
        if group.label not in ranked and group.measures and group.key in gains(result)
    ]
    if len(large) < 2 and not left:
        return ()
    text = "Sets that were measured by different conventions, or compared with different baselines"
    text += ", are not ranked together"
    text += f"; {wording.listed(left)} therefore stand in no ranking." if left else "."
    return (Remark(title="Rankings", text=text, warning=True),)


def _known() -> Remark:
    text = (
        "FID is known not to predict how useful images are to train on (Ravuri & Vinyals, 2019, "
        "arXiv 1905.10887: VQ-VAE-2 with FID 38 gave a classification accuracy score of 54.8 %, "
        "BigGAN-deep with FID 11.8 one of 42.7 %), so no set should be chosen by it alone."
    )
    return Remark(title="What is known", text=text)


def ranking_caption(result: StudyResult, ranking: Ranking) -> str:
    """Which gains a table of rank correlations is about."""
    stamps = {each.stamp for each in rankings(result)}
    group = next(g for g in groups(result) if g.label == ranking.labels[0])
    convention = f", convention {stamp_letters(result)[group.key]}" if len(stamps) > 1 else ""
    sets = wording.counted(len(ranking.labels), "set")
    gain = context_text(result, ranking.context)
    return f"Each measure and the gain in {main_metric(result)} ({gain}), over {sets}{convention}"
