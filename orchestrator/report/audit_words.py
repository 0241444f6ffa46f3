"""What audits and filters of synthetic sets found, in sentences."""

from orchestrator.report import wording
from orchestrator.report.fidelity import set_labels
from orchestrator.report.reading import copies_note
from orchestrator.report.remarks import Remark
from orchestrator.report.results import AuditResult, SetResult, StudyResult


def audit_remarks(result: StudyResult) -> tuple[Remark, ...]:
    """What the audits found, set by set, or that they found nothing."""
    labels = set_labels(result)
    audited = [(labels[s.key], s.audit) for s in result.sets if s.audit is not None]
    if not audited:
        return ()
    clean = [(name, audit) for name, audit in audited if not copies_note(audit)]
    found = [
        Remark(title=name, text=f"{note}.", warning=True)
        for name, audit in audited
        if (note := copies_note(audit))
    ]
    stopped = [
        Remark(title=f"{name}: stopped", text=" ".join(audit.gate.split()), warning=True)
        for name, audit in audited
        if audit.gate
    ]
    return (
        *stopped,
        *found,
        *_edits(result),
        *_clean(clean, len(audited)),
        *_nearer(audited),
        *_unaudited(result),
    )


def _edits(result: StudyResult) -> tuple[Remark, ...]:
    labels = set_labels(result)
    edited = [labels[s.key] for s in result.sets if s.edited and s.audit and s.audit.memorised]
    if not edited:
        return ()
    text = (
        f"{wording.listed(edited)}: edits of training images, which light edits resemble. What is "
        "counted as memorised there tells how light they are, and of no fault."
    )
    return (Remark(title="Edits", text=text),)


def _clean(clean: list[tuple[str, AuditResult]], num_audited: int) -> tuple[Remark, ...]:
    if not clean:
        return ()
    where = (
        "any audited set" if len(clean) == num_audited else wording.listed([n for n, _ in clean])
    )
    if num_audited == 1:
        where = clean[0][0]
    images = wording.counted(sum(audit.num_images for _, audit in clean), "image")
    text = (
        f"No image was found in {where} that copies a test image or a training image, exactly, "
        f"nearly or in feature space ({images} looked at)."
    )
    return (Remark(title="Nothing found", text=text),)


def _nearer(audited: list[tuple[str, AuditResult]]) -> tuple[Remark, ...]:
    name, worst = max(audited, key=lambda each: each[1].nearer_to_test)
    share = f"{100 * worst.nearer_to_test:.1f} %"
    most = f"At most {share} are, of {name}" if len(audited) > 1 else f"{share} are"
    text = (
        "The share of synthetic images that lie nearer to a test image than 99 % of test images "
        f"lie to a training image. {most}; of the test images themselves 1 % lie so near to a "
        "training image, by definition."
    )
    return (Remark(title="Nearer to test", text=text),)


def _unaudited(result: StudyResult) -> tuple[Remark, ...]:
    labels = set_labels(result)
    names = [labels[each.key] for each in result.sets if each.audit is None]
    if not names:
        return ()
    text = f"{wording.listed(names)}: nothing is known of copies in them."
    return (Remark(title="Not audited", text=text, warning=True),)


def filter_remarks(result: StudyResult) -> tuple[Remark, ...]:
    """How to read the table of filters; nothing where no set is filtered."""
    labels = set_labels(result)
    filtered = [each for each in result.sets if each.filtered is not None]
    if not filtered:
        return ()
    text = (
        "Of the images drawn of a set, those that its filters kept; an image is counted for the "
        "first filter that drops it. The worst class is the one that lost the largest share."
    )
    emptied = [
        f"{labels[each.key]}: no image of {'class' if len(names) == 1 else 'classes'} "
        f"{wording.listed(names)} was kept"
        for each in filtered
        if (names := _emptied(result, each))
    ]
    told = (Remark(title="Filters", text=text),)
    return *told, *(Remark(title="Emptied", text=f"{e}.", warning=True) for e in emptied)


def _emptied(result: StudyResult, each: SetResult) -> list[str]:
    found = each.filtered
    assert found is not None
    names = zip(result.classes, found.drawn, found.kept, strict=False)
    return [name for name, drawn, kept in names if drawn and not kept]
