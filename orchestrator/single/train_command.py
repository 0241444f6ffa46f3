"""`augury train`: one training a seed, on class folders."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.single.options import AsJson, Device, SkipBad, Threads
from tasks.errors import InputError


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
        int | None,
        typer.Option("--batch-size", help="Images of a step; else 64, or all where they are less."),
    ] = None,
    seed: Annotated[
        list[str] | None,
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
    from orchestrator.single import settings
    from orchestrator.single.planning import plan_training
    from orchestrator.single.saving import targets_of

    seeds = _seeds(seed or ["0"])
    targets = targets_of(save_path, seeds)
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
        "train.augmentation": settings.augmentations(augmentation),
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
    if synthetic_dir is not None or chosen != "real":
        synthetic = f"synthetic.{settings.SET}"
        given[f"{synthetic}.folder"] = str(synthetic_dir or Path("data/synthetic"))
        given[f"{synthetic}.skip_bad"] = skip_bad or None
    cell = settings.cell_of(given, overrides or ())
    said = settings.said_paths(given, overrides or ())
    settings.refuse_inert(said, cell)
    _train(plan_training(cell, seeds, said), targets, device, threads, as_json)


def _train(
    training: Any, targets: list[Path], device: str | None, threads: int | None, as_json: bool
) -> None:
    from orchestrator.single import outcome
    from orchestrator.single import training as work
    from orchestrator.single.performing import workplace
    from orchestrator.single.places import take_place
    from orchestrator.single.showing import shown

    at = workplace(take_place(device, threads))
    if not as_json:
        print(outcome.opening(training), flush=True)
    to_train = [training.steps[trial.trial] for trial in training.cell.trials]
    watcher = shown(training, sum(not at.is_done(step) for step in to_train))
    try:
        trained = list(work.train(training, targets, at, watcher))
    finally:
        watcher.close()
    for note in work.notes(training, at):
        print(f"warning: {note}", file=sys.stderr)
    print((outcome.as_json if as_json else outcome.closing)(trained, training))


def _seeds(given: list[str]) -> tuple[int, ...]:
    for index, each in enumerate(given):
        if "," in each:
            raise InputError(f"--seed {each}: separate them by spaces, such as --seed 0 1 2")
        if not (each.isascii() and each.isdigit() and len(each) <= 10 and int(each) < 2**32):
            raise InputError(f"--seed {each}: a whole number from 0 to {2**32 - 1} was expected")
        if int(each) in map(int, given[:index]):
            raise InputError(f"--seed {each}: is said twice; say different ones, as in --seed 0 1")
    return tuple(map(int, given))
