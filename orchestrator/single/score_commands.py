"""`augury infer` and `augury evaluate`: what a saved model says of images, and how well."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.single.options import AsJson, Device, SkipBad, Threads
from tasks.errors import InputError

Checkpoint = Annotated[
    Path, typer.Option("--checkpoint", metavar="FILE", help="What `augury train` saved.")
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, help="Images at once; else as the images' size allows."),
]


def infer(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.json", help="Where predictions go.")],
    test_dir: Annotated[
        Path, typer.Option("--test-dir", metavar="DIR", help="Images, in folders or not.")
    ] = Path("data/test"),
    batch_size: BatchSize = None,
    skip_bad: SkipBad = False,
    all_probabilities: Annotated[
        bool, typer.Option("--all-probabilities", help="Of every class, beside the first five.")
    ] = False,
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Predict the images of a folder with a saved model."""
    from orchestrator.report.wording import counted
    from orchestrator.single.places import check_target, some
    from orchestrator.single.predictions import write_predictions

    check_target("--out", out, (".json",))
    loaded, found = _inferred(checkpoint, test_dir, batch_size, skip_bad, device, threads)
    write_predictions(out, found, loaded, all_probabilities)
    if found.skipped:
        number = counted(len(found.skipped), "image")
        print(f"left out, as they cannot be read: {number}, {some(found.skipped)}", file=sys.stderr)
    print(f"{out}: {counted(len(found.names), 'image')}")


def _inferred(
    checkpoint: Path,
    folder: Path,
    batch_size: int | None,
    skip_bad: bool,
    device: str | None,
    threads: int | None,
) -> Any:
    """The loaded checkpoint, and what it says of the images of a folder."""
    from orchestrator import inspection
    from orchestrator.single.checkpoint import load_checkpoint
    from orchestrator.single.inferring import infer as predicted
    from orchestrator.single.inferring import usual_batch
    from orchestrator.single.labels import images_of
    from orchestrator.single.places import take_place

    images = images_of("--test-dir", folder)
    place = take_place(device, threads).device
    loaded = load_checkpoint(checkpoint, place)
    with inspection.progress() as watch:
        found = predicted(
            loaded,
            images,
            batch_size=batch_size or usual_batch(loaded),
            skip_bad=skip_bad,
            device=place,
            watch=watch,
        )
    return loaded, found


def evaluate(
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="FILE.json", help="What `augury infer` wrote."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE.json|DIR",
            help='True classes: {"relative path": "class"}, or class folders.',
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Predict now, with a saved model."),
    ] = None,
    test_dir: Annotated[
        Path | None,
        typer.Option(
            "--test-dir",
            metavar="DIR",
            help="With --checkpoint: class folders, or images with a labels.json.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME...", help="See `augury list metrics`."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="The labels may lack some classes.")
    ] = False,
    batch_size: BatchSize = None,
    skip_bad: SkipBad = False,
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Score predictions, or a saved model, against true classes."""
    from orchestrator.single import evaluating, tables
    from orchestrator.single.evaluating import Told
    from orchestrator.single.labels import labels_of

    metrics = evaluating.check_metrics(metric or ())
    if (predictions is None) == (checkpoint is None):
        raise InputError(
            "give --predictions FILE and --labels FILE|DIR, or --checkpoint FILE and --test-dir DIR"
        )
    if predictions is not None:
        from orchestrator.single.predictions import read_predictions

        if labels is None or test_dir is not None:
            raise InputError("--predictions: give --labels FILE|DIR with it, and no --test-dir")
        given = {
            "--batch-size": batch_size,
            "--skip-bad": skip_bad or None,
            "--device": device,
            "--threads": threads,
        }
        idle = [flag for flag, value in given.items() if value is not None]
        if idle:
            raise InputError(f"{idle[0]}: is for --checkpoint: --predictions are made already")
        truth = Told(
            labels=labels_of("--labels", labels),
            where=f"--labels {labels}",
            images=f"--predictions {predictions}",
        )
        found, classes = read_predictions(predictions)
    else:
        assert checkpoint is not None
        if test_dir is None:
            raise InputError("--checkpoint: give --test-dir DIR with it")
        flag, source = ("--test-dir", test_dir) if labels is None else ("--labels", labels)
        truth = Told(
            labels=labels_of(flag, source),
            where=f"{flag} {source}",
            images=f"--test-dir {test_dir}",
        )
        loaded, found = _inferred(checkpoint, test_dir, batch_size, skip_bad, device, threads)
        classes = loaded.classes
    scored = evaluating.evaluated(
        evaluating.matched(found, classes, truth, allow_missing), metrics, found.skipped
    )
    print(tables.as_json(scored) if as_json else tables.as_text(scored))
