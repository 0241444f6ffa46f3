"""`augury fit`: a generator on class folders or a dataset, as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.single.options import AsJson, DataDir, DatasetName, Device, Root, SkipBad, Threads

if TYPE_CHECKING:
    from orchestrator.single.fitting import Fit


def fit(
    generator: Annotated[
        str, typer.Option("--generator", metavar="NAME", help="See `augury list generators`.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The model, a .safetensors file.")
    ],
    data_dir: DataDir = None,
    dataset: DatasetName = None,
    root: Root = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of weights and batches.")
    ] = 0,
    max_real: Annotated[
        int | None, typer.Option("--max-real", min=1, help="Images to fit on, at most.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Short side in pixels; else the images' own.")
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option("--val-fraction", help="Of the images, not to be fitted on; else none."),
    ] = None,
    skip_bad: SkipBad = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE...",
            help="Settings of the generator, such as steps=2000; or dataset.KEY, subset.KEY.",
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Fit a generator on images. A finished fit is not done again, a killed one goes on."""
    from orchestrator.single import fitting, sources
    from orchestrator.single.places import check_target

    check_target("--out", out, (".safetensors",))
    of_dataset, rest = sources.section(overrides or (), "dataset")
    of_subset, rest = sources.section(rest, "subset")
    chosen = fitting.generator_of(generator, rest)
    named = sources.Named(
        data_dir=data_dir,
        dataset=dataset,
        root=root,
        size=size,
        skip_bad=skip_bad,
        overrides=of_dataset,
    )
    subset = fitting.subset_of(of_subset, max_real)
    planned = fitting.plan_fit(named, chosen, seed, subset, val_fraction)
    _fit(planned, out, device, threads, as_json)


def _fit(planned: "Fit", out: Path, device: str | None, threads: int | None, as_json: bool) -> None:
    from orchestrator.single import fit_outcome
    from orchestrator.single.fitting import fit as carried_out
    from orchestrator.single.performing import workplace
    from orchestrator.single.places import take_place
    from orchestrator.single.watching import shown

    at = workplace(take_place(device, threads))
    if not as_json:
        print(fit_outcome.opening(planned), flush=True)
    with shown() as watcher:
        fitted = carried_out(planned, out, at, watcher)
    print((fit_outcome.as_json if as_json else fit_outcome.closing)(fitted, planned))
