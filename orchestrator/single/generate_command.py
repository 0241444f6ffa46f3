"""`augury generate`: images by a fitted generator, or edits of the images of a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.single.options import DatasetName, Device, Root, SkipBad, Threads
from tasks.errors import InputError

if TYPE_CHECKING:
    from orchestrator.single.generating import Wanted
    from orchestrator.single.sources import Named


def generate(
    output_dir: Annotated[
        Path,
        typer.Option("--output-dir", metavar="DIR", help="Folder; new, or to be finished."),
    ],
    generator: Annotated[
        str | None, typer.Option("--generator", metavar="FILE", help="What `augury fit` wrote.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", min=1, help="Images of each class.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME...", help="Only these; else all.")
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
    threads: Threads = None,
    input_dir: Annotated[
        Path | None,
        typer.Option("--input-dir", metavar="DIR", help="Edit the images below it instead."),
    ] = None,
    editor: Annotated[
        str | None,
        typer.Option("--editor", metavar="NAME", help="What edits; see `augury list editors`."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="A service that edits, paid.")
    ] = None,
    augmentation: Annotated[
        str | None,
        typer.Option("--augmentation", metavar="NAME", help="A classical augmentation instead."),
    ] = None,
    probability: Annotated[
        float | None,
        typer.Option(
            *("--probability", "--augm-probability"), min=0, max=1, help="That it changes an image."
        ),
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            "--prompts-file", metavar="FILE", help="One a line; JSON or YAML, by class too."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="PATH", help="Of the editor; or a name on the hub."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask", metavar="PATH|NAME", help="White is repainted; saliency, strokes, full."
        ),
    ] = None,
    invert_mask: Annotated[bool, typer.Option("--invert-mask", help="Black is repainted.")] = False,
    per_image: Annotated[
        int | None, typer.Option("--per-image", min=1, help="Edits by each prompt; else 1.")
    ] = None,
    max_cost_usd: Annotated[
        float | None,
        typer.Option("--max-cost-usd", min=0, help="Of all calls together; else 10 dollars."),
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option("--num-workers", min=1, help="Steps at once; else one a core.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDR", help="A Ray cluster; else this machine."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URI", help="Of steps; else in the output folder."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, and paid.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the images.")] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE...",
            help="Of sampling or of the editor, as guidance=2.",
        ),
    ] = None,
    skip_bad: SkipBad = False,
    device: Device = None,
) -> None:
    """Make images with a fitted generator, or edit those of a folder. What is there stays."""
    of_generator = {
        "--generator": generator,
        "--per-class": per_class,
        "--class": classes,
        "--batch-size": batch_size,
        "--filter": filters,
        "--extractor": extractor,
        "--data-dir": data_dir,
        "--dataset": dataset,
        "--root": root,
        "--threads": threads,
    }
    of_edits = {
        "--editor": editor,
        "--provider": provider,
        "--augmentation": augmentation,
        "--probability": probability,
        "--prompts-file": prompts_file,
        "--checkpoint": checkpoint,
        "--mask": mask,
        "--invert-mask": invert_mask or None,
        "--per-image": per_image,
        "--max-cost-usd": max_cost_usd,
        "--num-workers": num_workers,
        "--address": address,
        "--store": store,
        "--dry-run": dry_run or None,
    }
    if input_dir is not None:
        _refuse(of_generator, "is for --generator, and --input-dir is edited; leave it out")
        from orchestrator.single.editing import Flags
        from orchestrator.single.editing_command import edit
        from orchestrator.single.editing_run import Options

        flags = Flags(
            editor=editor,
            provider=provider,
            augmentation=augmentation,
            probability=probability,
            checkpoint=checkpoint,
            overrides=tuple(overrides or ()),
            prompts_file=prompts_file,
            mask=mask,
            invert_mask=invert_mask,
            per_image=per_image or 1,
            seed=seed,
            max_cost_usd=max_cost_usd,
        )
        options = Options(store=store, address=address, num_workers=num_workers, gpus=_gpus(device))
        code = edit(flags, input_dir, output_dir, options, skip_bad, dry_run)
        raise typer.Exit(code)
    if generator is None:
        _refuse(of_edits, "--input-dir is missing: say --input-dir DIR, whose images are edited")
    _refuse(of_edits, "is for --input-dir; leave it out")
    if generator is None or per_class is None:
        missing = "--generator FILE" if generator is None else "--per-class N"
        raise InputError(
            f"{missing} is missing: say --generator FILE --per-class N, or --input-dir DIR to edit "
            f"the images that are there"
        )
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


def _refuse(given: Mapping[str, Any], why: str) -> None:
    """Raise InputError for what was said and is of no use."""
    for flag, value in given.items():
        if value is not None:
            raise InputError(f"{flag}: {why}")


def _gpus(device: str | None) -> bool | None:
    """Whether workers shall have GPUs; None is where there are any."""
    if device not in (None, "cpu", "cuda"):
        raise InputError(f"--device {device}: say cpu or cuda, as workers share the GPUs there are")
    return None if device is None else device == "cuda"


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
