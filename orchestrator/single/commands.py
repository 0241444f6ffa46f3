"""`augury train`, `augury infer` and `augury evaluate`: single steps on plain files."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.single.flags import SPELLING, PlainCommand
from tasks.errors import InputError

Device = Annotated[
    str | None,
    typer.Option("--device", metavar="cpu|cuda", help="Else a GPU where there is one."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="On the CPU; else one for each core.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and say so.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def mount(app: typer.Typer) -> None:
    """Add these commands to others; each flag may also be written with underscores."""
    for command in (train, infer, evaluate):
        app.command(cls=PlainCommand, context_settings=dict(SPELLING))(command)


def train(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="small_cnn, or any name of timm's.")
    ],
    save_path: Annotated[
        Path,
        typer.Option(
            "--save-path",
            metavar="FILE",
            help="A .safetensors or .pt file; of several seeds FILE-seed0 and so on.",
        ),
    ],
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir",
            metavar="DIR",
            help="Class folders, or train, val and test folders of them.",
        ),
    ] = Path("data/real"),
    synthetic_dir: Annotated[
        Path | None,
        typer.Option(
            "--synthetic-dir",
            metavar="DIR",
            help="Class folders of synthetic images; data/synthetic where nothing is said.",
        ),
    ] = None,
    test_dir: Annotated[
        Path | None,
        typer.Option("--test-dir", metavar="DIR", help="Images to score at the end."),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant",
            metavar="real|synthetic|mixed",
            help="What to train on; mixed where --synthetic-dir is said, else real.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the real images; else 30.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Images of a step; else 64.")
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", metavar="SEED...", help="One training each; else 0."),
    ] = None,
    max_real: Annotated[
        int | None, typer.Option("--max-real", help="Real images to train on, at most.")
    ] = None,
    max_synth: Annotated[
        int | None, typer.Option("--max-synth", help="Synthetic images, at most.")
    ] = None,
    augmentation: Annotated[
        list[str] | None,
        typer.Option("--augmentation", metavar="NAME...", help="In the order of application."),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", metavar="NAME", help="Else adamw.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", help="Peak rate; else the optimizer's usual one.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Else the optimizer's usual one.")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option("--momentum", help="Of sgd and rmsprop; else 0.9.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option("--schedule", metavar="cosine|constant|step", help="Else cosine."),
    ] = None,
    warmup_epochs: Annotated[int | None, typer.Option("--warmup-epochs", help="Else 0.")] = None,
    label_smoothing: Annotated[
        float | None, typer.Option("--label-smoothing", help="Else 0.")
    ] = None,
    input_size: Annotated[
        int | None, typer.Option("--input-size", help="Side in pixels; else the model's own.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Start from published weights.")
    ] = False,
    val_fraction: Annotated[
        float | None,
        typer.Option("--val-fraction", help="Of the real images, to validate; else 0.1."),
    ] = None,
    skip_bad: SkipBad = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Another setting of a study's train, dataset, subset or mixing.",
        ),
    ] = None,
    device: Device = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on class folders. A finished training is not done again."""
    from orchestrator.single.places import check_target
    from orchestrator.single.settings import SET, augmentations, cell_of
    from orchestrator.single.training import SUFFIXES, plan_training, targets_of

    seeds = _different(seed or [0])
    check_target("--save-path", save_path, SUFFIXES)
    chosen = variant or ("real" if synthetic_dir is None else "mixed")
    given: dict[str, Any] = {
        "variant": chosen,
        "dataset.root": str(data_dir),
        "dataset.test": None if test_dir is None else str(test_dir),
        "dataset.skip_bad": skip_bad or None,
        "dataset.val_fraction": val_fraction,
        "subset.max_real": max_real,
        "subset.max_synth": max_synth,
        "train.model": model,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.augmentation": augmentations(augmentation),
        "train.optimizer": optimizer,
        "train.lr": lr,
        "train.weight_decay": weight_decay,
        "train.momentum": momentum,
        "train.schedule": schedule,
        "train.warmup_epochs": warmup_epochs,
        "train.label_smoothing": label_smoothing,
        "train.input_size": input_size,
        "train.pretrained": pretrained or None,
    }
    if chosen != "real":
        given[f"synthetic.{SET}.folder"] = str(synthetic_dir or Path("data/synthetic"))
        given[f"synthetic.{SET}.skip_bad"] = skip_bad or None
    training = plan_training(cell_of(given, overrides or ()), seeds)
    _train(training, targets_of(save_path, seeds), device, threads, as_json)


def _train(
    training: Any, targets: list[Path], device: str | None, threads: int | None, as_json: bool
) -> None:
    from orchestrator.single import outcome, places
    from orchestrator.single import training as work
    from orchestrator.single.showing import shown

    at = work.workplace(places.device_of(device), places.num_threads(threads))
    if not as_json:
        print(outcome.opening(training), flush=True)
    trials = training.cell.trials
    watcher = shown(training, sum(not at.is_trained(trial) for trial in trials))
    try:
        trained = list(work.train(training, targets, at, watcher))
    finally:
        watcher.close()
    print((outcome.as_json if as_json else outcome.closing)(trained, training))


def _different(seeds: list[int]) -> tuple[int, ...]:
    for index, each in enumerate(seeds):
        if each < 0 or each in seeds[:index]:
            said = "is no whole number from 0 on" if each < 0 else "is said twice"
            raise InputError(f"--seed {each}: {said}; say different ones, such as --seed 0 1 2")
    return tuple(seeds)


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
    from orchestrator.single import places
    from orchestrator.single.checkpoint import load_checkpoint
    from orchestrator.single.inferring import infer as predicted
    from orchestrator.single.inferring import usual_batch
    from orchestrator.single.labels import images_of

    images = images_of("--test-dir", folder)
    place = places.device_of(device)
    places.take_threads(threads)
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
        truth = labels_of("--labels", labels)
        found, classes = read_predictions(predictions)
    else:
        assert checkpoint is not None
        if test_dir is None:
            raise InputError("--checkpoint: give --test-dir DIR with it")
        truth = labels_of(*(("--test-dir", test_dir) if labels is None else ("--labels", labels)))
        loaded, found = _inferred(checkpoint, test_dir, batch_size, skip_bad, device, threads)
        classes = loaded.classes
    scored = evaluating.evaluated(
        evaluating.matched(found, classes, truth, allow_missing), metrics, found.skipped
    )
    print(tables.as_json(scored) if as_json else tables.as_text(scored))
