"""A transformers image classifier as a plain network: images in, logits out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from tasks.classifiers._checkpoints import refuse_misfits
from tasks.errors import InputError

untyped: Any = transformers
"""transformers has functions without annotations."""


class ImageClassifier(nn.Module):
    """Holds the model as transformers builds it, with dropout before its head where asked for."""

    def __init__(self, model: Any, interpolate: bool, dropout: float) -> None:
        """Take over `model`, whose head must be its `classifier`.

        Args:
            interpolate: fit the position embeddings to the images' size at each call.
            dropout: before the head; 0 leaves the model as it is.
        """
        super().__init__()
        self.model = model
        self._options = {"interpolate_pos_encoding": True} if interpolate else {}
        if dropout:
            model.classifier = nn.Sequential(nn.Dropout(dropout), model.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """N × C × H × W -> logits N × num_classes."""
        logits: Tensor = self.model(pixel_values=images, **self._options).logits
        return logits

    def features(self, images: Tensor) -> Tensor:
        """N × C × H × W -> what the head is given, N × D."""
        given: list[Tensor] = []
        # Each model of transformers pools in its own way: what reaches the head is what it pooled.
        handle = self.model.classifier.register_forward_pre_hook(
            lambda _, arguments: given.append(arguments[0])
        )
        try:
            self(images)
        finally:
            handle.remove()
        return given[0].flatten(1)


def draw(described: Any) -> nn.Module:
    """Build the model with random weights, from torch's global generator.

    Raises InputError where transformers has no image classifier of this kind.
    """
    described.architectures = []  # else a checkpoint's own choice among several heads counts
    try:
        model: nn.Module = untyped.AutoModelForImageClassification.from_config(
            described, dtype=torch.float32, trust_remote_code=False
        )
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        message = str(error).partition("\n")[0]
        raise InputError(
            f"train.model: {described.model_type} is no image classifier that transformers can "
            f"build ({message[:200]})"
        ) from error
    return model


def load(described: Any, folder: Path, named: str) -> nn.Module:
    """Build the model with the weights in `folder`, and a fresh head where theirs is another.

    Args:
        named: the checkpoint as messages name it.

    Raises InputError where other weights than those of the head are missing or do not fit.
    """
    described.architectures = []
    try:
        with _quiet():
            model, loading = untyped.AutoModelForImageClassification.from_pretrained(
                str(folder),
                config=described,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                output_loading_info=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except Exception as error:  # files of a stranger fail in as many ways as there are models
        message = str(error).partition("\n")[0]
        raise InputError(
            f"train.model: the weights of {named} cannot be loaded ({type(error).__name__}: "
            f"{message[:200]})"
        ) from error
    found = [
        *(f"{name} is missing" for name in sorted(loading["missing_keys"])),
        *(f"{name} is of another shape" for name, *_ in sorted(loading["mismatched_keys"])),
    ]
    found = [text for text in found if not text.startswith("classifier.")]
    refuse_misfits(found, f"train.model: the weights of {named}", described.model_type)
    loaded: nn.Module = model
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting at length that the head is fresh."""
    logging = untyped.utils.logging
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
