"""The classifier that a study names: one of Augury's own, or any of timm's."""

from typing import Any

from orchestrator.validating import config_of, mapping, name_in, shown
from tasks import plugins
from tasks.classifiers import _timm_catalog
from tasks.errors import InputError, nearest
from tasks.specs import Plugin


def parse_model(value: Any, pretrained: bool, path: str = "train.model") -> Plugin:
    """A file of `tasks/classifiers`, or any timm name or alias, short or with settings.

    Args:
        pretrained: `train.pretrained`, for models that have weights to start from.
    """
    values = dict(mapping(value, path))
    name = name_in(values, path, _any_model())
    if name in _own_models():
        return config_of("classifiers", name, values, path, None)
    if name == "timm":
        name = values.pop("architecture", "resnet50")
        if not isinstance(name, str):
            raise InputError(f"{path}.architecture: a timm name was expected, not {shown(name)}")
    elif "architecture" in values:
        raise InputError(f"{path}.architecture: {name!r} names it already: keep one of the two")
    try:
        entry = _timm_catalog.resolve(name)
    except InputError as error:
        raise InputError(
            f"{path}: unknown model {name!r}; {_nearest_model(name, error)}"
        ) from error
    own = {"pretrained": pretrained, **values, "name": "timm", "architecture": entry.name}
    model = config_of("classifiers", "timm", own, path, None)
    if model.config.pretrained and not entry.has_weights:
        raise InputError(f"{path}: {entry.name} has no published weights: say pretrained: false")
    return model


def _nearest_model(name: str, error: InputError) -> str:
    architecture, dot, _ = name.partition(".")
    timm = {*_timm_catalog.names(), *_timm_catalog.ALIASES}
    if dot and architecture in timm:
        return str(error)
    hint = nearest(architecture, {*timm, *_own_models()})
    if hint.startswith("did you mean"):
        return hint
    return _any_model()


def _any_model() -> str:
    return f"say {' or '.join(_own_models())}, or a timm name such as resnet50"


def _own_models() -> tuple[str, ...]:
    return tuple(name for name in plugins.names("classifiers") if name != "timm")


def num_parameters(model: Plugin) -> int | None:
    """Parameters as published for the model's own head; None where only building it would tell."""
    if model.name != "timm":
        return None
    return _timm_catalog.resolve(model.config.architecture).params


def model_label(model: Plugin) -> str:
    """What tables call a model."""
    return str(model.config.architecture) if model.name == "timm" else model.name
