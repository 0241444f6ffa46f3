"""The flags that say what is measured of synthetic sets, and by what."""

import re
from collections.abc import Callable, Sequence

from orchestrator import yaml12
from orchestrator.local_files import by_content
from orchestrator.overlay import overlaid
from orchestrator.parsing import ALL_MEASURES, USUAL_MEASURES
from orchestrator.settings import AuditSettings, QualitySettings
from orchestrator.validating import config_of, mapping, named
from tasks.errors import InputError, nearest
from tasks.specs import Plugin

Change = Callable[[QualitySettings], QualitySettings]
"""What a study measures of its sets -> what a command does."""


def check_measures(given: Sequence[str]) -> tuple[str, ...]:
    """The measures that were asked for, each once.

    Raises InputError for an unknown one.
    """
    for name in given:
        if "," in name:
            raise InputError(f"--measure {name}: separate them by spaces, as in --measure fid kid")
        if name not in ALL_MEASURES:
            raise InputError(f"--measure: unknown measure {name!r}; {nearest(name, ALL_MEASURES)}")
    return tuple(dict.fromkeys(given))


def extractor_of(given: str | None, overrides: Sequence[str]) -> Plugin | None:
    """What describes the images, with its settings; None where nothing was said.

    Args:
        given: a name, or a mapping as a study has it.
        overrides: `key=value`.

    Raises InputError naming the flag.
    """
    if given is None and not overrides:
        return None
    try:
        values = mapping(yaml12.parse(given or "classifier"), "extractor")
        name = named("extractors", values, "extractor")
        values = overlaid(dict(values), tuple(overrides), False)
        chosen = config_of("extractors", name, values, "extractor", None)
        return by_content("extractors", chosen, "extractor")
    except InputError as error:
        text = re.sub(r"^extractor\.name: ", "--extractor: ", str(error))
        text = re.sub(r"^extractor\.", "--set ", text)
        text = re.sub(r"^extractor: ", "--extractor: ", text)
        raise InputError(text if text.startswith("--") else f"--extractor: {text}") from error


def scoring(measures: tuple[str, ...], extractor: Plugin | None) -> Change:
    """What `augury score` asks: other measures or another extractor, where those are said."""

    def change(said: QualitySettings) -> QualitySettings:
        return QualitySettings(
            extractor=extractor or said.extractor,
            measures=measures or said.measures or USUAL_MEASURES,
            audit=None,
        )

    return change


def auditing(extractor: Plugin | None) -> Change:
    """What `augury audit` asks; limits are held against the figures later."""

    def change(said: QualitySettings) -> QualitySettings:
        return QualitySettings(
            extractor=extractor or said.extractor, measures=(), audit=AuditSettings()
        )

    return change
