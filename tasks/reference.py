"""The small classifier that measures are taken with: what it is, and how long it is trained.

It is the same for every study, so that figures compare: `small_cnn` with its defaults, AdamW, on
images of at most 64 pixels a side.
"""

from dataclasses import replace

from tasks import plugins
from tasks.packs import Pack
from tasks.specs import CellSpec, Plugin, Recipe

BATCH_SIZE = 64
EPOCHS = 20
FEWEST_STEPS, MOST_STEPS = 300, 4000
MOST_SIDE = 64
"""Of images; larger ones take hours on a CPU, and are scaled down."""


def reference_model() -> Plugin:
    """The network."""
    return plugins.plugin("classifiers", "small_cnn")


def reference_recipe(num_images: int) -> Recipe:
    """Twenty passes over so many images, within bounds; validated ten times."""
    batch_size = min(BATCH_SIZE, max(2, num_images))
    steps = min(max(EPOCHS * -(-num_images // batch_size), FEWEST_STEPS), MOST_STEPS)
    return Recipe(
        steps=steps,
        eval_every=-(-steps // 10),
        batch_size=batch_size,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.05,
        momentum=0.9,
        schedule="cosine",
        warmup_steps=0,
        label_smoothing=0.0,
        input_size=None,
    )


def sized(cell: CellSpec, real: Pack) -> CellSpec:
    """The cell with the side at which its network sees these images."""
    recipe = replace(cell.recipe, input_size=min(real.side, MOST_SIDE))
    return replace(cell, recipe=recipe)
