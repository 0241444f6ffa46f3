"""The classifier that a study names: one of Augury's own, or any of timm's."""

from pathlib import Path
from typing import Any

from orchestrator.local_files import by_content
from orchestrator.validating import config_of, mapping, name_in, shown
from tasks import plugins
from tasks.classifiers import _timm_catalog
from tasks.errors import InputError, nearest
from tasks.specs import Plugin


def parse_model(value: Any, pretrained: bool | str, path: str = "train.model") -> Plugin:
    """A file of `tasks/classifiers`, or any timm name or alias, short or with settings.

    Local weights are named by what they contain.

    Args:
        pretrained: `train.pretrained`, for models that have weights to start from.
    """
    return by_content("classifiers", _parse_model(value, pretrained, path), path)


def _parse_model(value: Any, pretrained: bool | str, path: str) -> Plugin:
    values = dict(mapping(value, path))
    name = name_in(values, path, _any_model())
    if name in _own_models():
        return config_of("classifiers", name, _started(name, values, pretrained, path), path, None)
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
    if model.config.pretrained is True and not entry.has_weights:
        raise InputError(f"{path}: {entry.name} has no published weights: say pretrained: false")
    return model


def _started(
    name: str, values: dict[str, Any], pretrained: bool | str, path: str
) -> dict[str, Any]:
    """The settings of a model that is not timm's, with `train.pretrained` where it has a use."""
    if isinstance(pretrained, str):
        hint = "say checkpoint: FOLDER" if name == "transformers" else "say pretrained: false"
        raise InputError(f"{path}: {name} takes no weights by train.pretrained: {hint}")
    return {"pretrained": pretrained, **values} if name == "transformers" else values


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
    if model.name == "timm":
        return str(model.config.architecture)
    if model.name == "transformers":
        return Path(model.config.folder or model.config.checkpoint).name
    return model.name
