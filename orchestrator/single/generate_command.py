"""`augury generate`: class folders of images, by a fitted generator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.single.options import DatasetName, Device, Root, SkipBad, Threads
from tasks.errors import InputError

if TYPE_CHECKING:
    from orchestrator.single.generating import Wanted
    from orchestrator.single.sources import Named


def generate(
    generator: Annotated[
        str, typer.Option("--generator", metavar="FILE", help="What `augury fit` wrote.")
    ],
    per_class: Annotated[int, typer.Option("--per-class", min=1, help="Images of each class.")],
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", metavar="DIR", help="Class folders; new, or to be finished."),
    ],
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME...", help="Only these; else all.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the images.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE...",
            help="Of sampling, as guidance=2 or mode=reconstruct.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images made at once.")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="NAME...", help="Drop images, and draw others instead."),
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option("--extractor", metavar="NAME", help="What filters see by; else classifier."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="What it was fitted on; for --filter."),
    ] = None,
    dataset: DatasetName = None,
    root: Root = None,
    skip_bad: SkipBad = False,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Make images with a fitted generator. What is there is not made again."""
    from orchestrator.single import generating, sources

    of_dataset, rest = sources.section(overrides or (), "dataset")
    wanted = generating.wanted_of(
        generating.model_file(generator),
        per_class,
        classes or (),
        seed,
        rest,
        batch_size,
        filters or (),
        extractor,
    )
    named = sources.Named(
        data_dir=data_dir, dataset=dataset, root=root, skip_bad=skip_bad, overrides=of_dataset
    )
    _check_data(wanted, named)
    _generate(wanted, named if wanted.asks_for_data else None, output_dir, device, threads)


def _check_data(wanted: "Wanted", named: "Named") -> None:
    """Real images are named where they are of use, and only there."""
    if wanted.asks_for_data and not {"--data-dir", "--dataset"} & set(named.said):
        raise InputError(
            f"{wanted.asks_for_data}: asks for the images that the generator was fitted on: say "
            f"--data-dir DIR, or --dataset NAME"
        )
    if named.said and not wanted.asks_for_data:
        raise InputError(
            f"{named.said[0]}: is for --set mode=reconstruct and --filter; leave it out"
        )


def _generate(
    wanted: "Wanted",
    named: "Named | None",
    output_dir: Path,
    device: str | None,
    threads: int | None,
) -> None:
    from orchestrator.single import generate_outcome, making
    from orchestrator.single.places import take_place
    from orchestrator.single.watching import shown

    place = take_place(device, threads)
    folder = making.folder_of(wanted, output_dir, place)
    print(generate_outcome.opening(wanted), flush=True)
    with shown() as watcher:
        made = making.make(wanted, named, folder, place, watcher)
    print(generate_outcome.closing(made))
