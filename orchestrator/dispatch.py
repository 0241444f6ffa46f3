"""Calls the task of a step, with local folders for its inputs."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.checkpoints import CHECKPOINT_EVERY_S, FileCheckpoints
from orchestrator.ledger import Attempt, Ledger
from orchestrator.plan import Step
from tasks.errors import InputError
from tasks.specs import (
    AuditSpec,
    CasSpec,
    CellSpec,
    DuplicatesSpec,
    EditFilesSpec,
    EditSpec,
    EvaluateSpec,
    ExtractorSpec,
    FeaturesSpec,
    FidelitySpec,
    FilterSpec,
    FitSpec,
    GateSpec,
    GatherSpec,
    Key,
    LineageSpec,
    PackSpec,
    Plugin,
    SampleSpec,
    TrialSpec,
    Work,
)

if TYPE_CHECKING:
    from tasks.edits.keeping import Fitted


def work(step: Step, ledger: Ledger, attempt: Attempt, device: str) -> Work:
    """Call the task of a step with local folders for its inputs."""
    spec, out = step.spec, attempt.folder
    checkpoints = FileCheckpoints(ledger, attempt, CHECKPOINT_EVERY_S)
    match spec:
        case PackSpec():
            from tasks.pack import pack

            return pack(spec, out, step.size)
        case FitSpec():
            from tasks.fit import fit

            return fit(spec, ledger.fetch("pack", spec.images.pack), out, checkpoints, device)
        case SampleSpec():
            from tasks.generate import sample

            weights = ledger.fetch("fit", spec.synthetic.fit)
            return sample(
                spec, weights, ledger.fetch("pack", spec.synthetic.images.pack), out, device
            )
        case GatherSpec():
            from tasks.pack import gather

            shards = [_fetch(ledger, shard, "sample", "filter", "edit") for shard in spec.shards]
            sources = None if spec.sources is None else ledger.fetch("pack", spec.sources.pack)
            return gather(spec, shards, out, step.size, sources)
        case EditSpec():
            from tasks.edit import edit

            recipe = spec.recipe
            return edit(
                spec,
                ledger.fetch("pack", recipe.pack),
                None if recipe.fit is None else ledger.fetch("fit", recipe.fit),
                answers_folder(ledger, recipe.editor),
                out,
                device,
            )
        case FilterSpec():
            from tasks.filter import filter_set

            return filter_set(
                spec,
                [ledger.fetch("sample", shard) for shard in spec.shards],
                ledger.fetch("fit", spec.synthetic.fit),
                ledger.fetch("pack", spec.synthetic.images.pack),
                None if spec.fitted is None else ledger.fetch("extractor", spec.fitted),
                out,
                device,
            )
        case EditFilesSpec():
            from tasks.edit_files import edit_files

            kept = answers_folder(ledger, spec.editor)
            return edit_files(spec, out, device, _generator(spec), kept)
        case ExtractorSpec():
            from tasks.extractor import fit_extractor

            return fit_extractor(spec, _packs(ledger, spec.cell), out, checkpoints, device)
        case FeaturesSpec():
            from tasks.features import extract

            fitted = None if spec.fitted is None else ledger.fetch("extractor", spec.fitted)
            return extract(spec, fetch_pack(ledger, spec.pack), fitted, out, device)
        case FidelitySpec():
            from tasks.fidelity import fidelity

            return fidelity(spec, _compared(ledger, spec), out)
        case AuditSpec():
            from tasks.audit import audit

            return audit(spec, _compared(ledger, spec), out)
        case GateSpec():
            from tasks.gate import gate

            return gate(spec, ledger.fetch("audit", spec.audit), out)
        case LineageSpec():
            from tasks.lineage import lineage

            return lineage(spec, {key: fetch_pack(ledger, key) for key in step.needs}, out)
        case CasSpec():
            from tasks.cas import cas

            packs = _packs(ledger, spec.cell) | {spec.test: ledger.fetch("pack", spec.test)}
            return cas(spec, packs, out, checkpoints, device)
        case TrialSpec():
            from tasks.train import train

            return train(spec, _packs(ledger, spec.cell), out, checkpoints, device)
        case EvaluateSpec():
            from tasks.predict import predict

            inputs = {
                spec.trial: ledger.fetch("trial", spec.trial),
                spec.test: fetch_pack(ledger, spec.test),
            }
            if spec.without is not None:
                inputs[spec.without] = ledger.fetch("duplicates", spec.without)
            return predict(spec, inputs, out, device)
        case DuplicatesSpec():
            from tasks.duplicates import duplicates

            train_pack, test_pack = (ledger.fetch("pack", k) for k in (spec.train, spec.test))
            return duplicates(spec, train_pack, test_pack, out)


def _generator(spec: EditFilesSpec) -> "Fitted | None":
    """The generator that an editor is, from the file that `augury fit` wrote."""
    if not spec.generator_file:
        return None
    from orchestrator.single.generator_files import load_generator
    from tasks.edits.keeping import Fitted, folder_of

    path = Path(spec.generator_file)
    return Fitted(folder=folder_of(path, spec.generator), info=load_generator(path).info)


def fetch_pack(ledger: Ledger, key: Key) -> Path:
    """A pack of either kind: made from a dataset or folder, or gathered from shards."""
    return _fetch(ledger, key, "pack", "gather")


def _fetch(ledger: Ledger, key: Key, *kinds: str) -> Path:
    """What a step of one of these kinds wrote."""
    for kind in kinds[:-1]:
        with contextlib.suppress(KeyError):
            return ledger.fetch(kind, key)
    return ledger.fetch(kinds[-1], key)


def answers_folder(ledger: Ledger, editor: Plugin) -> Path | None:
    """The folder of a service's answers; None for editors that are none.

    Raises InputError for a store that is no folder.
    """
    from tasks.edits.keeping import about

    if not about(editor).service:
        return None
    if ledger.local is None:
        raise InputError(
            f"{editor.name}: what a service was paid for is kept on a disk, and the store is "
            f"{ledger.uri}: edit into a local store first"
        )
    return ledger.local / "answers" / editor.name


def _packs(ledger: Ledger, cell: CellSpec) -> dict[Key, Path]:
    """The packs of everything that a cell trains and validates on."""
    keys = {cell.images.pack, cell.images.validation_pack, *(s.pack for s in cell.sets)}
    return {key: fetch_pack(ledger, key) for key in keys if key is not None}


def _compared(ledger: Ledger, spec: FidelitySpec | AuditSpec) -> dict[Key, Path]:
    """A synthetic set and the real images beside it, with the features of both."""
    packs = {spec.pack, spec.real.train.pack, spec.real.test}
    features = {spec.features, spec.real.train_features, spec.real.test_features}
    found = {key: fetch_pack(ledger, key) for key in packs}
    return found | {key: ledger.fetch("features", key) for key in features}
