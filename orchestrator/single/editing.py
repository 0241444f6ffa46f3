"""What `augury generate --input-dir` is asked for: which editor, with which settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator import yaml12
from orchestrator.local_files import by_content
from orchestrator.overlay import overlaid
from orchestrator.single.fitting import settings_flag
from orchestrator.single.generator_files import GeneratorFile, load_generator
from orchestrator.validating import config_of, field_names, mapping, named
from tasks import plugins
from tasks.editing import About
from tasks.edits import masks
from tasks.edits.augmenting import Augmented, as_editor
from tasks.edits.keeping import about
from tasks.errors import InputError, nearest
from tasks.reading import file_sha256
from tasks.specs import Plugin, canonical


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What was said of the edits, flag by flag."""

    editor: str | None = None
    provider: str | None = None
    augmentation: str | None = None
    probability: float | None = None
    checkpoint: str | None = None
    overrides: Sequence[str] = ()
    prompts_file: Path | None = None
    mask: str | None = None
    invert_mask: bool = False
    per_image: int = 1
    seed: int = 0
    max_cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class Edits:
    """How images are edited, whichever they are."""

    editor: Plugin
    """An augmentation too, as `tasks.edits.augmenting.as_editor` has it."""
    per_image: int
    seed: int
    prompts_file: Path | None
    masks: Any
    """The Config of masks, or None."""
    generator: GeneratorFile | None = None
    """The fitted generator that the editor is."""
    generator_sha256: str = ""

    @property
    def about(self) -> About:
        return about(self.editor)

    @property
    def settings(self) -> Any:
        """Of the editor or of the augmentation, as JSON."""
        config = self.editor.config
        return canonical(config.settings if isinstance(config, Augmented) else config)

    @property
    def price_usd(self) -> float | None:
        """Of one call at most; None where nothing is paid."""
        if not self.about.service:
            return None
        module = plugins.module("editors", self.editor.name)
        price: float = module.cost_usd_per_image(self.editor.config, masked=self.masks is not None)
        return price

    def recipe(self, prompts_digest: str) -> dict[str, Any]:
        """What tells a folder of these edits from others; batches are no part of it."""
        editor = canonical(self.editor)
        editor["config"].pop("batch_size", None)
        return {
            "editor": editor,
            "generator": self.generator_sha256,
            "prompts": prompts_digest,
            "per_image": self.per_image,
            "seed": self.seed,
            "mask": canonical(self.masks),
        }


def edits_of(flags: Flags) -> Edits:
    """Check what was said.

    Raises InputError naming the flag.
    """
    flag, name = _which(flags)
    if flag == "--augmentation":
        editor, generator = _augmentation(name, flags), None
    else:
        if flags.probability is not None:
            raise InputError("--probability: is for --augmentation; leave it out")
        editor, generator = _editor(flag, name, flags)
    known = about(editor)
    if known.prompt and flags.prompts_file is None:
        raise InputError(f"--prompts-file: {editor.name} needs prompts: give a file, one a line")
    if not known.prompt and flags.prompts_file is not None:
        raise InputError(f"--prompts-file: {editor.name} reads no prompt; leave it out")
    return Edits(
        editor=editor,
        per_image=flags.per_image,
        seed=flags.seed,
        prompts_file=flags.prompts_file,
        masks=_masks(flags, editor.name, known, flag),
        generator=generator,
        generator_sha256="" if generator is None else file_sha256(generator.path),
    )


def _which(flags: Flags) -> tuple[str, str]:
    """The flag that says what edits, and what it says."""
    given = {
        "--editor": flags.editor,
        "--provider": flags.provider,
        "--augmentation": flags.augmentation,
    }
    said = [(flag, name) for flag, name in given.items() if name is not None]
    if len(said) > 1:
        raise InputError(f"{said[0][0]} with {said[1][0]}: keep one of the two")
    if not said:
        raise InputError(
            f"say what edits: --editor NAME ({', '.join(_named(False))}), --provider NAME "
            f"({', '.join(_named(True))}) or --augmentation NAME"
        )
    return said[0]


def _named(services: bool) -> list[str]:
    """The editors that are asked over a network and cost money, or the others."""
    every = plugins.names("editors")
    return [n for n in every if plugins.module("editors", n).ABOUT.service == services]


