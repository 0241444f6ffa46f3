"""How long and how a cell is trained: epochs become optimizer steps, settings a recipe."""

from orchestrator.settings import PEAK_RATES, WEIGHT_DECAYS, CellSettings, StageSettings
from tasks.errors import InputError
from tasks.specs import Recipe, Stage


def recipe_of(cell: CellSettings, num_reference: int, num_own: int) -> Recipe:
    """Turn epochs into optimizer steps: of the base's real images, or of the cell's own."""
    train = cell.train
    counted = num_reference if train.match == "steps" else num_own
    per_epoch = -(-counted // train.batch_size)
    steps = train.steps if train.steps is not None else train.epochs * per_epoch
    return Recipe(
        steps=steps,
        eval_every=min(per_epoch, steps),
        batch_size=train.batch_size,
        optimizer=train.optimizer,
        lr=PEAK_RATES[train.optimizer] if train.lr is None else train.lr,
        weight_decay=(
            WEIGHT_DECAYS[train.optimizer] if train.weight_decay is None else train.weight_decay
        ),
        # Inert for the others, so it must not tell two equal trials apart.
        momentum=train.momentum if train.optimizer in ("sgd", "rmsprop") else 0.9,
        schedule=train.schedule,
        milestones=tuple(epoch * per_epoch for epoch in train.milestones or ()),
        decay=train.decay if train.schedule == "step" else 0.1,
        warmup_steps=min(train.warmup_epochs * per_epoch, steps - 1),
        label_smoothing=train.label_smoothing,
        input_size=train.input_size,
        mean=cell.dataset.split.mean,
        std=cell.dataset.split.std,
        initialisation=train.initialisation,
        dropout=train.dropout,
        drop_path=train.drop_path,
        ema=train.ema,
        clip_grad=train.clip_grad,
        accumulate=train.accumulate,
        gradient_checkpointing=train.gradient_checkpointing,
        precision=train.precision,
        compile=train.compile,
        augmentations=cell.augmentations,
    )


def stages_of(cell: CellSettings, steps: int) -> tuple[Stage, ...]:
    """Share the steps of a mixed cell among its stages, in proportion to their epochs.

    A cell that sees only real or only synthetic images has nothing to stage.
    """
    if cell.train.stages is None or cell.variant != "mixed":
        return ()
    merged: list[StageSettings] = []
    for stage in cell.train.stages:
        if merged and merged[-1].variant == stage.variant:
            epochs = merged.pop().epochs + stage.epochs
            merged.append(StageSettings(variant=stage.variant, epochs=epochs))
        else:
            merged.append(stage)
    if [stage.variant for stage in merged] == ["mixed"]:
        return ()
    total = sum(stage.epochs for stage in merged)
    ends = [steps * sum(s.epochs for s in merged[: i + 1]) // total for i in range(len(merged))]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if min(counts) < 1:
        raise InputError(
            f"train.stages: {steps} steps are too few for {len(merged)} stages: train longer"
        )
    return tuple(
        Stage(steps=n, real=s.variant != "synthetic", synthetic=s.variant != "real")
        for n, s in zip(counts, merged, strict=True)
    )
