"""What must be known beside the tables of synthetic sets, in sentences."""

from collections.abc import Mapping

from orchestrator.report import wording
from orchestrator.report.fidelity import failed_fits, failed_steps, fit_state, groups, set_labels
from orchestrator.report.gains import Context, gains
from orchestrator.report.measures import RECONSTRUCTION, shown_measures
from orchestrator.report.reading import main_metric
from orchestrator.report.remarks import Remark
from orchestrator.report.results import StudyResult
from orchestrator.report.set_layout import gain_verdict, stamp_letters


def fidelity_remarks(result: StudyResult) -> tuple[Remark, ...]:
    """Everything to know beside the table of sets, in the order in which it raises it."""
    if not result.sets:
        return ()
    return (
        *_meanings(result),
        *_conventions(result),
        *_held_out(result),
        *_warnings(result),
        *_spread(result),
        *_gain(result),
        *_reconstruction(result),
        *(Remark(title="Failed fit", text=text, warning=True) for text in failed_fits(result)),
        *(Remark(title="Failed step", text=text, warning=True) for text in failed_steps(result)),
        *_devices(result),
    )


def _conventions(result: StudyResult) -> tuple[Remark, ...]:
    """What the measures depend on, and who may not be compared for it."""
    letters = stamp_letters(result)
    stamps = {letters[g.key]: g.stamp for g in groups(result) if g.key in letters}
    if not stamps:
        return ()
    if len(stamps) == 1:
        return (Remark(title="Convention", text=f"{_stamp(next(iter(stamps.values())))}."),)
    first, *others = stamps.values()
    shared = {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }
    own = {
        letter: {name: value for name, value in stamp.items() if name not in shared}
        for letter, stamp in stamps.items()
    }
    told = ([f"All: {_stamp(shared)}"] if shared else []) + [
        f"{letter}: {_stamp(stamp) or 'nothing else'}" for letter, stamp in own.items()
    ]
    text = "Figures of different conventions cannot be compared, and are not ranked together."
    return (Remark(title="Conventions", text=". ".join([*told, text]), warning=True),)


def _held_out(result: StudyResult) -> tuple[Remark, ...]:
    """What real images get that no generator saw: the place where a measure of sets ends."""
    about: dict[str, list[str]] = {}
    labels = set_labels(result)
    for each in result.sets:
        told = ", ".join(
            f"{measure.title} {wording.minus(measure.text(each.held_out[measure.name]))}"
            for measure in shown_measures(result)
            if measure.name in each.held_out
        )
        if told:
            about.setdefault(told, []).append(labels[each.key])
    return tuple(
        Remark(
            title="Real images",
            text=f"The {result.num_test:,} real test images, measured as a set is, get {told}"
            f"{'' if len(about) == 1 else f' (beside {wording.listed(names)})'}. A set that does "
            "better is nearer to the training images than unseen real ones are. Such figures move "
            "with the number of images: hold them against sets of about as many.",
        )
        for told, names in about.items()
    )


def set_caption(result: StudyResult) -> str:
    """What a table of sets holds, for those who see nothing else of the report."""
    said = [f"{remark.title}: {remark.text}" for remark in _conventions(result)]
    return " ".join(("Synthetic sets.", *said))


_FIRST = ("extractor", "weights", "features", "resize", "size", "dtype")
"""Of a stamp, what tells a reader most."""