def _editor(flag: str, name: str, flags: Flags) -> tuple[Plugin, GeneratorFile | None]:
    is_provider = flag == "--provider"
    if name not in plugins.names("editors"):
        raise InputError(f"{flag}: unknown name {name!r}; {nearest(name, _named(is_provider))}")
    known = plugins.module("editors", name).ABOUT
    if known.service != is_provider:
        raise InputError(f"{flag} {name}: say {'--editor' if is_provider else '--provider'} {name}")
    values = _overlaid(name, flags.overrides)
    if flags.max_cost_usd is not None:
        if not known.service:
            raise InputError("--max-cost-usd: is for --provider; leave it out")
        _put(values, "max_cost_usd", flags.max_cost_usd, "--max-cost-usd")
    generator = None
    if known.fits is not None:
        generator = _generator(name, known.fits, flags.checkpoint)
        _put(values, known.fits, generator.note.settings, "--checkpoint")
    elif flags.checkpoint is not None:
        if "checkpoint" not in field_names(plugins.module("editors", name).Config):
            raise InputError(f"--checkpoint: {name} has none; leave it out")
        _put(values, "checkpoint", flags.checkpoint, "--checkpoint")
    chosen = _checked("editors", name, values, f"{flag} {name}")
    return by_content("editors", chosen, f"{flag} {name}"), generator


def _overlaid(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    return overlaid({"name": name}, tuple(overrides), False)


def _put(values: dict[str, Any], key: str, value: Any, flag: str) -> None:
    if key in values:
        raise InputError(f"--set {key}: {flag} says it already: keep one of the two")
    values[key] = value


def _checked(kind: str, name: str, values: Mapping[str, Any], whole: str) -> Plugin:
    try:
        return config_of(kind, name, values, "settings", None)
    except InputError as error:
        text = str(error).replace("settings.max_cost_usd:", "--max-cost-usd:")
        raise InputError(settings_flag(text, "settings", whole)) from error


def _generator(editor: str, fits: str, checkpoint: str | None) -> GeneratorFile:
    if checkpoint is None:
        raise InputError(
            f"--checkpoint: {editor} edits with a fitted {fits}: say --checkpoint FILE, as "
            f"augury fit --generator {fits} --out FILE writes it"
        )
    try:
        found = load_generator(Path(checkpoint))
    except InputError as error:
        raise InputError(str(error).replace("--generator ", "--checkpoint ", 1)) from error
    if found.note.generator != fits:
        raise InputError(
            f"--checkpoint {checkpoint}: holds a {found.note.generator}, and {editor} edits with a "
            f"{fits}"
        )
    return found


def _augmentation(given: str, flags: Flags) -> Plugin:
    for flag, value in (("--checkpoint", flags.checkpoint), ("--max-cost-usd", flags.max_cost_usd)):
        if value is not None:
            raise InputError(f"{flag}: is for editors, and --augmentation has none; leave it out")
    try:
        values = mapping(yaml12.parse(given), "augmentation")
        name = named("augmentations", values, "augmentation")
        values = overlaid(dict(values), tuple(flags.overrides), False)
        if flags.probability is not None:
            _put(values, "probability", flags.probability, "--probability")
        editor = as_editor(config_of("augmentations", name, values, "augmentation", None))
    except InputError as error:
        text = str(error).replace("augmentation.probability:", "--probability:")
        text = text.replace("augmentation.name: ", "--augmentation: ", 1)
        text = settings_flag(text, "augmentation", "--augmentation")
        raise InputError(text if text.startswith("--") else f"--augmentation: {text}") from error
    return editor


def _masks(flags: Flags, editor: str, known: About, flag: str) -> Any:
    if flags.mask is None:
        if flags.invert_mask:
            raise InputError("--invert-mask: there is no --mask; leave it out")
        if known.mask == "needed":
            raise InputError(
                f"--mask: {editor} needs one: a folder or file, or saliency, strokes, full"
            )
        return None
    if known.mask == "refused":
        raise InputError(f"--mask: {editor} takes none; leave it out, or choose another {flag}")
    try:
        found = _mask(flags.mask)
    except InputError as error:
        raise InputError(f"--mask: {error}".replace("--mask: mask ", "--mask ", 1)) from error
    if flags.invert_mask:
        if "invert" not in {item.name for item in fields(found)}:
            raise InputError(f"--invert-mask: {found.name} has no other side; leave it out")
        found = replace(found, invert=True)
    path = getattr(found, "path", None)
    # Workers may begin in another folder.
    return found if path is None else replace(found, path=str(Path(path).absolute()))


def _mask(given: str) -> Any:
    """What a name, a path or a mapping means."""
    if not given.lstrip().startswith("{"):
        return masks.named(given)
    values = mapping(yaml12.parse(given), "mask")
    if "name" not in values:
        raise InputError(f"name is missing; {nearest('', masks.NAMES)}")
    if values["name"] not in masks.NAMES:
        raise InputError(f"unknown {values['name']!r}; {nearest('', masks.NAMES)}")
    try:
        return TypeAdapter(masks.Config).validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise InputError(f"{where}: {first['msg'].lower()}") from error
