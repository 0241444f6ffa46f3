"""The measures of synthetic sets: what each is called, how it is written, which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.report import wording
from orchestrator.report.results import StudyResult

CAS = "cas"
RECONSTRUCTION = "reconstruction_mse"
FEWEST_FOR_FID = 2048
"""Images below which the covariance of 2,048 features is singular, and FID mostly bias."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of the table of sets."""

    name: str
    """As `SetResult.measures` has it."""
    title: str
    higher_is_better: bool | None
    """None where nobody said."""
    scale: float = 1.0
    """What it is multiplied by where it is written."""
    decimals: int | None = None
    """None writes three digits that count."""

    @property
    def heading(self) -> str:
        """The title with an arrow that points to where better is."""
        arrows = {True: " \N{UPWARDS ARROW}", False: " \N{DOWNWARDS ARROW}", None: ""}
        return self.title + arrows[self.higher_is_better]

    def text(self, value: float) -> str:
        """A value, scaled."""
        return self._text(value, value)

    def spread(self, mean: float | None, std: float | None) -> str:
        """A mean with its standard deviation: `18.9 ± 0.4`; without it, where it is not known."""
        if mean is None:
            return wording.NONE
        centre = self._text(mean, mean)
        return centre if std is None else f"{centre} ± {self._text(std, mean)}"

    def _text(self, value: float, like: float) -> str:
        if self.decimals is None:
            return wording.significant(self.scale * value, self.scale * like)
        return f"{round(self.scale * value, self.decimals) + 0.0:,.{self.decimals}f}"


KNOWN: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(name="fid", title="fid", higher_is_better=False),
        Measure(name="kid", title="kid × 1000", higher_is_better=False, scale=1000),
        Measure(name="precision", title="precision", higher_is_better=True, decimals=3),
        Measure(name="recall", title="recall", higher_is_better=True, decimals=3),
        Measure(name="density", title="density", higher_is_better=True, decimals=3),
        Measure(name="coverage", title="coverage", higher_is_better=True, decimals=3),
        Measure(name=CAS, title="cas %", higher_is_better=True, scale=100, decimals=2),
        Measure(name=RECONSTRUCTION, title="rec. MSE", higher_is_better=False),
    )
}


def measure(name: str) -> Measure:
    """What is known of a measure; of another one no direction."""
    return KNOWN.get(name) or Measure(name=name, title=name, higher_is_better=None)


def shown_measures(result: StudyResult) -> tuple[Measure, ...]:
    """The measures asked for, then `cas` and the reconstruction error where a set has them."""
    beside = (
        name for name in (CAS, RECONSTRUCTION) if any(name in s.measures for s in result.sets)
    )
    return tuple(measure(name) for name in dict.fromkeys((*result.measures, *beside)))