def _stamp(stamp: Mapping[str, str]) -> str:
    order = sorted(stamp, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    return ", ".join(f"{name.replace('_', ' ')} {stamp[name]}" for name in order)


def _warnings(result: StudyResult) -> tuple[Remark, ...]:
    """Each warning once, with the sets that it is about."""
    labels = set_labels(result)
    num_measured = sum(bool(each.measures) for each in result.sets)
    about: dict[str, list[str]] = {}
    for each in result.sets:
        for text in dict.fromkeys(each.warnings):
            about.setdefault(text, []).append(labels[each.key])
    found = []
    for text, names in about.items():
        told = "All measured sets" if len(names) >= num_measured > 1 else wording.listed(names)
        found.append(Remark(title="Heed", text=f"{told}: {text.rstrip('.')}.", warning=True))
    return tuple(found)


_MEANINGS = {
    ("fid", "kid"): "how far the features of the synthetic images lie from those of the real "
    "training images, as a whole",
    ("precision", "density"): "how many synthetic images lie where real ones do",
    ("recall", "coverage"): "how much of where real images lie the synthetic ones reach",
    ("cas",): "top-1 on the test images of a small classifier trained on the set alone "
    "(classification accuracy score)",
}
"""Measures that tell the same -> what that is."""


def _meanings(result: StudyResult) -> tuple[Remark, ...]:
    shown = [measure.name for measure in shown_measures(result)]
    asked = {names: [name for name in names if name in shown] for names in _MEANINGS}
    told = [
        f"{wording.listed(asked[names])}: {text}"
        for names, text in _MEANINGS.items()
        if asked[names]
    ]
    return (Remark(title="Measures", text=f"{'; '.join(told)}."),) if told else ()


def _spread(result: StudyResult) -> tuple[Remark, ...]:
    if not shown_measures(result):
        return ()
    if all(len(group.sets) == 1 for group in groups(result)):
        text = (
            "There is one set of each kind, so how far its figures move with the seed of fitting "
            "and sampling is not known."
        )
    else:
        text = (
            "n is the sets of a row, which differ by the seed of fitting and sampling alone; "
            "\N{PLUS-MINUS SIGN} is the sample standard deviation (n\N{MINUS SIGN}1) over them."
        )
    return (Remark(title="Sets", text=text),)


def _gain(result: StudyResult) -> tuple[Remark, ...]:
    found = gains(result)
    if not found:
        return ()
    several = any(len(gain.cells) > 1 for gain in found.values())
    contexts = dict.fromkeys(gain.context for gain in found.values())
    told = "; ".join(context_text(result, context) for context in contexts)
    text = (
        f"The difference in {main_metric(result)} that a set makes to the classifiers that train "
        f"on it and on no other: {told}. Paired by training seed, 95 % interval as in the table of "
        "differences, not corrected for the number of sets."
    )
    directed = [gain for gain in found.values() if gain_verdict(gain) in ("higher", "lower")]
    num_sure = sum(gain.is_confirmed for gain in directed)
    if directed:
        text += (
            f" Of {wording.counted(len(directed), 'direction')} that intervals give, "
            f"{num_sure or 'none'} {'is' if num_sure < 2 else 'are'} confirmed by the corrected "
            "test."
        )
    if several:
        text += (
            " Over several fits it is the mean, and the interval holds the variance of fit seeds "
            "and of training seeds (two-way clustering: Cameron, Gelbach & Miller, 2011); no test "
            "stands behind it."
        )
    if any(len(gain.cells) == 1 for gain in found.values()):
        text += (
            " A row of one set says nothing of what a set from another fit would have been worth."
        )
    missing = [group.label for group in groups(result) if group.key not in found]
    if missing:
        text += f" Not known for {wording.listed(missing)}."
    return (Remark(title="Gain", text=text),)


def context_text(result: StudyResult, context: Context) -> str:
    """What the cells of a gain train on, and what they are compared with."""
    kind, baseline = context
    how = "real and synthetic images together" if kind == "mixed" else "synthetic images alone"
    return f"{how}, against {result.cells[baseline].label}"


def _reconstruction(result: StudyResult) -> tuple[Remark, ...]:
    if not any(measure.name == RECONSTRUCTION for measure in shown_measures(result)):
        return ()
    text = (
        "The mean squared error a pixel, of values in [\N{MINUS SIGN}1, 1], of the training images "
        "at the end of a fit: autoencoders have it, and it is no measure of their samples."
    )
    return (Remark(title="Reconstruction MSE", text=text),)


def _devices(result: StudyResult) -> tuple[Remark, ...]:
    """Nothing, unless times and memory come from different machines."""
    fits = [fit for group in groups(result) for fit in group.fits]
    devices = sorted({fit.device for fit in fits if fit_state(fit) == "finished" and fit.device})
    if len(devices) < 2:
        return ()
    text = f"Fits ran on {wording.listed(devices)}: their times and memory do not compare."
    return (Remark(title="Devices", text=text, warning=True),)
