"""Plans a fit of a generator without a study, and gives the user what came of it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.dispatch import fetch_pack
from orchestrator.graph import Steps, key_of
from orchestrator.local_files import by_content
from orchestrator.overlay import overlaid
from orchestrator.parsing import parse_subset
from orchestrator.plan import Step
from orchestrator.single import sources
from orchestrator.single.documents import written_json
from orchestrator.single.generator_files import GeneratorNote, fitted_on, save_generator
from orchestrator.single.performing import Watcher, Workplace, carry_out, outstanding
from orchestrator.single.places import aside, unwritten
from orchestrator.validating import config_of, field_names
from tasks import plugins
from tasks.errors import InputError, nearest
from tasks.specs import FitSpec, Key, PackSpec, Plugin

HISTORY = "losses.json holds the history"
"""How the message of a fit that diverged ends."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What is to be fitted on which images, planned but not begun."""

    source: sources.Source
    split: str
    step: Step
    steps: Mapping[Key, Step]

    @property
    def spec(self) -> FitSpec:
        assert isinstance(self.step.spec, FitSpec)
        return self.step.spec

    @property
    def skipped(self) -> tuple[str, ...]:
        """Images that cannot be read and are left out."""
        return self.source.info.splits[self.split].skipped


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """How a fit ended."""

    note: GeneratorNote
    path: Path
    record: Mapping[str, Any]
    history: Sequence[Mapping[str, float | None]]
    is_new: bool
    """Fitted now, and not by an earlier command."""


def generator_of(name: str, overrides: Sequence[str]) -> Plugin:
    """The generator that flags name, with its settings.

    Raises InputError naming the flag.
    """
    known = plugins.names("generators")
    if name not in known:
        raise InputError(f"--generator: unknown generator {name!r}; {nearest(name, known)}")
    module = plugins.module("generators", name)
    fitted, sampled = field_names(module.Config), field_names(module.Sampling)
    for text in overrides:
        key = text.partition("=")[0].strip().partition(".")[0]
        if key == "sampling" or (key in sampled and key not in fitted):
            raise InputError(
                f"--set {text!r}: is of sampling, and not of fitting: say it to `augury generate`"
            )
    values = overlaid({}, tuple(overrides), False)
    if "name" in values:
        raise InputError(f"--set name: --generator {name} says it already: leave it out")
    try:
        chosen = config_of("generators", name, values, "generator", None)
        return by_content("generators", chosen, "generator")
    except InputError as error:
        raise InputError(settings_flag(str(error), "generator", f"--generator {name}")) from error


def settings_flag(text: str, section: str, whole: str) -> str:
    """A complaint about `section.key` as one about `--set key`; about all of it, as of `whole`."""
    text = re.sub(rf"^{section}\.([^:]+): ", r"--set \1: ", text)
    return re.sub(rf"^{section}: ", f"{whole}: ", text)


def subset_of(overrides: Sequence[str], max_real: int | None) -> dict[str, Any]:
    """How many images take part, as a study would say it.

    Raises InputError for what two flags say.
    """
    subset = overlaid({}, tuple(overrides), False)
    if max_real is not None:
        if "max_real" in subset:
            raise InputError("--set subset.max_real: --max-real says it already: keep one")
        subset["max_real"] = max_real
    return subset


def plan_fit(
    named: sources.Named,
    generator: Plugin,
    seed: int,
    subset: Mapping[str, Any],
    val_fraction: float | None,
) -> Fit:
    """Look at the images and plan the fit.

    Args:
        subset: as a study has it.
        val_fraction: of the images, held out; None fits on all of them.

    Raises InputError naming the flag.
    """
    source = sources.find(named)
    if val_fraction is not None and "val" in source.info.splits:
        raise InputError(f"--val-fraction: {named.flag} has validation images apart; leave it out")
    steps = Steps({source.dataset.reader: source.info})
    try:
        wanted = parse_subset(subset)
        images, _ = sources.plan_images(source.dataset, source.whole, wanted, val_fraction, steps)
    except InputError as error:
        text = str(error).replace("subset.max_real", "--max-real")
        raise InputError(re.sub(r"^subset\.", "--set subset.", text)) from error
    spec = FitSpec(generator=generator, images=images, seed=seed)
    title = f"fit {generator.name}"
    key = steps.add(spec, (images.pack,), title, generator.config.steps, key_of(spec))
    return Fit(source=source, split=source.whole, step=steps.found[key], steps=steps.found)


def fit(planned: Fit, path: Path, at: Workplace, watcher: Watcher) -> Fitted:
    """Fit, unless it is done, and write the model file.

    Raises InputError for what the user can mend: images that cannot be used, a rate too high, a
    full disk. Of a fit that diverged the losses are written beside `path`.
    """
    is_new = not at.is_done(planned.step)
    try:
        carry_out(outstanding([planned.step.key], planned.steps, at), at, watcher)
    except InputError as error:
        raise _with_history(error, planned, path, at) from error
    record = at.ledger.record("fit", planned.step.key)
    assert record is not None
    folder = at.ledger.fetch("fit", planned.step.key)
    note = _note(planned, record, at)
    save_generator(path, note, folder / "weights.safetensors")
    return Fitted(
        note=note,
        path=path,
        record=record,
        history=json.loads((folder / "losses.json").read_text()),
        is_new=is_new,
    )


def _note(planned: Fit, record: Mapping[str, Any], at: Workplace) -> GeneratorNote:
    from tasks.generation import image_info
    from tasks.packs import Pack

    spec = planned.spec
    pack = planned.steps[spec.images.pack].spec
    assert isinstance(pack, PackSpec)
    info, _ = image_info(Pack(fetch_pack(at.ledger, spec.images.pack)))
    return GeneratorNote(
        generator=spec.generator.name,
        version=spec.generator.version,
        settings=plugins.adapter("generators", spec.generator.name).dump_python(
            spec.generator.config, mode="json"
        ),
        seed=spec.seed,
        channels=info.channels,
        height=info.height,
        width=info.width,
        classes=info.classes,
        images=fitted_on(pack, spec.images),
        fit=planned.step.key,
        steps=record["size"],
        num_parameters=record["result"]["num_parameters"],
        losses=record["result"]["losses"],
    )


def _with_history(error: InputError, planned: Fit, path: Path, at: Workplace) -> InputError:
    """The complaint with what to type; of a fit that diverged, with where its losses are."""
    text = re.sub(r"set dataset\.size, for example to", "say --size", str(error))
    text = text.replace("lower its lr", "lower its lr, as in --set lr=1e-4")
    failure = at.ledger.failure("fit", planned.step.key) or {}
    if HISTORY not in text or not failure.get("history"):
        return InputError(text)
    losses = path.with_name(f"{path.stem}-losses.json")
    beside = aside(losses)
    try:
        beside.write_text(written_json(failure["history"]), encoding="utf-8")
        beside.replace(losses)
    except OSError as full:
        return InputError(f"{text.replace(HISTORY, '')}{unwritten('its losses', losses, full)}")
    finally:
        beside.unlink(missing_ok=True)
    return InputError(text.replace(HISTORY, f"its losses are in {losses}"))
