"""`augury export`, `augury score` and `augury audit`: synthetic sets, in folders or of studies."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.planning import DEFAULT_STORE
from orchestrator.single.options import AsJson, DataDir, DatasetName, Device, Root, SkipBad, Threads
from tasks.errors import InputError

if TYPE_CHECKING:
    from orchestrator.single.measuring import Change
    from orchestrator.single.performing import Workplace
    from orchestrator.single.sources import Named
    from orchestrator.single.subjects import Subject
    from tasks.specs import Plugin

OVER_THE_LIMIT = 3
"""Exit code of an audit that found more than was allowed."""

Set = Annotated[
    str, typer.Argument(metavar="SET", help="Class folders of synthetic images, or STUDY:SET.")
]
Smoke = Annotated[bool, typer.Option("--smoke", help="Of the study as --smoke shrinks it.")]
Store = Annotated[
    str, typer.Option("--store", metavar="URI", help="Of the study; a folder, or s3://, gs://.")
]
TestDir = Annotated[
    Path | None,
    typer.Option("--test-dir", metavar="DIR", help="Test images; else a part of --data-dir."),
]
ExtractorName = Annotated[
    str | None,
    typer.Option("--extractor", metavar="NAME", help="What describes images; else classifier."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE...",
        help="Of the study; of a folder, of the extractor, or dataset.KEY.",
    ),
]


def export(
    chosen: Annotated[str, typer.Argument(metavar="STUDY:SET", help="A set that was made.")],
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", metavar="DIR", help="Class folders; new, or to be finished."),
    ],
    store: Store = DEFAULT_STORE,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE...", help="As the study was run with."),
    ] = None,
    smoke: Smoke = False,
) -> None:
    """Write a synthetic set of a study as class folders."""
    from orchestrator.single import generate_outcome
    from orchestrator.single.exporting import export as written
    from orchestrator.single.study_sets import Asked, find_set

    asked = Asked(given=chosen, overrides=tuple(overrides or ()), smoke=smoke, store=store)
    print(generate_outcome.closing(written(find_set(asked), output_dir)))


def score(
    chosen: Set,
    data_dir: DataDir = None,
    dataset: DatasetName = None,
    root: Root = None,
    test_dir: TestDir = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="NAME...", help="See `augury list measures`."),
    ] = None,
    extractor: ExtractorName = None,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    smoke: Smoke = False,
    skip_bad: SkipBad = False,
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure how near a synthetic set is to real images."""
    from orchestrator.single import measuring, score_outcome
    from orchestrator.single.sources import Named

    measures = measuring.check_measures(measure or ())
    subject = _subject(
        chosen,
        Named(data_dir=data_dir, dataset=dataset, root=root, test_dir=test_dir, skip_bad=skip_bad),
        _Flags(overrides=tuple(overrides or ()), store=store, smoke=smoke, extractor=extractor),
        lambda seen_by: measuring.scoring(measures, seen_by),
    )
    at = _measured(subject, device, threads)
    print((score_outcome.as_json if as_json else score_outcome.as_text)(subject, at))


def audit(
    chosen: Set,
    data_dir: DataDir = None,
    dataset: DatasetName = None,
    root: Root = None,
    test_dir: TestDir = None,
    max_test_duplicates: Annotated[
        int | None,
        typer.Option(
            "--max-test-duplicates", min=0, help="Copies of test images; with more, exit code 3."
        ),
    ] = None,
    max_memorisation: Annotated[
        float | None,
        typer.Option(
            "--max-memorisation", min=0, max=1, help="Share of copies of training images; as above."
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="Draw the worst cases beside real ones."),
    ] = None,
    extractor: ExtractorName = None,
    overrides: Overrides = None,
    store: Store = DEFAULT_STORE,
    smoke: Smoke = False,
    skip_bad: SkipBad = False,
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Look for copies of real images in a synthetic set; exit code 3 where a limit is passed."""
    from orchestrator.single import audit_outcome, measuring
    from orchestrator.single.places import check_target
    from orchestrator.single.sources import Named

    if sheet is not None:
        check_target("--sheet", sheet, (".png",))
    subject = _subject(
        chosen,
        Named(data_dir=data_dir, dataset=dataset, root=root, test_dir=test_dir, skip_bad=skip_bad),
        _Flags(overrides=tuple(overrides or ()), store=store, smoke=smoke, extractor=extractor),
        measuring.auditing,
    )
    at = _measured(subject, device, threads)
    limits = audit_outcome.Limits(
        max_test_duplicates=max_test_duplicates, max_memorisation=max_memorisation
    )
    found = audit_outcome.audited(subject, at, limits)
    if sheet is not None:
        audit_outcome.draw(found, sheet)
    print((audit_outcome.as_json if as_json else audit_outcome.as_text)(found, sheet))
    if found.passed:
        raise typer.Exit(OVER_THE_LIMIT)


@dataclass(frozen=True, kw_only=True)
class _Flags:
    """What is said of a set, beside its name."""

    overrides: tuple[str, ...]
    store: str
    smoke: bool
    extractor: str | None


def _subject(
    chosen: str, named: "Named", flags: _Flags, asks: "Callable[[Plugin | None], Change]"
) -> "Subject":
    """The set that is meant, with what is to be measured of it."""
    from orchestrator.single import subjects
    from orchestrator.single.measuring import extractor_of
    from orchestrator.single.sources import section
    from orchestrator.single.study_sets import Asked

    if subjects.is_folder(chosen):
        if flags.smoke or flags.store != DEFAULT_STORE:
            flag = "--smoke" if flags.smoke else "--store"
            raise InputError(f"{flag}: is for STUDY:SET, and {chosen} is a folder; leave it out")
        of_dataset, rest = section(flags.overrides, "dataset")
        change = asks(extractor_of(flags.extractor, rest))
        return subjects.of_folder(chosen, replace(named, overrides=of_dataset), change)
    if named.said:
        raise InputError(
            f"{named.said[0]}: {chosen} is a set of a study, whose images are those of the study; "
            f"leave it out"
        )
    asked = Asked(given=chosen, overrides=flags.overrides, smoke=flags.smoke, store=flags.store)
    return subjects.of_study(asked, asks(extractor_of(flags.extractor, ())))


def _measured(subject: "Subject", device: str | None, threads: int | None) -> "Workplace":
    """Where the steps that measure it are done, once they are."""
    from orchestrator.single import subjects
    from orchestrator.single.watching import shown

    at = subjects.place_of(subject, device, threads)
    with shown() as watcher:
        subjects.measure(subject, at, watcher)
    return at
